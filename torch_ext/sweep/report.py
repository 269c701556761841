"""The sweep's report: one Markdown file."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from tabulate import tabulate

from handgrad.report import write_atomically
from torch_ext.sweep.run import Row, table


def write(path: str | Path, rows: Sequence[Row], totals: dict[str, Any]) -> None:
    """Write the totals, the table and every failure to ``path``, atomically."""
    parts = [
        "# Every layer of torch.nn against PyTorch",
        f"Written by `make sweep`, with torch {torch.__version__}. A cell: samples passed / run.",
        *(f"- {k.replace('_', ' ')}: {_words(v)}" for k, v in totals.items()),
        tabulate(table(rows), headers="keys", tablefmt="github"),
        *(_failures(row) for row in rows if row.failures),
    ]
    write_atomically(Path(path), "\n\n".join(parts) + "\n")


def _words(value: Any) -> str:
    return (", ".join(value) or "none") if isinstance(value, list) else str(value)


def _failures(row: Row, shown: int = 5) -> str:
    lines = [f"- {f.check}, sample {f.label}: {f.message}" for f in row.failures[:shown]]
    return "\n".join([f"## {row.entry}: {len(row.failures)} failures", "", *lines])
