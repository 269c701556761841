// Filter, sortable tables, and the value under the pointer. Without it the page says the same.
"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const all = (selector, root = document) => [...root.querySelectorAll(selector)];

  // --- filter: every word must occur in a row or card -------------------------------
  const form = document.querySelector(".filter");
  const input = form.querySelector("input");
  const output = form.querySelector("output");
  const blocks = all("[data-block]");
  const items = all("[data-item]").map((element) => {
    const layer = element.closest(".place, .example")?.querySelector("h3");
    return { element, text: `${layer?.textContent ?? ""} ${element.textContent}`.toLowerCase() };
  });
  const opened = new Set();
  const filter = () => {
    const words = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    let shown = 0;
    for (const { element, text } of items) {
      element.hidden = !words.every((word) => text.includes(word));
      shown += !element.hidden;
      const fold = element.closest("details");
      if (words.length && !element.hidden && fold && !fold.open) {
        fold.open = true;
        opened.add(fold);
      }
    }
    for (const block of blocks) {
      block.hidden = words.length > 0 && !block.querySelector("[data-item]:not([hidden])");
    }
    if (!words.length) {
      opened.forEach((fold) => { fold.open = false; });
      opened.clear();
    }
    output.textContent = words.length ? `${shown} of ${items.length}` : "";
  };
  form.hidden = !items.length;
  form.addEventListener("submit", (event) => event.preventDefault());
  input.addEventListener("input", filter);
  if (input.value) filter(); // the browser kept it over a reload

  // --- sortable tables --------------------------------------------------------------
  const number = (text) => (text === "inf" ? Infinity : text === "-inf" ? -Infinity : Number(text));
  const value = (row, column) => row.cells[column].dataset.sort ?? row.cells[column].textContent.trim();
  const compare = (a, b) => {
    const [x, y] = [number(a), number(b)];
    if (a === b || x === y) return 0;
    return isNaN(x) || isNaN(y) || a === "" || b === "" ? a.localeCompare(b, "en") : x - y;
  };
  for (const table of all("table.sortable")) {
    all("thead th:not([data-nosort])", table).forEach((head) => {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...head.childNodes);
      head.append(button);
      button.addEventListener("click", () => {
        // numbers: largest first, since that is what one looks for
        const first = head.classList.contains("n") ? "descending" : "ascending";
        const other = first === "ascending" ? "descending" : "ascending";
        const way = head.getAttribute("aria-sort") === first ? other : first;
        all("th", table.tHead).forEach((th) => th.removeAttribute("aria-sort"));
        head.setAttribute("aria-sort", way);
        const sign = way === "ascending" ? 1 : -1;
        const rows = [...table.tBodies[0].rows];
        rows.sort((a, b) => sign * compare(value(a, head.cellIndex), value(b, head.cellIndex)));
        table.tBodies[0].append(...rows);
      });
    });
  }

  // --- heat maps: which elements, and their worst error -----------------------------
  const span = (i, parts, length) => {
    const [from, to] = [Math.floor((i * length) / parts), Math.floor(((i + 1) * length) / parts) - 1];
    return from === to ? `${from}` : `${from} to ${to}`;
  };
  for (const map of all("svg.heat")) {
    const grid = map.dataset.values.split(";").map((row) => row.split(" "));
    const cell = map.closest("figure").querySelector(".cell");
    map.addEventListener("pointermove", (event) => {
      const box = map.getBoundingClientRect();
      const at = (position, size, n) => Math.min(n - 1, Math.max(0, Math.floor((position / size) * n)));
      const y = at(event.clientY - box.top, box.height, grid.length);
      const x = at(event.clientX - box.left, box.width, grid[0].length);
      const row = span(y, grid.length, Number(map.dataset.rows));
      const column = span(x, grid[0].length, Number(map.dataset.columns));
      cell.textContent = `row ${row}, column ${column}: ${grid[y][x] ?? ""}`;
    });
    map.addEventListener("pointerleave", () => { cell.textContent = ""; });
  }

  addEventListener("beforeprint", () => all("details").forEach((fold) => { fold.open = true; }));
});
