"""Activations, element by element (and glu): the names of ``torch.nn.functional``."""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor

from torch_ext.functional._common import (
    Number,
    apply,
    as_floats,
    in_place,
    need_floats,
    need_tensors,
)

__all__ = [
    "celu",
    "celu_",
    "elu",
    "elu_",
    "gelu",
    "glu",
    "hardshrink",
    "hardsigmoid",
    "hardswish",
    "hardtanh",
    "hardtanh_",
    "leaky_relu",
    "leaky_relu_",
    "logsigmoid",
    "mish",
    "prelu",
    "relu",
    "relu6",
    "relu_",
    "rrelu",
    "rrelu_",
    "selu",
    "selu_",
    "sigmoid",
    "silu",
    "softplus",
    "softshrink",
    "softsign",
    "tanh",
    "tanhshrink",
    "threshold",
    "threshold_",
]


def _activate(name: str, x: Tensor, inplace: bool, *inputs: Tensor, **options: Any) -> Tensor:
    y: Tensor = (in_place if inplace else apply)(name, x, *inputs, **options)
    return y


# --- straight pieces ----------------------------------------------------------------------


def relu(input: Tensor, inplace: bool = False) -> Tensor:
    """``torch.nn.functional.relu``."""
    _need_numbers("relu", input)
    return _activate("relu", input, inplace)


def relu_(input: Tensor) -> Tensor:
    """``torch.nn.functional.relu_``: in place."""
    return relu(input, inplace=True)


def relu6(input: Tensor, inplace: bool = False) -> Tensor:
    """``torch.nn.functional.relu6``."""
    _need_numbers("relu6", input)
    return _activate("relu6", input, inplace)


def leaky_relu(input: Tensor, negative_slope: float = 0.01, inplace: bool = False) -> Tensor:
    """``torch.nn.functional.leaky_relu``; in place, a negative slope is allowed too."""
    need_floats("leaky_relu", input=input)
    return _activate("leaky_relu", input, inplace, negative_slope=negative_slope)


def leaky_relu_(input: Tensor, negative_slope: float = 0.01) -> Tensor:
    """``torch.nn.functional.leaky_relu_``: in place."""
    return leaky_relu(input, negative_slope, inplace=True)


def prelu(input: Tensor, weight: Tensor) -> Tensor:
    """``torch.nn.functional.prelu``."""
    need_floats("prelu", input=input, weight=weight)
    if input.dtype != weight.dtype and not torch.is_autocast_enabled(input.device.type):
        raise RuntimeError(
            f"prelu needs one dtype for both; received {input.dtype} and {weight.dtype}; convert one."
        )
    y: Tensor = apply("prelu", input, weight)
    return y


def rrelu(
    input: Tensor,
    lower: float = 1.0 / 8,
    upper: float = 1.0 / 3,
    training: bool = False,
    inplace: bool = False,
) -> Tensor:
    """``torch.nn.functional.rrelu``, with the same random numbers from the same seed."""
    need_floats("rrelu", input=input)
    if lower > upper:
        raise RuntimeError(
            f"lower must not exceed upper in rrelu; received {lower} and {upper}; exchange them."
        )
    if not training:
        return _activate("leaky_relu", input, inplace, negative_slope=(lower + upper) / 2)
    return _activate("rrelu", input, inplace, _random_slopes(input, lower, upper))


def rrelu_(input: Tensor, lower: float = 1.0 / 8, upper: float = 1.0 / 3, training: bool = False) -> Tensor:
    """``torch.nn.functional.rrelu_``: in place."""
    return rrelu(input, lower, upper, training, inplace=True)


def _random_slopes(x: Tensor, lower: float, upper: float) -> Tensor:
    """Uniform where x ≤ 0, and 1 elsewhere: PyTorch draws no number there."""
    with torch.no_grad():
        slopes = torch.empty_like(x)
        if (
            torch._C._are_functorch_transforms_active() and _mapped()
        ):  # the operator below has no rule for vmap
            return torch.where(x <= 0, slopes.uniform_(lower, upper), 1)
        torch.ops.aten.rrelu_with_noise(x.detach(), slopes, lower, upper, True)
        return slopes


def _mapped() -> bool:
    stack = torch._C._functorch.get_interpreter_stack() or ()
    return any(i.key() == torch._C._functorch.TransformType.Vmap for i in stack)


def hardtanh(input: Tensor, min_val: float = -1.0, max_val: float = 1.0, inplace: bool = False) -> Tensor:
    """``torch.nn.functional.hardtanh``."""
    _need_numbers("hardtanh", input)
    if not input.dtype.is_signed and min_val < 0:
        raise RuntimeError(
            f"hardtanh of unsigned numbers needs limits that are not negative; received min_val={min_val}; "
            "convert the input to a signed dtype."
        )
    low, high = _as_dtype_of(input, min_val), _as_dtype_of(input, max_val)
    return _activate("hardtanh", input, inplace, min_val=low, max_val=high)


def hardtanh_(input: Tensor, min_val: float = -1.0, max_val: float = 1.0) -> Tensor:
    """``torch.nn.functional.hardtanh_``: in place."""
    return hardtanh(input, min_val, max_val, inplace=True)


def hardsigmoid(input: Tensor, inplace: bool = False) -> Tensor:
    """``torch.nn.functional.hardsigmoid``."""
    need_floats("hardsigmoid", input=input)
    return _activate("hardsigmoid", input, inplace)


