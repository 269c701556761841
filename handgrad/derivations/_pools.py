"""What pools share: one derivation for 1, 2 and 3 spatial axes, their options, entries picked out of x."""

from functools import reduce, wraps
from inspect import signature

from handgrad._arrays import namespace, size
from handgrad._cases import case, distinct, normal
from handgrad._errors import require
from handgrad._primitives import scatter
from handgrad.derivations._spatial import ints, random_windows


def over(d, function):
    """``function(d, ...)`` for d spatial axes: what a reader sees of it has no d any more."""

    @wraps(function)
    def of_d(*args, **kwargs):
        return function(d, *args, **kwargs)

    whole = signature(function)
    of_d.__signature__ = whole.replace(parameters=list(whole.parameters.values())[1:])
    return of_d


def pool_options(d, kernel, stride, padding, dilation=1):
    """Kernel, stride (None: the kernel), padding and dilation, each one number an axis."""
    kernel = ints(kernel, d, "kernel_size", 1)
    stride = kernel if stride is None or stride == () else ints(stride, d, "stride", 1)
    padding = ints(padding, d, "padding", 0)
    require(
        all(2 * p <= k for p, k in zip(padding, kernel, strict=True)),
        "padding must be at most half the kernel, or a window could hold nothing but padding",
        f"padding {padding} for kernel {kernel}",
        "pad less",
    )
    return kernel, stride, padding, ints(dilation, d, "dilation", 1)


def target_size(d, output_size, spatial):
    """The size asked for: one number for all axes, or one each; None keeps that of x."""
    each = tuple(output_size) if isinstance(output_size, tuple | list) else (output_size,)
    each = each * d if len(each) == 1 else each
    require(
        len(each) == d,
        f"output_size must be one integer, or {d} of them",
        repr(output_size),
        f"give {d} integers",
    )
    return ints([n if m is None else m for m, n in zip(each, spatial, strict=True)], d, "output_size", 0)


def window_sizes(like, spatial, out, kernel, stride, padding, *, padded=True):
    """How many entries each window holds, those of the padding included or not: a number, or an array.

    What hangs over the padding (ceil_mode) never counts.
    """
    sizes = []
    for n, m, k, s, p in zip(spatial, out, kernel, stride, padding, strict=True):
        low, high = (-p, n + p) if padded else (0, n)
        sizes.append([max(1, min(s * i - p + k, high) - max(s * i - p, low)) for i in range(m)])
    if all(len(set(axis)) == 1 for axis in sizes):
        return size(tuple(axis[0] for axis in sizes))
    xp = namespace(like)
    columns = [xp.asarray(axis, dtype=like.dtype, device=like.device) for axis in sizes]
    return reduce(lambda total, column: total[..., None] * column, columns)


# --- entries picked out of x: a[i] is a place, counted over the spatial axes as one ---------


def flat(x, d):
    """(..., *spatial) -> (..., their product)."""
    return namespace(x).reshape(x, (*x.shape[: x.ndim - d], size(x.shape[x.ndim - d :])))


def pick(x, a, d):
    """y[..., i] = x[..., a[..., i]]."""
    xp = namespace(x)
    return xp.reshape(xp.take_along_axis(flat(x, d), flat(a, d), axis=-1), a.shape)


def put_back(dy, a, shape, d):
    """The transpose of :func:`pick`: zeros of ``shape``, to which each dy[i] is added at a[i]."""
    dx = scatter(flat(dy, d), flat(a, d), size(shape[len(shape) - d :]))
    return namespace(dx).reshape(dx, shape)


def with_indices(name):
    """How PyTorch's pool of that name is called: asked for its indices."""
    return lambda torch, x, **options: getattr(torch.nn.functional, name)(x, **options, return_indices=True)


# --- random architectures -------------------------------------------------------------


def fit_windows(d, draw=distinct, *, dilation=True):
    """A ``fit`` on any value of d spatial axes, a batch or not, with options that fit its size."""

    def fit(rng, shape):
        if len(shape) not in (d + 1, d + 2) or 0 in shape[len(shape) - d - 1 :]:
            return None
        kernel, stride, padding, dilated = random_windows(rng, shape[-d:], pool=True)
        return case(
            "fit",
            draw(*shape),
            kernel_size=kernel,
            stride=None if rng.integers(2) else stride,
            padding=padding,
            ceil_mode=bool(rng.integers(2)),
            **({"dilation": dilated} if dilation else {}),
        )

    return fit


def fit_size(d, draw=normal):
    """A ``fit`` of an adaptive pool: any size up to a little more than that of x."""

    def fit(rng, shape):
        if len(shape) not in (d + 1, d + 2) or 0 in shape[len(shape) - d - 1 :]:
            return None
        return case("fit", draw(*shape), output_size=tuple(int(rng.integers(1, n + 2)) for n in shape[-d:]))

    return fit
