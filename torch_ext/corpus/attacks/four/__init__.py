"""Twenty hand-written functions with planted mistakes."""

from . import geometry, layers, losses

OPERATIONS = layers.OPERATIONS + geometry.OPERATIONS + losses.OPERATIONS