def hardswish(input: Tensor, inplace: bool = False) -> Tensor:
    """``torch.nn.functional.hardswish``."""
    need_floats("hardswish", input=input)
    return _activate("hardswish", input, inplace)


def hardshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """``torch.nn.functional.hardshrink``."""
    need_floats("hardshrink", input=input)
    return _activate("hardshrink", input, False, lambd=lambd)


def softshrink(input: Tensor, lambd: float = 0.5) -> Tensor:
    """``torch.nn.functional.softshrink``."""
    need_floats("softshrink", input=input)
    return _activate("softshrink", input, False, lambd=lambd)


def threshold(input: Tensor, threshold: float, value: float, inplace: bool = False) -> Tensor:
    """``torch.nn.functional.threshold``."""
    return _threshold(input, threshold, value, inplace)


def threshold_(input: Tensor, threshold: float, value: float) -> Tensor:
    """``torch.nn.functional.threshold_``: in place."""
    return _threshold(input, threshold, value, True)


def _threshold(x: Tensor, threshold: float, value: float, inplace: bool) -> Tensor:
    need_tensors("threshold", input=x)
    if x.is_complex() or x.dtype == torch.bool:
        raise NotImplementedError(f"threshold needs real numbers; received {x.dtype}; convert them first.")
    t, v = _as_dtype_of(x, threshold), _as_dtype_of(x, value)
    return _activate("threshold", x, inplace, threshold=t, value=v)


def _need_numbers(layer: str, x: Tensor) -> None:
    """As PyTorch's ``clamp``: integers too, but neither booleans nor complex numbers."""
    need_tensors(layer, input=x)
    if x.dtype == torch.bool:
        raise RuntimeError(f"{layer} needs numbers; received booleans; convert them first.")
    if x.is_complex():
        raise NotImplementedError(
            f"{layer} needs real numbers; received {x.dtype}; take abs() or real first."
        )


def _as_dtype_of(x: Tensor, number: Number) -> Number:
    """A number as x can hold it: cut to an integer for integers."""
    return number if x.is_floating_point() or isinstance(number, complex) else int(number)


# --- curves -------------------------------------------------------------------------------


def elu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """``torch.nn.functional.elu``; in place, a negative alpha is allowed too."""
    need_floats("elu", input=input)
    return _activate("elu", input, inplace, alpha=alpha)


def elu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """``torch.nn.functional.elu_``: in place."""
    return elu(input, alpha, inplace=True)


def celu(input: Tensor, alpha: float = 1.0, inplace: bool = False) -> Tensor:
    """``torch.nn.functional.celu``."""
    need_floats("celu", input=input)
    return _activate("celu", input, inplace, alpha=alpha)


def celu_(input: Tensor, alpha: float = 1.0) -> Tensor:
    """``torch.nn.functional.celu_``: in place."""
    return celu(input, alpha, inplace=True)


def selu(input: Tensor, inplace: bool = False) -> Tensor:
    """``torch.nn.functional.selu``."""
    need_floats("selu", input=input)
    return _activate("selu", input, inplace)


def selu_(input: Tensor) -> Tensor:
    """``torch.nn.functional.selu_``: in place."""
    return selu(input, inplace=True)


def silu(input: Tensor, inplace: bool = False) -> Tensor:
    """``torch.nn.functional.silu``."""
    need_floats("silu", allow_complex=True, input=input)
    return _activate("silu", input, inplace)


def mish(input: Tensor, inplace: bool = False) -> Tensor:
    """``torch.nn.functional.mish``."""
    need_floats("mish", input=input)
    return _activate("mish", input, inplace)


def gelu(input: Tensor, *, approximate: str = "none") -> Tensor:
    """``torch.nn.functional.gelu``; ``approximate`` "none" (exact) or "tanh"."""
    need_floats("gelu", input=input)
    return _activate("gelu", input, False, approximate=approximate)


def sigmoid(input: Tensor) -> Tensor:
    """``torch.nn.functional.sigmoid``."""
    return _activate("sigmoid", as_floats("sigmoid", input), False)


def logsigmoid(input: Tensor) -> Tensor:
    """``torch.nn.functional.logsigmoid``."""
    need_floats("logsigmoid", input=input)
    return _activate("logsigmoid", input, False)


def softplus(input: Tensor, beta: float = 1, threshold: float = 20) -> Tensor:
    """``torch.nn.functional.softplus``."""
    need_floats("softplus", input=input)
    return _activate("softplus", input, False, beta=beta, threshold=threshold)


def tanh(input: Tensor) -> Tensor:
    """``torch.nn.functional.tanh``."""
    return _activate("tanh", as_floats("tanh", input), False)


def tanhshrink(input: Tensor) -> Tensor:
    """``torch.nn.functional.tanhshrink``."""
    _need_no_booleans("tanhshrink", input, RuntimeError)
    return _activate("tanhshrink", as_floats("tanhshrink", input), False)


def softsign(input: Tensor) -> Tensor:
    """``torch.nn.functional.softsign``."""
    _need_no_booleans("softsign", input, NotImplementedError)
    return _activate("softsign", as_floats("softsign", input), False)


def _need_no_booleans(layer: str, x: Tensor, error: type[Exception]) -> None:
    need_tensors(layer, input=x)
    if x.dtype == torch.bool:
        raise error(f"{layer} needs numbers; received booleans; convert them first.")


def glu(input: Tensor, dim: int = -1) -> Tensor:
    """``torch.nn.functional.glu``."""
    need_floats("glu", input=input)
    return _activate("glu", input, False, dim=dim)
