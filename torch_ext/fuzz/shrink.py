"""The smallest architecture that fails in the same way."""

from __future__ import annotations

from handgrad.architectures import Architecture, smaller
from torch_ext.fuzz.compare import compare
from torch_ext.fuzz.outcome import Failure

TRIES = 1500  # candidates compared: a count, not a time, so that the result is the same on every machine


def shrink(made: Architecture, failure: Failure, tries: int = TRIES) -> tuple[Architecture, Failure]:
    """The first smaller candidate that still fails so, then one smaller than that, until there is none.

    "So" is the same way, layer, kind of message and verdict.
    """
    left = tries
    while left:
        for candidate in smaller(made):
            left -= 1
            found = same(candidate, failure)
            if found is not None:
                made, failure = candidate, found
                break
            if not left:
                break
        else:
            break
    return made, failure


def same(made: Architecture, failure: Failure) -> Failure | None:
    """The architecture's failure where it is like the one given."""
    if failure.way != "gradients" and failure.way not in made.modes.get("also", ()):
        return None
    for found in compare(made).failures:
        if found.manner == failure.manner and found.verdict == failure.verdict:
            return found
    return None
