"""Records to try the reports on, and strategies that draw any record."""

from __future__ import annotations

import math
from html.parser import HTMLParser
from typing import Any

import numpy as np
from hypothesis import strategies as st

from handgrad.report import Check, Example, Printed, Record, reduce_errors

# Each is an attack on one view: HTML, Markdown, XML, a terminal, the reading direction, the disk.
HOSTILE = (
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "{{ 7 * 7 }}{% raw %}",
    "| a | b |\n|---|---|\n# heading ![x](http://example.org/x) `code` $x$ **bold**",
    "]]></failure> &amp; &nbsp; \x00\x08\ufffe",
    "\x1b[31mred\x1b[0m \x1b]8;;http://example.org\x07link [bold red]rich[/]",
    "\u202egnihtyna\u2066 \u2028 line \u2029 paragraph",
    "\ud800 alone",
    "../../etc/passwd",
    "x" * 5_000,
)


def passing(name: str = "relu / y", **fields: Any) -> Check:
    defaults: dict[str, Any] = {
        "id": name,
        "group": "layers",
        "layer": "relu",
        "dtype": "float32",
        "library": "numpy",
        "oracle": "autograd",
        "argument": "dx",
        "shape": (3, 4),
        "passed": True,
        "ulps": 1.5,
        "allowed_ulps": 4.0,
        "max_abs_error": 1e-7,
        "max_rel_error": 1e-7,
        "worst_index": (1, 2),
        "analytic": 0.5,
        "reference": 0.50000012,
    }
    return Check(**{**defaults, **fields})


def failing(name: str = "linear / dw", **fields: Any) -> Check:
    defaults: dict[str, Any] = {
        "layer": "linear",
        "argument": "dw",
        "passed": False,
        "ulps": 4e5,
        "max_abs_error": 2.5,
        "max_rel_error": 2.0,
        "analytic": -1.25,
        "reference": 1.25,
        "errors": reduce_errors(np.linspace(-2.5, 2.5, 12).reshape(3, 4)),
        "message": "dw has the opposite sign",
    }
    return passing(name, **{**defaults, **fields})


def not_finite(name: str = "softmax / dx", **fields: Any) -> Check:
    errors = np.zeros((40, 40))
    errors[3, 4], errors[20, 5], errors[30, 30], errors[39, 39] = math.nan, math.inf, -math.inf, -1e-3
    defaults: dict[str, Any] = {
        "layer": "softmax",
        "argument": "dx",
        "shape": (40, 40),
        "ulps": math.nan,
        "max_abs_error": math.nan,
        "max_rel_error": math.inf,
        "analytic": math.nan,
        "reference": -math.inf,
        "errors": reduce_errors(errors),
        "message": "dx is NaN where the truth is finite",
    }
    return failing(name, **{**defaults, **fields})


def exception(name: str = "matmul / call", **fields: Any) -> Check:
    """A check that came to no number."""
    return Check(
        **{"id": name, "group": "layers", "layer": "matmul", "passed": False, "message": "no", **fields}
    )


def example(title: str = "Section 8.1", verdict: str = "misprint", **fields: Any) -> Example:
    printed = Printed(what="L", where="8.1", printed="0.2247", verdict=verdict, value="0.2244", note="a slip")
    svg = '<svg xmlns="http://www.w3.org/2000/svg"><script>alert(1)</script><text>x</text></svg>'
    return Example(
        **{"title": title, "source": "the lecture", "graph_svg": svg, "printed": (printed,), **fields}
    )


def record(*checks: Check, **fields: Any) -> Record:
    return Record(**{"title": "a run", "seed": 0, "checks": checks, **fields})


def mixed() -> Record:
    """One of everything."""
    return record(
        passing(),
        failing(),
        not_finite(),
        exception(),
        examples=(example(), example("Exercise 4", "statement")),
        command="handgrad crossval --seed 0",
        environment={"python": "3.12"},
        seconds={"layers": 1.25},
    )


