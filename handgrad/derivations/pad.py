"""y_j = x_s(j) along each padded axis: every entry of y is a copy of one of x, or a constant

Shapes.  x (..., n, ...), y (..., n + before + after, ...); ``pad`` holds the pairs (before, after)
of the last axis, then of the one before it, and so on, as PyTorch has them; a negative number cuts off.

Forward.  Counted from the first entry of x, j runs from -before to n + after - 1:
    constant    s(j) = j; outside 0 ... n-1, y is ``value`` (0 where it is None)
    replicate   s(j) = the nearest of 0 ... n-1
    reflect     s(j) = (n-1) - |(n-1) - |j||, mirrored at the first and at the last entry
    circular    s(j) = j mod n (where entries are cut off: those left repeat)

Chain rule.  dy is ∂L/∂y. x_i was copied to every j with s(j) = i, and each copy adds its gradient
([s(j) = i] is 1 where that holds, else 0; a constant takes no gradient):
    dx_i = Σ_j [s(j) = i] dy_j

Result.  dx is 0, but each dy_j that is a copy is added at s(j). Axes are padded one after the other, so
their gradients are folded back in the reverse order. For constants that is padding again: dy with -before
and -after, by 0.

Kinks: none.  Errors: an unknown mode, more axes than x has, and where s(j) would leave x: reflect by
n or more, circular by more than n.
Source: PyTorch documentation, torch.nn.functional.pad.
"""

from handgrad._arrays import namespace
from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad._errors import require
from handgrad._primitives import add_rows, copy, pad_axes, take_rows
from handgrad._primitives import pad as fill

MODES = ("constant", "reflect", "replicate", "circular")


def forward(x, *, pad, mode="constant", value=None):
    _check(x, pad, mode, value)
    if mode == "constant":
        y = _resized(x, pad, 0 if value is None else value)
    else:
        y = x
        for axis, before, after in _axes(x, pad):
            y = _with_copies(y, axis, before, after, mode)
    return (copy(y) if y is x else y), (tuple(x.shape),)


def backward(dy, residuals, *, pad, mode="constant", **_):
    (shape,) = residuals
    if mode == "constant":
        return _resized(dy, tuple(-n for n in pad), 0)  # what was put on is cut off, and the reverse
    dx = dy
    for axis, before, after in reversed(_axes(dy, pad)):
        dx = _fold_back(dx, axis, before, after, mode, shape[axis])
    return dx


def _with_copies(x, axis, before, after, mode):
    """x padded along one axis: looked up are only the entries put on, j < 0 and j >= n."""
    if not before and not after:
        return x
    n = x.shape[axis]
    first, last = max(-before, 0), n + min(after, 0)
    parts = [
        take_rows(x, _source(x, range(-before, 0), first, last, n, mode), axis) if before > 0 else None,
        x if (first, last) == (0, n) else _part(x, axis, first, last),
        take_rows(x, _source(x, range(n, n + after), first, last, n, mode), axis) if after > 0 else None,
    ]
    parts = [part for part in parts if part is not None]
    return namespace(x).concat(parts, axis=axis) if len(parts) > 1 else parts[0]


def _fold_back(dy, axis, before, after, mode, n):
    """The transpose of :func:`_with_copies`: n entries, to which the gradients of their copies are added."""
    if not before and not after:
        return dy
    first, last = max(-before, 0), n + min(after, 0)
    dx = fill(_part(dy, axis, first + before, last + before), axis, first, n - last)
    if before > 0:
        source = _source(dy, range(-before, 0), first, last, n, mode)
        dx = add_rows(dx, _part(dy, axis, 0, before), source, axis)
    if after > 0:
        source = _source(dy, range(n, n + after), first, last, n, mode)
        dx = add_rows(dx, _part(dy, axis, last + before, last + before + after), source, axis)
    return dx


def _part(x, axis, start, stop):
    return x[(*(slice(None),) * axis, slice(start, stop), ...)]


