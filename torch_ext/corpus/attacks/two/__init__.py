"""Planted mistakes in hand-written backward passes: operations by family."""

from . import attention, geometry, graph, layers, losses, sequence, spatial, tensors

OPERATIONS = (
    losses.OPERATIONS
    + attention.OPERATIONS
    + layers.OPERATIONS
    + sequence.OPERATIONS
    + tensors.OPERATIONS
    + geometry.OPERATIONS
    + spatial.OPERATIONS
    + graph.OPERATIONS
)
