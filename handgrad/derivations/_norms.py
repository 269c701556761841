"""What the normalisations share: x̂ = (x - μ) / sqrt(σ² + ε) over some axes, and its gradient.

μ and σ² are the mean and the (biased) variance of x over these axes. The chain rule stands in
``layer_norm``; batch, instance and group norm differ only in the axes.
"""

from handgrad._arrays import cast, namespace, size
from handgrad._errors import IndexInputError, require
from handgrad._primitives import pad, wide_sum


def average(x, axes, across=None, *, wide=False):
    """The mean over ``axes``, which are kept with length 1; 0 over no elements.

    ``wide``: float32 is summed in float64, and the mean is float64.
    ``across``: a function that adds an array up over several processes, which hold parts of one x. The mean
    is that of all parts.
    """
    xp, n = namespace(x), count(x, axes)
    total = wide_sum(x, axes) if wide else xp.sum(x, axis=axes, keepdims=True)
    if across is None:
        return total / max(n, 1)
    shape, number = total.shape, xp.full((1,), float(n), dtype=total.dtype, device=total.device)
    both = across(xp.concat([xp.reshape(total, (-1,)), number]))  # sum and number in one message
    return xp.reshape(both[:-1] / both[-1:], shape)


def standardize(x, axes, eps, across=None, *, wide=False):
    """x̂, 1/sqrt(σ² + ε), μ and σ²; the last three keep their axes, with length 1.

    Two passes: the mean, then the squares of the distances from it. ``wide``: both sums are taken in float64,
    and μ, σ² and 1/sqrt(σ² + ε) are right in their last digits. ``across``: as in :func:`average`.
    """
    exact = average(x, axes, across, wide=wide)
    mean = cast(exact, x.dtype)
    distance = x - mean
    # Where the mean is large, its rounding error stands in every distance: it is their mean, and is removed.
    known = exact.dtype != x.dtype
    rest = cast(exact - cast(mean, exact.dtype), x.dtype) if known else average(distance, axes, across)
    distance = distance - rest
    var = average(distance * distance, axes, across, wide=wide)
    rstd = cast(1 / namespace(x).sqrt(var + eps), x.dtype)
    return distance * rstd, rstd, mean + rest, cast(var, x.dtype)


def standardize_vjp(dxhat, xhat, rstd, axes, across=None):
    """dx = (dx̂ - mean(dx̂) - x̂ mean(dx̂ x̂)) / sqrt(σ² + ε): three ways from x to x̂, three terms.

    mean(x̂) is 0, so dx̂ may lose its mean first: the second mean then cancels less.
    """
    dxhat = dxhat - average(dxhat, axes, across)
    return rstd * (dxhat - xhat * average(dxhat * xhat, axes, across))


def affine(xhat, w, b):
    """w x̂ + b, where each may be absent."""
    y = xhat if w is None else xhat * w
    return y if b is None else y + b


def count(x, axes):
    """How many elements of x the ``axes`` hold together."""
    return size(tuple(x.shape[axis] for axis in axes))


# --- one weight and bias for each channel: x (N, C, ...) ----------------------------------------


def along_channels(p, x):
    """(C,) -> (C, 1, ...), which broadcasts to x (N, C, ...); None stays None."""
    return p if p is None else namespace(p).reshape(p, (-1, *(1,) * (x.ndim - 2)))


def all_but_channels(x):
    """All axes but that of the channels."""
    return (0, *range(2, x.ndim))


def affine_vjp(dy, xhat, w, has_bias):
    """Of y = w x̂ + b, one w and b a channel: dx̂ = w dy, dw = Σ dy x̂ (summed in float64) and db = Σ dy."""
    xp, axes = namespace(dy), all_but_channels(dy)
    dw = None if w is None else cast(xp.reshape(wide_sum(dy * xhat, axes), (dy.shape[1],)), dy.dtype)
    return dy if w is None else dy * w, dw, xp.sum(dy, axis=axes) if has_bias else None


def channel_norm(x, running_mean, running_var, w, b, axes, *, of_input, momentum, eps, across=None):
    """Forward of batch and instance norm: ((y, running mean, running variance), residuals).

    μ and σ² are those of x over ``axes``, or with ``of_input`` False the running ones.
    """
    w, b = along_channels(w, x), along_channels(b, x)
    if not of_input:
        mean = along_channels(running_mean, x)
        rstd = 1 / namespace(x).sqrt(along_channels(running_var, x) + eps)
        y = affine(x - mean, rstd if w is None else rstd * w, b)  # x̂ itself is not needed
        return (y, running_mean, running_var), (x, mean, rstd, w, b is not None)
    xhat, rstd, mean, var = standardize(x, axes, eps, across, wide=True)
    m = count(x, axes)
    if across is not None:
        m = across(namespace(x).full_like(mean[:1, ...], float(m)))  # one number a channel, all the same
    new = _update(running_mean, running_var, mean, var, m, momentum)
    return (affine(xhat, w, b), *new), (xhat, None, rstd, w, b is not None)


