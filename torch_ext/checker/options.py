"""What a check does on request, and its errors of use."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from handgrad._errors import require

TRANSFORMS = ("vmap", "compile", "grad", "batched")


@dataclass(frozen=True)
class Options:
    """The keyword options of :func:`torch_ext.check` beyond the first derivative."""

    second_order: bool = False
    forward_mode: bool = False
    transforms: tuple[str, ...] = ()
    tolerance: float = 1.0

    @classmethod
    def of(cls, second_order: Any, forward_mode: Any, transforms: Any, tolerance: Any) -> Options:
        """From what a user gave. Raises InputError."""
        for name, value in (("second_order", second_order), ("forward_mode", forward_mode)):
            require(isinstance(value, bool), f"{name} is True or False", repr(value), "give one of them")
        rule = f"transforms are a tuple of {', '.join(map(repr, TRANSFORMS))}"
        named = isinstance(transforms, tuple | list | set | frozenset)
        do = "write (name,) for a single one" if isinstance(transforms, str) else "give some of these"
        require(named, rule, repr(transforms), do)
        strange = [t for t in transforms if t not in TRANSFORMS]
        require(not strange, rule, repr(strange[0]) if strange else "", "give some of these")
        number = isinstance(tolerance, int | float) and not isinstance(tolerance, bool)
        require(
            number and math.isfinite(tolerance) and tolerance > 0,
            "tolerance is a factor above 0 on what rounding explains",
            repr(tolerance),
            "leave it at 1, or give a finite number",
        )
        ordered = tuple(t for t in TRANSFORMS if t in transforms)
        return cls(second_order, forward_mode, ordered, float(tolerance))

    def require_none(self) -> None:
        """For whole models: they are checked for their first derivative alone."""
        received = {n: v for n, v in vars(self).items() if v != getattr(Options, n)}
        require(
            not received,
            "a model of a million parameters or more is checked for its first derivative, with no options",
            ", ".join(f"{n}={v!r}" for n, v in received.items()),
            "check its layers alone with them",
        )
