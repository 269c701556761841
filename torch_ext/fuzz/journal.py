"""Results as they come: one JSON line for each architecture, on the disk before the next chunk is counted."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from handgrad._errors import require
from handgrad.report import write_atomically
from torch_ext.fuzz.outcome import Outcome

FORMAT = "handgrad-fuzz"
VERSION = 1


class Journal:
    """An append-only file: a header with the run's settings, then outcomes in the order they came."""

    def __init__(
        self, path: Path, header: Mapping[str, Any], done: Mapping[int, Outcome] | None = None
    ) -> None:
        """A new file; or, with ``done`` (what :func:`read` gave), the same one, continued."""
        self.path = path
        path.parent.mkdir(parents=True, exist_ok=True)
        flags = os.O_WRONLY | os.O_APPEND | os.O_CREAT | (0 if done is not None else os.O_TRUNC)
        if done is not None:
            _cut_torn_line(path)
        self._file = os.open(path, flags, 0o644)
        if done is None:
            self._append([_line({"format": FORMAT, "version": VERSION, **header})])

    def add(self, outcomes: Iterable[Outcome]) -> None:
        """All of a chunk, in one write, and on the disk when this returns."""
        self._append([_line(outcome.to_dict()) for outcome in outcomes])

    def _append(self, lines: list[str]) -> None:
        data = "".join(lines).encode()
        while data:
            data = data[os.write(self._file, data) :]
        os.fsync(self._file)

    def close(self) -> None:
        os.close(self._file)


def read(path: Path) -> tuple[dict[str, Any], dict[int, Outcome]]:
    """The header, and every outcome by its seed. A last line that was cut off is left out."""
    header: dict[str, Any] = {}
    outcomes: dict[int, Outcome] = {}
    try:
        lines = path.read_text(encoding="utf-8").split("\n")
    except (OSError, UnicodeDecodeError) as error:
        lines = []
        _refuse(path, f"one that cannot be read ({type(error).__name__})")
    for number, line in enumerate(lines[:-1], 1):  # after the last newline: nothing, or a torn line
        try:
            data = json.loads(line)
            if number == 1:
                header = data
                if data.get("format") != FORMAT or data.get("version") != VERSION:
                    _refuse(path, f"line 1 with {data.get('format')!r}, version {data.get('version')!r}")
                continue
            outcome = Outcome.from_dict(data)
        except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
            if type(error).__name__ == "InputError":
                raise
            _refuse(path, f"line {number} that is none ({type(error).__name__})")
        outcomes[outcome.seed] = outcome
    if not header:
        _refuse(path, "an empty file")
    return header, outcomes


def write_sorted(path: Path, header: Mapping[str, Any], outcomes: Mapping[int, Outcome]) -> Path:
    """The same in the order of seeds: the same bytes however the work was shared out."""
    lines = [_line({"format": FORMAT, "version": VERSION, **header})]
    lines += [_line(outcomes[seed].to_dict()) for seed in sorted(outcomes)]
    return write_atomically(path, "".join(lines))


def _refuse(path: Path, received: str) -> None:
    require(
        False,
        f'a journal is what `handgrad fuzz` wrote: JSON lines, the first with "format": "{FORMAT}", '
        f'"version": {VERSION}',
        f"{path}, {received}",
        "name such a file, or begin anew without --resume",
    )


def _line(data: Mapping[str, Any]) -> str:
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")) + "\n"


def _cut_torn_line(path: Path) -> None:
    """A process that was killed while it wrote left half a line."""
    with path.open("rb+") as file:
        data = file.read()
        end = data.rfind(b"\n") + 1
        if end < len(data):
            file.truncate(end)
