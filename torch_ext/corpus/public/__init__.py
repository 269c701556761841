"""Published autograd Functions, written anew from their formulas, each right and with mistakes."""

from torch_ext.corpus.public import (
    activations,
    estimators,
    geometry,
    linear,
    losses,
    norms,
    quantisers,
    recurrent,
    sampling,
    sparse,
)
from torch_ext.corpus.public._entry import PublicFunction as PublicFunction
from torch_ext.corpus.public._entry import Wrong as Wrong

FUNCTIONS: tuple[PublicFunction, ...] = (
    *activations.FUNCTIONS,
    *estimators.FUNCTIONS,
    *quantisers.FUNCTIONS,
    *losses.FUNCTIONS,
    *sparse.FUNCTIONS,
    *norms.FUNCTIONS,
    *recurrent.FUNCTIONS,
    *geometry.FUNCTIONS,
    *sampling.FUNCTIONS,
    *linear.FUNCTIONS,
)
