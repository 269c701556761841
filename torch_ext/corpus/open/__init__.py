"""The open part of the corpus: read while the checker is designed; another part is not."""

from torch_ext.corpus._entry import Operation
from torch_ext.corpus.open import (
    activations,
    arithmetic,
    broadcasting,
    classification,
    clipping,
    gates,
    indexing,
    linear,
    losses,
    normalisation,
    reductions,
    shapes,
    styles,
    vectors,
    windows,
)

OPERATIONS: tuple[Operation, ...] = (
    *activations.OPERATIONS,
    *clipping.OPERATIONS,
    *arithmetic.OPERATIONS,
    *broadcasting.OPERATIONS,
    *linear.OPERATIONS,
    *windows.OPERATIONS,
    *reductions.OPERATIONS,
    *normalisation.OPERATIONS,
    *vectors.OPERATIONS,
    *losses.OPERATIONS,
    *classification.OPERATIONS,
    *shapes.OPERATIONS,
    *indexing.OPERATIONS,
    *styles.OPERATIONS,
    *gates.OPERATIONS,
)
