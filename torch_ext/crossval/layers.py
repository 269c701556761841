"""Every derivation x case x array library x dtype, against autograd and a numerical truth."""

from __future__ import annotations

import traceback
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

import torch_ext
from handgrad._arrays import size
from handgrad._cases import Case
from handgrad._derivation import Derivation, registry
from handgrad._errors import InputError
from handgrad.checking import compare, directional_derivative, precision
from handgrad.checking.differences import Difference
from handgrad.report import Check
from torch_ext import oracles
from torch_ext.limits import Limit, limits
from torch_ext.oracles import Arrays, Results

DTYPES = ("float64", "float32", "bfloat16", "float16")
_LIBRARIES = {
    "numpy": ("float64", "float32", "float16"),
    "strict": ("float64", "float32"),
    "torch": DTYPES,
}


@dataclass(frozen=True)
class Sample:
    """One case, drawn: inputs and cotangents in float64, already rounded to ``dtype``."""

    derivation: Derivation
    case: Case
    dtype: str
    inputs: list[np.ndarray | None]
    cotangents: list[np.ndarray | None]

    def truth(self) -> Results:
        """By autograd through PyTorch's own function."""
        return oracles.autograd(self.derivation, self.inputs, self.case.options, self.cotangents)

    def truth_at(self, values: list[np.ndarray | None], dtype: torch.dtype) -> Arrays:
        """The same at other inputs and cotangents, computed in ``dtype``."""
        n = len(self.inputs)
        return oracles.autograd(self.derivation, values[:n], self.case.options, values[n:], dtype).all

    def limits(self, truth: Results, rng: np.random.Generator) -> list[Limit]:
        """What rounding explains, for each output and gradient."""
        # inputs given exactly stay where they are: any movement would leave a kink
        specs = self.case.inputs if self.case.kink else ()
        fixed = [i for i, spec in enumerate(specs) if spec is not None and spec.kind == "exactly"]
        values = [*self.inputs, *self.cotangents]
        return limits(self.truth_at, values, truth, self.dtype, self.elements, rng, fixed=fixed)

    @property
    def elements(self) -> int:
        return max(size(x.shape) for x in (*self.inputs, *self.cotangents) if x is not None)

    def names(self, results: Results) -> list[str]:
        inputs = self.derivation.input_names(len(results.gradients))
        return [*self.derivation.outputs, *(f"d_{name}" for name in inputs)]


def generator(seed: int, *names: object) -> np.random.Generator:
    """Random numbers that depend on the seed and these names alone, not on what else is run."""
    return np.random.default_rng([seed, *(zlib.crc32(str(name).encode()) for name in names)])


def check_layer(name: str, seed: int) -> list[Check]:
    """All checks of one derivation."""
    derivation = registry[name]
    return [check for case in derivation.cases for check in check_case(derivation, case, seed)]


def check_case(derivation: Derivation, case: Case, seed: int) -> list[Check]:
    """One case in every array library and dtype; at a kink a numerical derivative has nothing to say."""
    checks = [check for dtype in DTYPES for check in _against_autograd(derivation, case, dtype, seed)]
    return checks if case.kink else [*checks, *_against_numerical(derivation, case, seed)]


# --- against autograd -----------------------------------------------------------------


def _against_autograd(derivation: Derivation, case: Case, dtype: str, seed: int) -> Iterator[Check]:
    rng = generator(seed, derivation.name, case.name)
    try:
        sample = draw(derivation, case, dtype, rng)
        truth = sample.truth()
        each = sample.limits(truth, rng)
    except Exception as error:
        yield failed(derivation, case, "torch", dtype, "autograd", f"PyTorch raises {describe(error)}")
        return
    for library, dtypes in _LIBRARIES.items():
        if dtype not in dtypes:
            continue
        try:
            found = _RUNS[library](sample)
        except Exception as error:
            yield failed(derivation, case, library, dtype, "autograd", f"raises {describe(error)}")
            continue
        for argument, a, limit in zip(sample.names(truth), found.all, each, strict=True):
            difference = limit.judge(a)
            if difference is not None:
                yield check(derivation, case, library, dtype, "autograd", argument, limit.truth, difference)