def _resized(x, pad, value):
    """x with entries cut off where ``pad`` is negative, and ``value`` put on where it is positive."""
    pairs = [(before, after) for _, before, after in reversed(_axes(x, pad))]
    if any(n < 0 for n in pad):
        sizes = zip(x.shape[x.ndim - len(pairs) :], pairs, strict=True)
        x = x[(..., *(slice(max(-before, 0), n - max(-after, 0)) for n, (before, after) in sizes))]
    return pad_axes(x, tuple((max(before, 0), max(after, 0)) for before, after in pairs), value)


def _source(x, places, first, last, n, mode):
    """s(j) of the ``places`` j outside an axis of n entries, of which those from first to last are kept."""
    xp = namespace(x)
    j = xp.arange(places.start, places.stop, device=x.device)
    if mode == "reflect":
        return (n - 1) - xp.abs((n - 1) - xp.abs(j))
    if mode == "circular":
        return first + (j - first) % max(last - first, 1)
    return xp.clip(j, 0, n - 1)


def _axes(x, pad):
    """(axis, before, after) of each axis, the last one first."""
    return [(x.ndim - 1 - i, pad[2 * i], pad[2 * i + 1]) for i in range(len(pad) // 2)]


def _check(x, pad, mode, value):
    require(mode in MODES, f"mode must be one of {', '.join(MODES)}", repr(mode), "choose one of these")
    require(
        len(pad) % 2 == 0 and len(pad) <= 2 * x.ndim,
        "pad must hold a pair (before, after) for some of the last axes of x",
        f"{len(pad)} numbers for x {tuple(x.shape)}",
        "give two numbers an axis",
    )
    require(mode == "constant" or not value, "value is for mode constant", value, "leave it out")
    for axis, before, after in _axes(x, pad):
        n = x.shape[axis]
        left = n + min(before, 0) + min(after, 0)
        fits = {"constant": left >= 0, "replicate": left >= 0 and n > 0 and n + before + after > 0}
        fits["reflect"] = left >= 0 and max(before, after) < n and n + before + after > 0
        fits["circular"] = left >= 0 and max(before, after) <= left
        require(fits[mode], f"{mode} padding must fit the axis", f"{(before, after)} for {n}", "pad less")


def fit(rng, shape):
    """The last one or two axes, by as much as it can.

    PyTorch pads d axes of d + 1 or d + 2 in all modes, and of any other number by constants alone.
    """
    d = min(int(rng.integers(1, 3)), len(shape) - 1)
    if d < 1 or 0 in shape:
        return None
    mode = str(rng.choice(MODES)) if len(shape) <= d + 2 else "constant"
    pad = [
        int(rng.integers(0, n if mode == "reflect" else n + 1))
        for n in shape[: -d - 1 : -1]
        for _ in ("before", "after")
    ]
    return case("fit", normal(*shape), pad=tuple(pad), mode=mode)


register(
    forward,
    backward,
    torch="torch.nn.functional.pad",
    widen=False,
    fit=fit,
    cases=[
        case("zeros", normal(2, 3, 4), pad=(1, 2)),
        case("a constant, on two axes, one of them cut", normal(2, 3, 4), pad=(1, -1, 2, 0), value=1.5),
        case("reflect", normal(2, 3, 4), pad=(3, 2), mode="reflect"),
        case("replicate", normal(2, 2, 3, 4), pad=(2, 5, 1, 0), mode="replicate"),
        case("circular", normal(2, 2, 3, 4), pad=(4, 1, 0, 3), mode="circular"),
        case("circular, one end cut", normal(2, 5), pad=(-1, 2), mode="circular"),
        case("cut to nothing, then filled", normal(2, 3), pad=(2, -3), value=2.0),
        case("nothing, filled", normal(2, 0, 3), pad=(1, 0, 2, 1), value=-1.0),
    ],
)
