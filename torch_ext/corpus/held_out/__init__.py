"""The held-out third of the corpus: written from sources on wrong gradients, without a look at the checker."""

from torch_ext.corpus._entry import Operation
from torch_ext.corpus.held_out import (
    activations,
    attention,
    conventions,
    geometry,
    linear_algebra,
    losses,
    normalisation,
    recurrent,
    sampling,
    selection,
)

OPERATIONS: tuple[Operation, ...] = (
    *normalisation.OPERATIONS,
    *activations.OPERATIONS,
    *losses.OPERATIONS,
    *attention.OPERATIONS,
    *recurrent.OPERATIONS,
    *sampling.OPERATIONS,
    *selection.OPERATIONS,
    *linear_algebra.OPERATIONS,
    *geometry.OPERATIONS,
    *conventions.OPERATIONS,
)