def draw(derivation: Derivation, case: Case, dtype: str, rng: np.random.Generator) -> Sample:
    """Inputs as the case says, Gaussian cotangents, all rounded to ``dtype``."""
    inputs = [_rounded(x, dtype) for x in case.draw(rng)]
    tensors = [oracles.tensor(x, torch.float64) for x in inputs]
    outputs = oracles.reference(derivation, tensors, case.options)
    cotangents = [
        _rounded(rng.standard_normal(tuple(y.shape)), dtype)
        if y.is_floating_point() and name not in derivation.constant
        else None
        for name, y in zip(derivation.outputs, outputs, strict=True)
    ]
    return Sample(derivation, case, dtype, inputs, cotangents)


def _rounded(x: np.ndarray | None, dtype: str) -> np.ndarray | None:
    if x is None or x.dtype != np.float64:
        return x
    return torch.from_numpy(np.array(x)).to(getattr(torch, dtype)).double().numpy()


# --- the hand derivation in each library ------------------------------------------------


def _in_arrays(sample: Sample, make: Callable[[np.ndarray], Any], dtype: str) -> Results:
    """The derivation on plain arrays of a library."""
    inputs = [None if x is None else make(x) for x in sample.inputs]
    outputs, residuals = sample.derivation.apply(inputs, sample.case.options)
    cotangents = [None if dy is None else make(dy) for dy in sample.cotangents]
    gradients: tuple[Any, ...] = (None,) * len(inputs)
    if any(dy is not None for dy in cotangents):
        needs = [
            x is not None and x.dtype == np.float64 and sample.derivation.has_gradient(i)
            for i, x in enumerate(sample.inputs)
        ]
        # a gradient beyond 65504 is infinite in float16: that is how it rounds, and no warning's matter
        with np.errstate(over="ignore" if dtype == "float16" else "warn"):
            gradients = sample.derivation.vjp(cotangents, residuals, inputs, sample.case.options, needs)
    return Results([_plain(y, dtype) for y in outputs], [_plain(dx, dtype) for dx in gradients])


def _plain(x: Any, dtype: str) -> np.ndarray | None:
    if x is None:
        return None
    a = np.asarray(x)
    if not np.issubdtype(a.dtype, np.floating):
        return a
    if a.dtype != np.dtype(dtype):
        raise TypeError(f"dtype {a.dtype} where {dtype} is due")
    return a.astype(np.float64)


def _numpy(sample: Sample) -> Results:
    def make(x: np.ndarray) -> np.ndarray:
        made = np.array(x, sample.dtype) if x.dtype == np.float64 else np.array(x)
        made.setflags(write=False)  # a formula that writes into its inputs raises
        return made

    return _in_arrays(sample, make, sample.dtype)


def _strict(sample: Sample) -> Results:
    import array_api_strict

    def make(x: np.ndarray) -> Any:
        return array_api_strict.asarray(x.astype(sample.dtype) if x.dtype == np.float64 else x)

    return _in_arrays(sample, make, sample.dtype)


def _torch(sample: Sample) -> Results:
    """The derivation as an autograd.Function."""
    dtype = getattr(torch, sample.dtype)
    inputs = [oracles.tensor(x, dtype) for x in sample.inputs]
    wanted = oracles.differentiable(sample.derivation, inputs)
    for i in wanted:
        inputs[i].requires_grad_()  # type: ignore[union-attr]
    y = torch_ext.call(sample.derivation, *inputs, **sample.case.options)
    outputs = y if isinstance(y, tuple) else (y,)
    for o in outputs:
        if o.is_floating_point() and o.dtype != dtype:
            raise TypeError(f"dtype {o.dtype} where {dtype} is due")
    return Results(
        [oracles.array(o) for o in outputs],
        oracles.gradients(outputs, inputs, wanted, sample.cotangents),
    )


_RUNS: dict[str, Callable[[Sample], Results]] = {"numpy": _numpy, "strict": _strict, "torch": _torch}


# --- against a numerical truth ------------------------------------------------------------


