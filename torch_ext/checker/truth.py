"""Truths: autograd through a reference, or through the target's own forward, and what vouches for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import nullcontext
from typing import Any

import numpy as np
import torch
from torch import Tensor

from handgrad._errors import InputError, require
from handgrad.checking import directional_derivative
from torch_ext.checker.arrays import Cotangents, array, as_dtype, differentiable, normal, tensor
from torch_ext.checker.formula import CONSTANT, formulas, uncut
from torch_ext.checker.formula import as_formula as as_formula
from torch_ext.checker.recorder import BackwardRaises
from torch_ext.checker.subject import Subject

Outputs = list[np.ndarray]
Gradients = dict[str, np.ndarray]


_FULL, _SOME = 512, 32  # elements: all of them, or some


class Truth:
    """Outputs and gradients of ``subject``, in any precision; complex arrays get a last axis of two.

    ``native``: without a reference, custom Functions are replaced by their own forward formula, which
    autograd differentiates: the backward under test takes no part. Where that cannot be, or where it
    disagrees with numerical derivatives (a part is detached, or computed outside autograd), all
    gradients are numerical ones (``numerical``), and NaN where the function is not smooth.
    """

    def __init__(self, subject: Subject, native: bool) -> None:
        self.subject, self.native, self.numerical = subject, native, False
        self.errors: Gradients = {}  # of the numerical gradients last computed
        self.partial = False  # whether some elements have no numerical gradient
        self.attached = True  # whether some output had a grad_fn
        self.dtypes: list[torch.dtype] = []  # of the outputs

    @property
    def oracle(self) -> str:
        if not self.native:
            return "the reference's autograd"
        how = "numerical derivatives of" if self.numerical else "autograd through"
        return f"{how} the target's own forward"

    def outputs(
        self, variables: Mapping[str, Tensor], constants: Mapping[int, Any], dtype: torch.dtype
    ) -> list[Tensor]:
        pair = self.native and self.subject.pair is not None
        with formulas() if self.native else nullcontext(), uncut() if pair else nullcontext():
            return self.subject.call(dict(variables), constants, dtype)

    def __call__(
        self,
        variables: Mapping[str, Tensor],
        cotangents: Cotangents,
        constants: Mapping[int, Any],
        dtype: torch.dtype,
    ) -> tuple[Outputs, Gradients]:
        if self.numerical:
            return self._by_differences(variables, cotangents, constants, dtype)
        leaves = {n: as_dtype(v.detach(), dtype).clone().requires_grad_() for n, v in variables.items()}
        given = {n: v.clone() for n, v in leaves.items()}  # a forward pass may write into them
        with torch.enable_grad():
            outputs = self.outputs(given, constants, dtype)
        if not self.native:
            _require_same(outputs, cotangents)
        self.attached, self.dtypes = any(y.requires_grad for y in outputs), [y.dtype for y in outputs]
        ends = [
            (y, as_dtype(dy, dtype).to(y.dtype))
            for y, dy in zip(outputs, cotangents, strict=True)
            if dy is not None and y.requires_grad
        ]
        found: Sequence[Tensor | None] = [None] * len(leaves)
        if ends:
            with formulas() if self.native else nullcontext():  # a checkpoint computes them again
                found = torch.autograd.grad(
                    [y for y, _ in ends], list(leaves.values()), [dy for _, dy in ends], allow_unused=True
                )
        gradients = {
            n: array(torch.zeros_like(leaves[n]) if dx is None else dx)
            for n, dx in zip(leaves, found, strict=True)
        }
        return [array(y) for y in outputs], gradients

    def settle(
        self,
        variables: Mapping[str, Tensor],
        cotangents: Cotangents,
        constants: Mapping[int, Any],
        outputs: Sequence[Tensor],
        g: torch.Generator,
        vouching: bool = True,
    ) -> None:
        """Find out whether the truth is one, on the inputs given; ``vouching``: also numerically. Raises
        InputError for a reference that does not run, or has other outputs than ``outputs``."""
        try:
            made, _ = self(variables, cotangents, constants, torch.float64)
        except InputError:
            raise
        except Exception as error:
            if not self.native:
                raise InputError(
                    "a reference runs on the inputs given, in float64, too, and has the target's outputs; "
                    f"received {sentence(error)}; "
                    "give one that does."
                ) from error
            self.numerical = True
            self._require_float64(variables, constants)
            return
        if not self.native:
            for y, due in zip(self.dtypes, outputs, strict=True):
                wide = due.dtype in (torch.float64, torch.complex128)
                require(
                    y == due.dtype if wide else (y.is_floating_point or y.is_complex) == differentiable(due),
                    "a reference has outputs of the target's dtypes",
                    f"{y} where the target's is {due.dtype}",
                    "convert them",
                )
        shapes = [y.shape for y in made], [array(y).shape for y in outputs]
        require(shapes[0] == shapes[1], "a reference has the target's outputs", *_described(*shapes))
        if not self.native or not vouching:
            return
        # a kink may lie at the inputs given, where both are right: so elsewhere, too, before it is believed
        self.numerical = all(
            self._disagrees(shrunk(variables, g, part), cotangents, constants, g) for part in (0, 0.02, 0.05)
        )

    def _require_float64(self, variables: Mapping[str, Tensor], constants: Mapping[int, Any]) -> None:
        try:
            with torch.no_grad():
                self.outputs({n: v.clone() for n, v in variables.items()}, constants, torch.float64)
        except InputError:
            raise
        except Exception as error:
            raise InputError(
                "a target runs in float64, too, in which the truth is computed; "
                f"received {sentence(error)}; let it take that dtype, or give a reference."
            ) from error

    def _disagrees(
        self,
        variables: Mapping[str, Tensor],
        cotangents: Cotangents,
        constants: Mapping[int, Any],
        g: torch.Generator,
    ) -> bool:
        """Whether a numerical derivative along a direction tells that autograd's gradients are wrong."""
        directions = {n: normal(v, g) for n, v in variables.items()}
        found = self.along(variables, cotangents, constants, directions)
        if found is None:
            return False
        gradients = self(variables, cotangents, constants, torch.float64)[1]
        own = sum(float(np.sum(gradients[n] * array(directions[n]))) for n in gradients)
        return abs(own - found[0]) > 1e-6 * (abs(own) + abs(found[0])) + 10 * found[1]

    # --- from forward passes alone ----------------------------------------------------------------

    def _by_differences(
        self,
        variables: Mapping[str, Tensor],
        cotangents: Cotangents,
        constants: Mapping[int, Any],
        dtype: torch.dtype,
    ) -> tuple[Outputs, Gradients]:
        if dtype != torch.float64:
            raise NotImplementedError("numerical derivatives need float64")
        with torch.no_grad():
            outputs = self.outputs({n: v.clone() for n, v in variables.items()}, constants, dtype)
        gradients: Gradients = {}
        self.errors = {}
        for name, v in variables.items():
            values, errors = np.full(array(v).shape, np.nan), np.zeros(array(v).shape)
            chosen = np.arange(values.size)
            if values.size > _FULL:  # some elements; directions see to all of them
                self.partial = True
                chosen = np.random.default_rng(0).choice(chosen, _SOME, replace=False)
            for index in zip(*np.unravel_index(chosen, values.shape), strict=True):
                direction = np.zeros(values.shape)
                direction[index] = 1.0
                found = self.along(variables, cotangents, constants, {name: tensor(direction, v)})
                if found is not None:
                    values[index], errors[index] = found
            gradients[name], self.errors[name] = values, errors
        return [array(y) for y in outputs], gradients

    def along(
        self,
        variables: Mapping[str, Tensor],
        cotangents: Cotangents,
        constants: Mapping[int, Any],
        directions: Mapping[str, Tensor],
        step: float = 2.0**-7,
    ) -> tuple[float, float] | None:
        """(value, error) of the derivative of sum(dy y) along ``directions``; None where not smooth."""
        size = 0.0

        def along(s: Any) -> np.longdouble:
            nonlocal size
            moved = {
                n: v + float(s) * directions[n] if n in directions else v.clone()
                for n, v in variables.items()
            }
            with torch.no_grad():
                outputs = self.outputs(moved, constants, torch.float64)
            total = np.longdouble(0)
            for y, dy in zip(outputs, cotangents, strict=True):
                if dy is not None and not hasattr(y, CONSTANT):
                    terms = array(y) * array(dy)
                    size = max(size, float(np.sum(np.abs(terms))))
                    total += np.sum(terms.astype(np.longdouble))
            return total

        unit = float(np.finfo(np.longdouble).eps) / 2
        try:
            if not np.isfinite(along(0.0)):  # its size is that of all
                return None
            # float64 forwards: their rounding counts, not long double's
            found = directional_derivative(along, size * 2.0**-53 / unit, step)
        except Exception:  # a step leaves the domain
            return None
        return None if found is None else (found.value, found.error)


