"""A corpus of planted mistakes written without sight of the checker: 22 operations, their right and wrong backward passes."""

from . import activations, algebra, indexing, layers, losses

OPERATIONS = (
    losses.OPERATIONS + layers.OPERATIONS + activations.OPERATIONS + indexing.OPERATIONS + algebra.OPERATIONS
)
