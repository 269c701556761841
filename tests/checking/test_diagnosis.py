"""A planted mistake in a hand-made gradient gets its name; no formula of the checker is used to plant it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import pytest

from handgrad.checking.diagnosis import diagnose
from handgrad.checking.evidence import Evidence

Gradient = Callable[[np.ndarray, np.ndarray, np.ndarray], np.ndarray]


def product(dy: np.ndarray, x: np.ndarray, w: np.ndarray) -> np.ndarray:
    """The gradient of tanh(x) @ w for x."""
    return np.asarray((dy @ w.T) / np.cosh(x) ** 2)


def evidence(mistake: Gradient, count: int = 4) -> list[Evidence]:
    made = []
    for seed in range(count):
        rng = np.random.default_rng(seed)
        x, w, dy = rng.normal(size=(5, 5)), rng.normal(size=(5, 5)), rng.normal(size=(5, 5))

        def vjp(
            dys: Sequence[np.ndarray | None], x: np.ndarray = x, w: np.ndarray = w
        ) -> Mapping[str, np.ndarray]:
            (dy,) = dys
            assert dy is not None
            return {"x": product(dy, x, w), "w": np.tanh(x).T @ dy}

        def backward(
            dys: Sequence[np.ndarray | None], x: np.ndarray = x, w: np.ndarray = w
        ) -> Mapping[str, np.ndarray | None]:
            (dy,) = dys
            assert dy is not None
            return {"x": mistake(dy, x, w), "w": np.tanh(x).T @ dy}

        truth = vjp([dy])
        allowed = {n: np.full(t.shape, 1e-13) for n, t in truth.items()}
        analytic = {"x": mistake(dy, x, w), "w": truth["w"]}
        made.append(
            Evidence(
                f"inputs {seed}",
                analytic,
                truth,
                allowed,
                {"x": x, "w": w},
                [np.tanh(x) @ w],
                [dy],
                vjp,
                backward=backward,
            )
        )
    return made


def element(dx: np.ndarray) -> np.ndarray:
    dx = dx.copy()
    dx[2, 3] *= 1.01
    return dx


MISTAKES: dict[str, tuple[str, Gradient]] = {
    "negated": ("sign", lambda dy, x, w: -product(dy, x, w)),
    "divided by the batch": ("scale", lambda dy, x, w: product(dy, x, w) / 5),
    "a little": ("scale", lambda dy, x, w: product(dy, x, w) * (1 + 1e-5)),
    "transposed": ("transpose", lambda dy, x, w: product(dy, x, w).T),
    "shifted": ("permuted", lambda dy, x, w: np.roll(product(dy, x, w), 1, axis=1)),
    "one element": ("local", lambda dy, x, w: element(product(dy, x, w))),
    "a branch": ("region", lambda dy, x, w: np.where(x < 0, 0.9, 1.0) * product(dy, x, w)),
    "every second row": (
        "region",
        lambda dy, x, w: np.array([[1], [2], [1], [2], [1]]) * product(dy, x, w),
    ),
    "a mean correction": (
        "missing-term",
        lambda dy, x, w: product(dy, x, w) - np.mean(product(dy, x, w), axis=1, keepdims=True),
    ),
    "grad_output transposed": ("transpose", lambda dy, x, w: product(dy.T, x, w)),
    "grad_output reversed": ("permuted", lambda dy, x, w: product(dy[::-1], x, w)),
    "ones for grad_output": ("missing-factor", lambda dy, x, w: product(np.ones_like(dy), x, w)),
    "in 16 bits": ("dtype", lambda dy, x, w: product(dy, x, w).astype(np.float16).astype(float)),
    "a decay": ("missing-term", lambda dy, x, w: product(dy, x, w) + 0.1 * x),
    "two outputs left out": ("missing-term", lambda dy, x, w: product(dy * (np.arange(5) < 3), x, w)),
    "constant": ("offset", lambda dy, x, w: product(dy, x, w) + 0.125),
    "no derivative": ("missing-factor", lambda dy, x, w: dy @ w.T),
    "a mean": ("missing-term", lambda dy, x, w: product(dy, x, w) - np.mean(product(dy, x, w))),
    "forgotten": ("zero", lambda dy, x, w: np.zeros_like(x)),
    "divided by zero": ("not-finite", lambda dy, x, w: product(dy, x, w) + 0 / np.where(x > 0, 1, 0.0)),
    "noise": ("unknown", lambda dy, x, w: product(dy, x, w) + np.random.default_rng(0).normal(size=x.shape)),
}


@pytest.mark.parametrize("name", MISTAKES)
@pytest.mark.filterwarnings("ignore:invalid value encountered")
def test_a_mistake_gets_its_name(name: str) -> None:
    kind, mistake = MISTAKES[name]
    finding = diagnose("x", evidence(mistake))
    assert finding is not None
    assert finding.kind == kind, finding.message
    assert finding.where == "x"
    assert len(finding.message) > 20


def test_a_scale_says_its_factor() -> None:
    finding = diagnose("x", evidence(lambda dy, x, w: product(dy, x, w) / 5))
    assert finding is not None
    assert finding.details["factor"] == pytest.approx(0.2, rel=1e-12)


def test_a_local_mistake_says_where() -> None:
    finding = diagnose("x", evidence(lambda dy, x, w: element(product(dy, x, w))))
    assert finding is not None
    assert finding.details["indices"] == [[2, 3]]