def channel_norm_vjp(dy, residuals, axes, of_input, across=None):
    """Backward of batch and instance norm: gradients of x, the running statistics, w and b."""
    xhat, mean, rstd, w, has_bias = residuals
    if of_input and across is None:
        return _through_own_statistics(dy, xhat, rstd, w, has_bias, axes)
    if not of_input:
        xhat = None if w is None else (xhat - mean) * rstd  # x was kept
    dxhat, dw, db = affine_vjp(dy, xhat, w, has_bias)
    dx = standardize_vjp(dxhat, xhat, rstd, axes, across) if of_input else dxhat * rstd
    return dx, None, None, dw, db


def _through_own_statistics(dy, xhat, rstd, w, has_bias, axes):
    """:func:`affine_vjp` and :func:`standardize_vjp` in one, in half of the passes over memory.

    w is the same all over ``axes``, so it can be left out until the end, and the mean of dw serves dx:
        dx = w (dy - mean(dy) - x̂ mean(dy x̂)) / sqrt(σ² + ε),   dw = Σ dy x̂.
    """
    xp, n = namespace(dy), max(count(dy, axes), 1)
    total = xp.sum(dy, axis=axes, keepdims=True)
    product = dy * xhat
    along = xp.sum(product, axis=axes, keepdims=True) if w is None else wide_sum(product, axes)
    dx = (rstd if w is None else rstd * w) * (dy - total / n - xhat * cast(along / n, dy.dtype))

    def of_channels(a):
        return cast(xp.reshape(xp.sum(a, axis=0), (dy.shape[1],)), dy.dtype)

    dw, db = None if w is None else of_channels(along), of_channels(total) if has_bias else None
    return dx, None, None, dw, db


def _update(running_mean, running_var, mean, var, m, momentum):
    """The new running statistics, (C,) each; those of the input alone where there were none.

    m: how many numbers each of mean and var is of. Several of one channel are averaged.
    """
    xp, c = namespace(mean), mean.shape[1]
    n = mean.shape[0]
    mean, var = (xp.reshape(s, (n, c)) for s in (mean, var * (m / (m - 1))))  # m is not 1: forward raises
    mean, var = (s[0, :] if n == 1 else average(s, (0,))[0, :] for s in (mean, var))
    if running_mean is None:
        return mean, var
    empty = isinstance(m, int) and not m * n
    share = 0 if empty else momentum  # an empty batch has nothing to say
    return tuple(
        (1 - share) * running + share * statistic
        for running, statistic in ((running_mean, mean), (running_var, var))
    )


def require_channel_norm(layer, x, running_mean, running_var, parameters, of_input):
    """Input, statistics and parameters of a batch or instance norm fit each other."""
    require(x.ndim > 1, f"{layer} needs an input (N, C, ...)", tuple(x.shape), "add the missing axes",
            IndexInputError)  # fmt: skip
    require_channels(layer, x, running_mean, running_var, *parameters)
    require(
        (running_mean is None) == (running_var is None),
        "running_mean and running_var must either both be None or neither be None",
        "one of them",
        "give both",
    )
    require(
        of_input or running_mean is not None,
        f"{layer} needs running statistics in evaluation mode",
        "none",
        "give them, or let it take those of the input",
    )


def require_channels(layer, x, *parameters):
    """Each parameter has one number for each channel of x (N, C, ...)."""
    for p in parameters:
        require(
            p is None or tuple(p.shape) == (x.shape[1],),
            f"{layer} needs statistics and parameters of shape ({x.shape[1]},), one for each channel",
            None if p is None else tuple(p.shape),
            "reshape them",
        )


# --- the last axes ------------------------------------------------------------------------------


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


# --- local response -----------------------------------------------------------------------------


def window_sum(x, before, after):
    """Σ_j x[:, j] over j = c - before ... c + after, for each channel c; x is 0 outside."""
    c = x.shape[1]
    before, after = (min(reach, max(c - 1, 0)) for reach in (before, after))
    padded = pad(x, 1, before, after)
    total = padded[:, :c, ...]
    for start in range(1, before + after + 1):
        total = total + padded[:, start : start + c, ...]
    return total


def respond(x, before, after, share, beta, k):
    """Forward of local response norm: y = x/s^β, s = k + share Σ_j x_j² over the window of each channel."""
    s = k + share * window_sum(x * x, before, after)
    return x / s**beta, (x, s)


def respond_vjp(dy, residuals, before, after, share, beta):
    """dx = dy/s^β - 2 share β x Σ_c dy_c x_c/s_c^(β + 1) over all c whose window holds the channel."""
    x, s = residuals
    scaled = dy / s**beta
    return scaled - 2 * share * beta * x * window_sum(scaled * x / s, after, before)
