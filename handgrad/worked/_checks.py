"""A sheet's verdicts as checks of a report: right where its misprints are those that it declares."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from handgrad.report.record import Check
from handgrad.worked._judge import Judgement


def verdict_check(name: str, surprises: Iterable[str], layer: str = "") -> Check:
    """One check for a sheet. ``surprises``: a judgement's; ``layer``: one that is known to be wrong."""
    message = "; ".join(surprises)
    return Check(
        id=f"{name} / verdicts",
        group="lecture",
        passed=not message,
        layer=layer if message else "",
        case=name,
        argument="verdicts on what is printed",
        message=message,
    )


def number_checks(name: str, judgement: Judgement) -> Iterator[Check]:
    """One check for each printed number and formula: wrong where it is a misprint not declared."""
    for item in judgement.judged:
        printed = item.printed
        if printed.verdict == "statement":
            continue
        what = " ".join(f"{printed.what} = {printed.printed}".split())
        right = f"{printed.value} follows" if printed.value else ""
        yield Check(
            id=f"{name} / {item.place} / {item.number}: {what}",
            group="printed numbers",
            passed=not item.surprise,
            case=name,
            argument=printed.what,
            message="; ".join(filter(None, (item.surprise, right, printed.note))) if item.surprise else "",
        )
