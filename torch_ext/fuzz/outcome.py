"""What the comparison of one architecture found: plain, picklable, JSON."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

VERDICTS = {
    "hand": "our derivation is wrong",
    "pytorch": "PyTorch is wrong, or raises",
    "both": "both are wrong",
    "neither": "neither is wrong",
    "": "not decided",
}
EXPLAINED = ("pytorch", "neither")  # what a run may end with in peace


@dataclass(frozen=True, kw_only=True)
class Failure:
    """One way in which an architecture failed.

    way        what was compared: "gradients" (outputs and first order), a further way of the architecture
               ("double_backward", ...), "build" (no architecture came about), or "worker" (it died, or hung)
    layer      the one that is wrong, "" where none is by itself; node: its name in the graph
    argument   an output ("y") or a gradient ("d_x") of that node, or of the network where there is no node
    library    "numpy" or "torch": which hand form differs
    message    what happened, in words
    hand, native, error, allowed    both numbers where they differ most, by how much, what rounding explains
    verdict    who is wrong, by the third oracle (see VERDICTS); why: how it knows
    condition  how strongly the result depends on its inputs (relative change for relative change)
    """

    way: str
    layer: str = ""
    node: str = ""
    argument: str = ""
    library: str = ""
    dtype: str = ""
    message: str = ""
    hand: float | None = None
    native: float | None = None
    error: float | None = None
    allowed: float | None = None
    verdict: str = ""
    why: str = ""
    condition: float | None = None

    @property
    def kind(self) -> str:
        """The message without its numbers and names: alike for alike failures."""
        kind = re.sub(r"\S*\d\S*|'[^']*'", "#", self.message)
        return kind.split(" (")[0][:120]

    @property
    def manner(self) -> tuple[str, str, str]:
        """Failing in the same way is having the same."""
        return self.way, self.layer, self.kind

    @property
    def explained(self) -> bool:
        return self.verdict in EXPLAINED

    def to_dict(self) -> dict[str, Any]:
        return {name: value for name, value in asdict(self).items() if value not in ("", None)}

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Failure:
        return cls(**{f.name: data[f.name] for f in fields(cls) if f.name in data})


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """``ways`` that were compared, ``skipped`` ones with the reason, and failures, the first cause first."""

    seed: int
    nodes: int = 0
    ways: tuple[str, ...] = ()
    skipped: Mapping[str, str] | None = None
    failures: tuple[Failure, ...] = ()
    architecture: Mapping[str, Any] | None = None  # where the seed does not say it

    def to_dict(self) -> dict[str, Any]:
        data: dict[str, Any] = {"seed": self.seed, "nodes": self.nodes, "ways": list(self.ways)}
        if self.skipped:
            data["skipped"] = dict(self.skipped)
        if self.failures:
            data["failures"] = [f.to_dict() for f in self.failures]
        if self.architecture:
            data["architecture"] = dict(self.architecture)
        return data

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> Outcome:
        return cls(
            seed=int(data["seed"]),
            nodes=int(data.get("nodes", 0)),
            ways=tuple(data.get("ways", ())),
            skipped=data.get("skipped"),
            failures=tuple(map(Failure.from_dict, data.get("failures", ()))),
            architecture=data.get("architecture"),
        )