def _against_numerical(derivation: Derivation, case: Case, seed: int) -> Iterator[Check]:
    """Each gradient along a random direction, in long double, from the forward pass alone."""
    rng = generator(seed, derivation.name, case.name)
    real = np.longdouble
    inputs = [x if x is None or x.dtype != np.float64 else x.astype(real) for x in case.draw(rng)]
    try:
        outputs, residuals = derivation.apply(inputs, case.options)
        cotangents = [
            rng.standard_normal(np.shape(y)).astype(real)
            if name not in derivation.constant and np.issubdtype(y.dtype, np.floating)
            else None
            for name, y in zip(derivation.outputs, outputs, strict=True)
        ]
        if all(dy is None for dy in cotangents):  # integers throughout: nothing is differentiable
            return
        gradients = derivation.vjp(cotangents, residuals, inputs, case.options)
        for i, x in enumerate(inputs):
            if x is None or x.dtype != real or not derivation.has_gradient(i) or not x.size:
                continue
            name = derivation.input_names(len(inputs))[i]
            found = _along(derivation, case, inputs, i, cotangents, gradients[i], rng)
            if found is not None:
                yield check(
                    derivation, case, "numpy", "longdouble", "numerical", f"d_{name}", np.zeros(()), found
                )
    except Exception as error:
        yield failed(derivation, case, "numpy", "longdouble", "numerical", f"raises {describe(error)}")


def _along(
    derivation: Derivation,
    case: Case,
    inputs: list[Any],
    i: int,
    cotangents: list[Any],
    gradient: Any,
    rng: np.random.Generator,
) -> Difference | None:
    if gradient is None:
        return Difference(False, message="no gradient where one is due")
    x = inputs[i]
    direction = rng.standard_normal(x.shape).astype(x.dtype)
    terms = 0.0

    def along(step: np.longdouble) -> np.longdouble:
        nonlocal terms
        moved = [*inputs[:i], x + step * direction, *inputs[i + 1 :]]
        try:
            outputs, _ = derivation.apply(moved, case.options)
        except InputError:  # the step leaves the domain: a shorter one may not
            return np.longdouble("nan")
        products = [dy * y for dy, y in zip(cotangents, outputs, strict=True) if dy is not None]
        terms = max(terms, *(float(np.sum(np.abs(p))) for p in products))
        return np.longdouble(sum(np.sum(p) for p in products))

    along(np.longdouble(0))
    # x + step v is rounded too, which moves the result by a unit roundoff of each x_i dx_i
    truth = directional_derivative(along, terms + float(np.sum(np.abs(gradient * x))))
    if truth is None:
        return None
    products = gradient * direction
    value = float(np.sum(products))
    unit = float(np.finfo(np.longdouble).eps) / 2
    # the sum's own rounding, and that of converting both to float64
    rounding = 64 * x.size * unit * float(np.sum(np.abs(products))) + 4 * 2.0**-53 * abs(truth.value)
    bound = np.asarray(4 * truth.error + rounding + 5e-324)
    return compare(np.asarray(value), np.asarray(truth.value), bound, precision("float64"))


# --- records ------------------------------------------------------------------------------


def check(
    derivation: Derivation,
    case: Case,
    library: str,
    dtype: str,
    oracle: str,
    argument: str,
    truth: np.ndarray | None,
    difference: Difference,
) -> Check:
    return Check(
        id=_identity(derivation, case, library, dtype, oracle, argument),
        group="layers",
        layer=derivation.name,
        case=case.name,
        library=library,
        dtype=dtype,
        oracle=oracle,
        argument=argument,
        shape=() if truth is None else truth.shape,
        **difference.fields(),
    )


def failed(derivation: Derivation, case: Case, library: str, dtype: str, oracle: str, message: str) -> Check:
    """A check that came to no number."""
    return Check(
        id=_identity(derivation, case, library, dtype, oracle, "call"),
        group="layers",
        passed=False,
        layer=derivation.name,
        case=case.name,
        library=library,
        dtype=dtype,
        oracle=oracle,
        message=message,
    )


def _identity(derivation: Derivation, case: Case, *parts: str) -> str:
    return " / ".join((derivation.name, case.name, *parts))


def describe(error: BaseException) -> str:
    """The exception in words, with the place in a derivation where it was raised."""
    frames = traceback.extract_tb(error.__traceback__)
    place = next((f for f in reversed(frames) if Path(f.filename).parent.name == "derivations"), None)
    where = f" ({Path(place.filename).name}:{place.lineno})" if place else ""
    said = " ".join(str(error).split("\n\n")[0].split())  # PyTorch's may go on for pages
    return f"{type(error).__name__}: {said if len(said) < 400 else said[:400] + ' ...'}{where}"
