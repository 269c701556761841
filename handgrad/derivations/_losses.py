"""What the losses share: the reduction over elements, weights of elements, targets that are classes.

Reduction.  L = Σ_n l_n / W, where W is 1 for "sum" and the number of elements for "mean";
each element then receives dl_n = dL / W. Where W is 0 the mean is NaN, as in PyTorch.

Weights.  With L = Σ_n w_n l_n / W and W = Σ_n w_n, the quotient rule gives
    ∂L/∂l_n = w_n / W,    ∂L/∂w_n = l_n / W - Σ_m w_m l_m / W² = (l_n - L) / W.
For "sum" and "none" there is no W, and ∂L/∂w_n = l_n.
"""

from math import nan

import numpy as np

from handgrad._arrays import cast, library, namespace, size, unbroadcast
from handgrad._errors import IndexInputError, InputError, require
from handgrad._primitives import one_hot
from handgrad._primitives_places import add_along

REDUCTIONS = ("none", "mean", "sum")
TINY = float(np.float32(1e-12))  # PyTorch's constant is a float32, whatever the dtype of the input

# --- reduction ------------------------------------------------------------------------


def reduce(loss, reduction, total=None):
    """All elements as they are ("none"), their sum, or their sum divided by ``total`` ("mean").

    ``total`` is the number of elements unless given.
    """
    require(
        reduction in REDUCTIONS,
        f"reduction must be one of {', '.join(REDUCTIONS)}",
        repr(reduction),
        "choose one of these",
    )
    if reduction == "none":
        return loss
    loss_sum = namespace(loss).sum(loss)
    if reduction == "sum":
        return loss_sum
    return loss_sum / nonzero(size(loss.shape) if total is None else total)


def spread(dy, shape, reduction, total=None):
    """The gradient of each element: every one went into the sum once, divided by ``total`` for the mean."""
    dy = namespace(dy).broadcast_to(dy, shape)
    return dy / nonzero(size(shape) if total is None else total) if reduction == "mean" else dy


def nonzero(total):
    """``total``, with NaN for 0: a mean over nothing is NaN, without a warning from NumPy."""
    if isinstance(total, int):
        return total or nan
    return namespace(total).where(total == 0, nan, total)


# --- weights of elements --------------------------------------------------------------


def reduce_weighted(loss, w, shape, reduction):
    """``reduce`` with a weight for each element of the input, which has that ``shape``; w may be None."""
    if w is None:
        return reduce(loss, reduction)
    require_weight_of_input(w, shape)
    return reduce(loss * w, reduction, namespace(w).sum(w))


def spread_weighted(dy, loss, w, reduction):
    """The gradients of each element's loss and of its weight."""
    if w is None:
        return spread(dy, loss.shape, reduction), None
    xp = namespace(loss)
    total = xp.sum(w)
    share = spread(dy, loss.shape, reduction, total)
    dw = unbroadcast(loss * share, w.shape)
    if reduction == "mean":
        dw = dw - xp.sum(w * dw) / nonzero(total)  # Σ w dw so far is L dL
    return w * share, dw


# --- hinges -----------------------------------------------------------------------------


def hinge(m):
    """max(m, 0). At m = 0 its slope is 1, PyTorch's convention for clamp_min, and ours."""
    return namespace(m).where(m < 0, 0, m)


def through_hinge(dl, m):
    """What reaches m of the gradient of ``hinge(m)``."""
    return namespace(m).where(m < 0, 0, dl)


# --- conditions on values -------------------------------------------------------------


def require_values(condition, rule, received, do, error=InputError):
    """:func:`require` that a condition holds everywhere, where its values are at hand.

    A tensor says so itself: under a compiler or a transform nobody knows its values yet.
    """
    xp = namespace(condition)
    holds = xp.holds(condition) if library(xp) == "torch" else bool(xp.all(condition))
    if not holds:
        require(False, rule, received(), do, error)


def require_weight_of_input(w, shape):
    """An optional weight of each element has the shape of the input."""
    require(
        w is None or tuple(w.shape) == tuple(shape),
        "weight must have the shape of the input",
        f"weight {None if w is None else tuple(w.shape)} and input {tuple(shape)}",
        "expand the weight",
    )


