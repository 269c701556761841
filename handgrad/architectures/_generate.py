"""A seed gives an architecture.

Aiming.  Each seed has a focus: a layer, called by its ``fit`` or as one of its cases, on top of another.
The foci of all layers stand in one list; a *block* is as many consecutive seeds, and block k is seeds k n to
k n + n - 1. Within a block every focus comes once, in an order of the block's own, and on a neighbour that
it did not have in the blocks before, until it has had all. So what a block has not seen follows from the
seed alone, whatever other workers do, and the unseen comes first. Around the focus, motifs and layers are
drawn freely. A ``coverage`` that is given aims instead: at the option values that it has seen least.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from functools import lru_cache

import numpy as np

from handgrad._cases import Case
from handgrad._derivation import Derivation, registry
from handgrad._errors import require
from handgrad.architectures._architecture import Architecture, restricted
from handgrad.architectures._builder import Builder
from handgrad.architectures._coverage import Coverage, case_values
from handgrad.architectures._modes import draw_modes
from handgrad.architectures._motifs import MOTIFS, chain, further, join, loss, start

Focus = tuple[str, Case | None]  # None: as its ``fit`` has it
_MANY = 15  # nodes after which no further motif begins
_FITTED = 2  # foci of a layer by its fit, beside one by each case


def generate(
    seed: int, layers: Sequence[str] | None = None, coverage: Coverage | None = None
) -> Architecture:
    """The architecture of a seed, drawn from ``layers`` (default: all).

    With ``coverage`` the result depends on what that has seen, too; it is read, not changed.
    """
    return build(seed, layers, coverage)[0]


def build(
    seed: int, layers: Sequence[str] | None = None, coverage: Coverage | None = None
) -> tuple[Architecture, Builder]:
    """The architecture, and the builder with its counts."""
    require(seed >= 0, "a seed is an integer from 0 on", seed, "choose another")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # the mean of nothing: such a node is left out
        return _build(seed, layers, coverage)


def _build(
    seed: int, layers: Sequence[str] | None, coverage: Coverage | None
) -> tuple[Architecture, Builder]:
    names = tuple(registry if layers is None else layers)
    rng = np.random.default_rng([seed, 0])
    b = Builder(seed, rng, names)
    foci = _foci(tuple(registry[name] for name in names))
    (layer, case), neighbour = (
        _aim(seed, foci, names) if coverage is None else _unseen(rng, foci, names, coverage)
    )
    value = start(b)
    for _ in range(rng.choice((0, 0, 0, 1))):
        value = _motif(b, value)
    value = b.place(neighbour, value) or value
    value = b.place(layer, value if _floating(b, value) else start(b), case) or value
    value = further(b, value) if _floating(b, value) and value in b.nodes else value
    value = value if _floating(b, value) else start(b)
    for _ in range(rng.choice((0, 0, 1, 1, 2))):
        value = _motif(b, value)
    if rng.uniform() < 0.4:
        value = join(b, value)
    if rng.uniform() < 0.4:
        value = loss(b, value)
    while not b.nodes:
        chain(b, start(b))
    made = restricted(seed, list(b.nodes.values()), b.leaves, {"layouts": b.layouts})
    modes = draw_modes(np.random.default_rng([seed, 1]), made, b.values)
    return Architecture(seed, made.graph, made.leaves, modes), b


def _motif(b: Builder, value: str) -> str:
    """A motif on the value, now and then on an earlier one, which is then used twice."""
    if b.rng.uniform() < 0.15:
        earlier = [name for name in b.nodes if _floating(b, name)] or [value]
        value = earlier[b.rng.integers(len(earlier))]
    if len(b.nodes) > _MANY:
        return value
    after = MOTIFS[b.rng.integers(len(MOTIFS))](b, value)
    return after if _floating(b, after) else value


def _floating(b: Builder, edge: str) -> bool:
    return bool(b.values[edge].dtype.kind == "f")


# --- aiming ---------------------------------------------------------------------------------


@lru_cache(maxsize=8)
def _foci(derivations: tuple[Derivation, ...]) -> tuple[Focus, ...]:
    found: list[Focus] = []
    for derivation in derivations:
        found += [(derivation.name, case) for case in derivation.cases]
        found += [(derivation.name, None)] * (_FITTED if derivation.fit else 0)
    return tuple(found)


def _aim(seed: int, foci: Sequence[Focus], layers: Sequence[str]) -> tuple[Focus, str]:
    block, position = divmod(seed, len(foci))
    order = _order(block, len(foci))
    at = int(order[position])
    # neighbours in an order of the focus's own: no two blocks give it the same before all have been
    return foci[at], layers[(_order(at, len(layers))[block % len(layers)])]


@lru_cache(maxsize=256)
def _order(key: int, n: int) -> np.ndarray:
    return np.random.default_rng([key, n]).permutation(n)


def _unseen(
    rng: np.random.Generator, foci: Sequence[Focus], layers: Sequence[str], coverage: Coverage
) -> tuple[Focus, str]:
    """A focus with the option value seen least, on the neighbour that its layer has had least."""

    def rarity(focus: Focus) -> int:
        layer, case = focus
        if case is None:
            return coverage.layers[layer]
        return min(coverage.values[value] for value in case_values(registry[layer], case))

    focus = min((foci[i] for i in rng.permutation(len(foci))), key=rarity)
    shuffled = [layers[i] for i in rng.permutation(len(layers))]
    return focus, min(shuffled, key=lambda name: coverage.neighbours[focus[0], name])
