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


def standardize_vjp(dxhat, xhat, rstd, axes):
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


def require_batch_norm(x, running_mean, running_var, w, b, training, eps):
    """Input, statistics and parameters of a batch norm fit each other, and there is enough to normalise."""
    require(x.ndim > 1, "batch_norm needs an input (N, C, ...)", tuple(x.shape), "add the missing axes")
    for p in (running_mean, running_var, w, b):
        require(
            p is None or tuple(p.shape) == (x.shape[1],),
            f"batch_norm needs statistics and parameters of shape ({x.shape[1]},), one for each channel",
            None if p is None else tuple(p.shape),
            "reshape them",
        )
    require(
        (running_mean is None) == (running_var is None),
        "running_mean and running_var must either both be None or neither be None",
        "one of them",
        "give both",
    )
    require(
        training or running_mean is not None,
        "batch_norm needs running statistics in evaluation mode",
        "none",
        "give them, or set training=True",
    )
    require(
        not training or size(tuple(x.shape)) != x.shape[1],
        "Expected more than 1 value per channel when training",
        f"input size {tuple(x.shape)}",
        "give a larger batch",
    )
    require(
        eps > 0 or (eps == 0 and not training),
        f"batch_norm eps must be {'positive during training' if training else 'non-negative'}",
        eps,
        "give a small positive number",
    )


def draw_normalized_shape(rng, shape):
    """For ``fit``: some last axes with at least 3 elements, or None."""
    fitting = [shape[i:] for i in range(len(shape)) if size(shape[i:]) > 2]
    return fitting[int(rng.integers(len(fitting)))] if fitting else None