def require_broadcast(w, shape, name):
    """An optional weight must broadcast to the shape of the input."""
    missing = () if w is None else tuple(w.shape)
    pairs = zip(missing[::-1], tuple(shape)[::-1], strict=False)
    require(
        len(missing) <= len(shape) and all(n in (1, m) for n, m in pairs),
        f"{name} must broadcast to the shape of the input",
        f"{name} {missing} and input {tuple(shape)}",
        f"reshape {name}",
    )


# --- targets that are classes ---------------------------------------------------------


def class_axis(x):
    """Where the classes are: (C,) has no batch axis, (N, C, d1, ...) has one."""
    require(
        x.ndim > 0,
        "the input must have an axis of classes: (C,) or (N, C, ...)",
        "a single number",
        "add the axis",
    )
    return 0 if x.ndim == 1 else 1


def along_classes(w, x):
    """Weights of the classes (C,), shaped to multiply x (N, C, d1, ...)."""
    axis = class_axis(x)
    require(
        tuple(w.shape) == (x.shape[axis],),
        "there must be one weight for each class",
        f"weight {tuple(w.shape)} and input {tuple(x.shape)}",
        f"give {x.shape[axis]} weights",
    )
    return namespace(w).reshape(w, (-1, *(1,) * (x.ndim - axis - 1)))


def class_targets(t, x, ignore_index):
    """Integers t (N, d1, ...) -> (index, keep): class 0 stands in where a target is ignored.

    ``ignore_index`` None: none is ignored.
    """
    axis = class_axis(x)
    n, shape = x.shape[axis], tuple(x.shape[:axis]) + tuple(x.shape[axis + 1 :])
    xp = namespace(t)
    require(
        xp.isdtype(t.dtype, "integral"),
        "targets must be class indices (integers), or class probabilities in the shape of the input "
        "where the loss takes these",
        f"{t.dtype} of shape {tuple(t.shape)} for an input of shape {tuple(x.shape)}",
        "convert the target",
    )
    require(
        tuple(t.shape) == shape,
        f"class indices must have shape {shape}: that of the input without the axis of classes",
        f"target {tuple(t.shape)} and input {tuple(x.shape)}",
        "reshape the target",
    )
    keep = t == t if ignore_index is None else t != ignore_index
    index = xp.where(keep, cast(t, xp.int64), 0)
    require_values(
        (index >= 0) & (index < n),
        f"a class index must be from 0 to {n - 1}"
        + ("" if ignore_index is None else f", or ignore_index ({ignore_index})"),
        lambda: f"indices from {int(xp.min(index))} to {int(xp.max(index))}",
        "correct the target",
        IndexInputError,
    )
    return index, keep


def require_class_probabilities(t, x, ignore_index):
    """Floats t stand for probabilities of the classes, of the shape of x; none of them can be ignored."""
    require(
        tuple(t.shape) == tuple(x.shape),
        "class probabilities must have the shape of the input",
        f"target {tuple(t.shape)} and input {tuple(x.shape)}",
        "reshape the target, or convert class indices to integers",
    )
    require(
        ignore_index < 0,
        "ignore_index is for class indices, not for class probabilities",
        ignore_index,
        "leave it out",
    )


def is_class(index, keep, n, axis):
    """(N, d1, ...) -> (N, n, d1, ...): True at the class of each target that is not ignored."""
    xp = namespace(index)
    hot = xp.moveaxis(one_hot(index, n, xp.bool), -1, axis)
    return hot & xp.expand_dims(keep, axis=axis)


def at_class(values, index, n):
    """(N, d1, ...) -> (N, n, d1, ...): the value of each target at its class, 0 elsewhere."""
    xp = namespace(values)
    axis = min(1, index.ndim)
    shape = (*index.shape[:axis], n, *index.shape[axis:])
    zeros = xp.broadcast_to(xp.zeros((), dtype=values.dtype, device=values.device), shape)
    return add_at_class(zeros, values, index)


def add_at_class(x, values, index):
    """x (N, n, d1, ...) with the value (N, d1, ...) of each target added at its class."""
    xp, axis = namespace(x), min(1, index.ndim)
    return add_along(x, xp.expand_dims(values, axis=axis), xp.expand_dims(index, axis=axis), axis)


def draw_ignore_index(rng, classes, shape, reduction):
    """For ``fit``: a class or none (-100), such that some of the targets remain to take the mean over."""
    may_ignore = classes > 2 and (reduction != "mean" or size(shape) > 15)
    return int(rng.integers(classes)) if may_ignore and rng.integers(2) else -100