def shrunk(variables: Mapping[str, Tensor], g: torch.Generator, part: float) -> dict[str, Tensor]:
    """Every element shrunk by its own random fraction, up to a ``part``; zeros become as small as that."""
    if not part:
        return dict(variables)
    moved = {}
    for n, v in variables.items():
        r = part * torch.rand(v.shape, generator=g, dtype=torch.float64)
        moved[n] = torch.where(v == 0, r.to(v.dtype), v * (1 - r))
    return moved


def sentence(error: Exception) -> str:
    """An exception in one line."""
    error = error.error if isinstance(error, BackwardRaises) else error
    return f"{type(error).__name__}: {' '.join(str(error).split())[:300]}"


def _require_same(outputs: Sequence[Tensor], cotangents: Cotangents) -> None:
    """As many outputs as incoming gradients, of their shapes, all real or complex alike."""
    rule, do = "a reference has the target's outputs", "give one of the same function"
    require(
        len(outputs) == len(cotangents), rule, f"{len(outputs)} where the target has {len(cotangents)}", do
    )
    for y, dy in zip(outputs, cotangents, strict=True):
        if dy is None:
            continue
        require(y.shape == dy.shape, rule, f"shape {tuple(y.shape)} where it is {tuple(dy.shape)}", do)
        kinds = ["complex" if t.is_complex() else "real" for t in (y, dy)]
        require(kinds[0] == kinds[1], rule, f"{kinds[0]} numbers where they are {kinds[1]}", do)


def _described(made: Sequence[Any], due: Sequence[Any]) -> tuple[str, str]:
    return f"shapes {list(made)} where the target's are {list(due)}", "give one of the same function"