def hostile() -> Record:
    """Every attack in every text."""
    checks = []
    examples = []
    for i, text in enumerate(HOSTILE):
        words = dict.fromkeys(("group", "layer", "case", "library", "dtype", "oracle", "argument"), text)
        checks.append(failing(f"{i} {text}", **words, message=f"{text}\n\n{text}"))
        checks.append(passing(f"{i} {text} right", **words))
        printed = Printed(what=text, where=text, printed=text, verdict="misprint", value=text, note=text)
        examples.append(Example(title=text, source=text, graph_svg=text, printed=(printed,)))
    everything = "".join(HOSTILE)
    return record(
        *checks,
        title=everything,
        command=everything,
        examples=tuple(examples),
        environment=dict.fromkeys(HOSTILE, everything),
        seconds=dict.fromkeys(HOSTILE, math.inf),
    )


NAMED = {
    "empty": record(),
    "only examples": record(examples=(example(),)),
    "passing": record(passing()),
    "failing": record(failing()),
    "not finite": record(not_finite()),
    "an exception": record(exception()),
    "everything": mixed(),
    "hostile": hostile(),
}


# --- strategies ------------------------------------------------------------------------

texts = st.one_of(
    st.sampled_from([h for h in HOSTILE if len(h) < 999 and h.isprintable()]), st.text(max_size=12)
)
reals = st.none() | st.floats()
sizes = st.none() | st.just(math.nan) | st.floats(min_value=0)
indexes = st.lists(st.integers(0, 9), max_size=3).map(tuple)
grids = st.none() | st.integers(1, 5).flatmap(
    lambda n: st.lists(st.tuples(*[st.floats()] * n), min_size=1, max_size=5).map(tuple)
)


def checks() -> st.SearchStrategy[Check]:
    words = dict.fromkeys(("layer", "case", "library", "dtype", "oracle", "argument", "message"), texts)
    return st.builds(
        Check,
        id=st.text(min_size=1, max_size=12),
        group=st.sampled_from(["layers", "lecture", "<b>"]),
        passed=st.booleans(),
        shape=indexes,
        worst_index=st.none() | indexes,
        max_abs_error=sizes,
        max_rel_error=sizes,
        ulps=sizes,
        allowed_ulps=sizes,
        analytic=reals,
        reference=reals,
        errors=grids,
        **words,
    )


def examples() -> st.SearchStrategy[Example]:
    verdicts = st.sampled_from(["follows", "carried", "misprint", "statement"])
    printed = st.builds(
        Printed, what=texts, where=texts, printed=texts, verdict=verdicts, value=texts, note=texts
    )
    return st.builds(
        Example,
        title=texts,
        source=texts,
        graph_svg=st.none() | texts,
        printed=st.lists(printed, max_size=3).map(tuple),
    )


def records() -> st.SearchStrategy[Record]:
    return st.builds(
        Record,
        title=texts,
        seed=st.integers(0, 2**64),
        checks=st.lists(checks(), max_size=5, unique_by=lambda check: check.id).map(tuple),
        examples=st.lists(examples(), max_size=2).map(tuple),
        command=texts,
        environment=st.dictionaries(texts, texts, max_size=2),
        seconds=st.dictionaries(texts, st.floats(), max_size=2),
    )


# --- reading HTML ------------------------------------------------------------------------


class Page(HTMLParser):
    """The tags of a page, each with its attributes, and its visible text; nesting is checked."""

    EMPTY = frozenset({"meta", "img", "input", "br", "link", "hr"})

    def __init__(self, text: str) -> None:
        super().__init__()
        self.tags: list[tuple[str, dict[str, str | None]]] = []
        self.open: list[str] = []
        self.words: list[str] = []
        self.feed(text)
        self.close()
        assert self.open == [], "every element is closed"

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))
        if tag not in self.EMPTY:
            self.open.append(tag)

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag: str) -> None:
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open[-1:] not in (["script"], ["style"]):
            self.words.append(data)

    @property
    def text(self) -> str:
        return " ".join("".join(self.words).split())

    def all(self, tag: str) -> list[dict[str, str | None]]:
        return [attrs for name, attrs in self.tags if name == tag]
