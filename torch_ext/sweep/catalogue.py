"""What ``torch.nn`` has, read from it at run time, so that a new PyTorch release shows what is missing."""

from __future__ import annotations

import inspect
import types

import torch
from torch import nn

_STRUCTURE = "a container: it computes nothing of its own, and swap keeps it as it is"
_BASE = "a base class without a forward pass of its own"

LEFT_OUT = {
    # functions
    "assert_int_or_pair": "a check of arguments, no layer",
    "boolean_dispatch": "makes functions, is none",
    "handle_torch_function": "PyTorch's override protocol, no layer",
    "has_torch_function": "PyTorch's override protocol, no layer",
    "has_torch_function_unary": "PyTorch's override protocol, no layer",
    "has_torch_function_variadic": "PyTorch's override protocol, no layer",
    "scaled_mm": "no derivative in PyTorch: it multiplies 8-bit floats, for inference",
    "scaled_grouped_mm": "no derivative in PyTorch: it multiplies 8-bit floats, for inference",
    # modules
    "Container": "removed from PyTorch's documentation: an old name of a container",
    "Module": _BASE,
    "RNNBase": _BASE,
    "RNNCellBase": _BASE,
    "Sequential": _STRUCTURE,
    "ModuleList": _STRUCTURE,
    "ModuleDict": _STRUCTURE,
    "ParameterList": _STRUCTURE,
    "ParameterDict": _STRUCTURE,
    "DataParallel": "copies a model to several devices: the layers inside are swapped",
    "NLLLoss2d": "deprecated: PyTorch's documentation names NLLLoss in its place",
}

# entries of the databases for a part of a function that is refused, with a sentence
VARIANTS_LEFT_OUT = {"norm/nuc": "the nuclear norm needs the derivation of a singular value decomposition"}


def modules() -> list[str]:
    """Names of all public classes of modules in ``torch.nn``."""
    return sorted(
        name
        for name, kind in vars(nn).items()
        if not name.startswith("_") and inspect.isclass(kind) and issubclass(kind, nn.Module)
    )


def functions() -> list[str]:
    """Names of all public functions of ``torch.nn.functional``."""
    return sorted(
        name
        for name, value in vars(nn.functional).items()
        if not name.startswith("_")
        and isinstance(value, types.FunctionType | types.BuiltinFunctionType)
        and not inspect.isclass(value)
    )


def missing() -> tuple[list[str], list[str]]:
    """(functions, modules) that are neither here nor left out with a reason."""
    import torch_ext

    ours = torch_ext.functional
    lacking = [n for n in functions() if n not in LEFT_OUT and not hasattr(ours, n)]
    classes = [n for n in modules() if n not in LEFT_OUT and n not in vars(torch_ext.nn)]
    return lacking, classes


def reasons_without_a_name() -> list[str]:
    """Entries of :data:`LEFT_OUT` that PyTorch no longer has: to be removed."""
    known = {*functions(), *modules()}
    return sorted(set(LEFT_OUT) - known) if torch.__version__ else []
