"""All samples of all entries, in parallel, as one report."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Any

import torch

from torch_ext.sweep import catalogue
from torch_ext.sweep.compare import LOW, Failure, compare_error, compare_exact, compare_low
from torch_ext.sweep.samples import Entry, Sample, entries

CHECKS = ("first", "second", "complex128", "float32", "bfloat16", "float16", "error")


@dataclass
class Row:
    """One entry: how many samples each check ran, and what failed."""

    entry: str
    derived: bool
    ran: dict[str, int] = field(default_factory=dict)
    failures: list[Failure] = field(default_factory=list)

    def failed(self, check: str) -> int:
        """How many samples failed a check."""
        return len({f.label for f in self.failures if f.check == check})


def select(names: Sequence[str]) -> list[Entry]:
    """The entries of these names, in full or as ``torch_ext`` calls them; all of them without a name."""
    every = entries()
    if not names:
        return list(every.values())
    found = [e for e in every.values() if e.name in names or e.base in names]
    known = {e.name for e in found} | {e.base for e in found}
    for name in names:
        if name not in known:
            raise ValueError(f"PyTorch's databases and ours have no entry {name!r}; see --list for all.")
    return found


def sweep(entry: Entry, limit: int | None = None, checks: Sequence[str] = CHECKS) -> Row:
    """All checks of one entry, on at most ``limit`` samples of each dtype, evenly chosen."""
    row = Row(entry.name, entry.derived)
    if not entry.derived:
        return row
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        for check in checks:
            row.ran[check], failures = _run(entry, check, limit)
            row.failures += failures
    finally:
        torch.set_num_threads(threads)
    return row


def _run(entry: Entry, check: str, limit: int | None) -> tuple[int, list[Failure]]:
    if check == "error":
        faulty = entry.faulty()
        return len(faulty), [f for each in faulty for f in compare_error(each)]
    dtype = torch.float64 if check in ("first", "second") else getattr(torch, check)
    if dtype not in entry.dtypes:
        return 0, []
    samples = _thinned(entry.samples(dtype), limit)
    found: list[Failure] = []
    for s in samples:
        if dtype in LOW:
            found += compare_low(s, dtype)
        else:
            failures = compare_exact(s, second=check == "second")
            found += [f._replace(check=check) if f.check == "first" else f for f in failures]
    return len(samples), found


def _thinned(samples: list[Sample], limit: int | None) -> list[Sample]:
    if limit is None or len(samples) <= limit:
        return samples
    return [samples[i * len(samples) // limit] for i in range(limit)]


def table(rows: Iterable[Row]) -> list[dict[str, Any]]:
    """The report's rows: for each check "passed/ran", or "" where it ran nothing."""
    return [
        {
            "entry": r.entry,
            **{c: f"{r.ran[c] - r.failed(c)}/{r.ran[c]}" if r.ran.get(c) else "" for c in CHECKS},
            "pure": ("no" if r.failed("pure") else "yes") if r.derived else "not derived",
        }
        for r in rows
    ]


def summary(rows: Sequence[Row]) -> dict[str, Any]:
    """Totals: entries right in every check but low precision; the share of low-precision samples off."""
    low = [str(d).removeprefix("torch.") for d in LOW]
    right = [r for r in rows if r.derived and not [f for f in r.failures if f.check not in low]]
    functions, modules = catalogue.missing()
    ran = sum(r.ran.get(c, 0) for r in rows for c in low)
    return {
        "entries": len(rows),
        "derived": sum(r.derived for r in rows),
        "right": len(right),
        "samples": sum(r.ran.get("first", 0) for r in rows),
        "low_precision_samples": ran,
        "low_precision_off": sum(r.failed(c) for r in rows for c in low),
        "low_precision_gross": sum(
            "GROSS" in f.message or "raises" in f.message for r in rows for f in r.failures if f.check in low
        ),
        "missing_functions": functions,
        "missing_modules": modules,
    }
