"""What the normalisations share: x̂ = (x - μ) / sqrt(σ² + ε) over some axes, and its gradient.

μ and σ² are the mean and the (biased) variance of x over these axes. The chain rule stands in
``layer_norm``; batch norm differs only in the axes.
"""

from handgrad._arrays import namespace, size
from handgrad._errors import require


def average(x, axes):
    """The mean over ``axes``, which are kept with length 1; 0 over no elements."""
    n = size(tuple(x.shape[axis] for axis in axes))
    return namespace(x).sum(x, axis=axes, keepdims=True) / max(n, 1)


def standardize(x, axes, eps):
    """x̂, 1/sqrt(σ² + ε), μ and σ²; the last three keep their axes, with length 1.

    Two passes: the mean, then the squares of the distances from it. Where the mean is large its
    rounding error stands in every distance: it is the mean of the distances, and is removed.
    """
    mean = average(x, axes)
    distance = x - mean
    rest = average(distance, axes)
    distance = distance - rest
    var = average(distance * distance, axes)
    rstd = 1 / namespace(x).sqrt(var + eps)
    return distance * rstd, rstd, mean + rest, var


def standardize_backward(dxhat, xhat, rstd, axes):
    """dx = (dx̂ - mean(dx̂) - x̂ mean(dx̂ x̂)) / sqrt(σ² + ε): three ways from x to x̂, three terms."""
    return rstd * (dxhat - average(dxhat, axes) - xhat * average(dxhat * xhat, axes))


def affine(xhat, w, b):
    """w x̂ + b, where each may be absent."""
    y = xhat if w is None else xhat * w
    return y if b is None else y + b


def last_axes(name, x, normalized_shape, *parameters):
    """The axes of x that ``normalized_shape`` names (an int is one axis). Raises where they do not fit."""
    shape = (normalized_shape,) if isinstance(normalized_shape, int) else tuple(normalized_shape)
    require(
        0 < len(shape) <= x.ndim and tuple(x.shape[x.ndim - len(shape) :]) == shape,
        f"{name} needs a normalized_shape that ends the shape of the input",
        f"normalized_shape {shape} and input {tuple(x.shape)}",
        "name the last axes of the input",
    )
    for parameter in parameters:
        require(
            parameter is None or tuple(parameter.shape) == shape,
            f"{name} needs a weight and bias of shape normalized_shape",
            f"{shape} and {None if parameter is None else tuple(parameter.shape)}",
            "reshape the parameter",
        )
    return tuple(range(x.ndim - len(shape), x.ndim))


def draw_normalized_shape(rng, shape):
    """For ``fit``: some last axes with at least 3 elements, or None."""
    fitting = [shape[i:] for i in range(len(shape)) if size(shape[i:]) > 2]
    return fitting[int(rng.integers(len(fitting)))] if fitting else None
