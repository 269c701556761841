"""Samples for what PyTorch's databases lack, a family a file.

``FUNCTIONS``: name -> make(generator, dtype), which yields (args, kwargs) of one call after the other.
``MODULES``: name -> make(generator, dtype), which yields (args, kwargs) of the constructor
and the args of one call.
Floating tensors that are differentiated require grad.
"""

from torch_ext.sweep.own import (
    activations,
    attention,
    convolutions,
    interpolation,
    losses,
    norms,
    operations,
    pooling,
    recurrent,
    shapes,
)

_FAMILIES = (
    activations,
    attention,
    convolutions,
    interpolation,
    losses,
    norms,
    operations,
    pooling,
    recurrent,
    shapes,
)
FUNCTIONS = {name: make for family in _FAMILIES for name, make in family.FUNCTIONS.items()}
MODULES = {name: make for family in _FAMILIES for name, make in family.MODULES.items()}
