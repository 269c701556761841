"""y = A x along each spatial axis, A the interpolation matrix of its mode

Shapes.  x (N, C, *spatial), y (N, C, *out); size is out, or out = ⌊n f⌋ for a scale_factor f of each axis of
length n.  Below one axis: x_j with j < n, y_i with i < m; r is its step, from one y to the next counted in x.

Forward.  y_i = Σ_j A_ij x_j, axis by axis, with few j for each i: those near the place p of y_i in x.
    r = n/m, or 1/f where a scale_factor was given; align_corners: r = (n - 1)/(m - 1)
    p = (i + ½) r - ½, which maps the edges of the first and last entry to each other; align_corners: p = i r
    nearest             the entry ⌊i r⌋
    nearest-exact       the entry ⌊(i + ½) r⌋, the nearest to p indeed
    linear, bilinear, trilinear    ⌊p⌋ and the next, weights 1 - t and t with t = p - ⌊p⌋
    bicubic             four entries from ⌊p⌋ - 1, with the weights of Keys' cubic (a = -0.75)
Outside of x, p (linear) or the entry (cubic) is the nearest inside.
antialias: the kernel, triangle, cubic (a = -0.5) or Lanczos of three, is stretched by r where r > 1; all
entries under it count, and the weights inside x are scaled to the sum 1.

Chain rule.  dy is ∂L/∂y.  A does not depend on x, so
    dx_j = Σ_i dy_i A_ij        dx = Aᵀ dy
With several axes y = A₁ A₂ ... x, matrices along different axes, which commute: each is transposed.

Result.  dx is 0, but each dy_i, times its weights, is added to the entries that y_i was made of.

Kinks: none: y is linear in x.  Ties in rounding: where i r is an integer but for rounding, nearest is what
PyTorch's rounding makes of it.  Errors: an unknown mode, a size that is not positive.
Source: Keys 1981, Cubic convolution interpolation for digital image processing; PyTorch documentation,
torch.nn.functional.interpolate.
"""

from handgrad._arrays import cast, namespace
from handgrad._arrays import size as count
from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad._errors import require
from handgrad._primitives_pools import resample, scatter_axis
from handgrad.derivations._resampling import CUBIC, LANCZOS, LINEAR, antialiased, around, nearest
from handgrad.derivations._spatial import ints

KERNELS = {
    "linear": LINEAR,
    "bilinear": LINEAR,
    "trilinear": LINEAR,
    "bicubic": CUBIC,
    "lanczos": LANCZOS,
    "nearest": "",
    "nearest-exact": "",
}


def forward(x, *, size=None, scale_factor=None, mode="nearest", align_corners=False, antialias=False):
    require(
        mode in KERNELS and (mode != "lanczos" or antialias),
        "mode must be one of " + ", ".join(KERNELS),
        repr(mode),
        "choose one of these (lanczos with antialias)",
    )
    spatial = tuple(x.shape[2:])
    factors, out = _target(spatial, size, scale_factor)

    def tables():
        return _tables(x, spatial, out, factors, mode, align_corners, antialias)

    y = resample(x, tables, out, factors, mode, align_corners, antialias)
    return y, (spatial, out, factors)


def backward(dy, residuals, *, mode="nearest", align_corners=False, antialias=False, **_):
    spatial, out, factors = residuals
    dx = dy
    tables = list(enumerate(_tables(dy, spatial, out, factors, mode, align_corners, antialias), 2))
    # what grows, grows last where it is fast: in whole rows
    for axis, (index, weight) in tables if count(spatial) <= count(out) else reversed(tables):
        parts = []
        for t in range(index.shape[1]):
            part = dx if weight is None else dx * _shaped(weight[:, t], axis, dx)
            parts.append(scatter_axis(part, index[:, t], spatial[axis - 2], axis))
        dx = sum(parts[1:], parts[0])
    return dx


def _tables(x, spatial, out, factors, mode, align_corners, antialias):
    """Index and weights of each axis."""
    kernel = KERNELS[mode]
    sizes = zip(spatial, out, factors, strict=True)
    if not kernel:
        return [nearest(x, *each, exact=mode == "nearest-exact") for each in sizes]
    table = antialiased if antialias else around
    return [table(x, *each, kernel, align_corners=align_corners) for each in sizes]


def _shaped(weights, axis, x):
    return cast(namespace(x).reshape(weights, (-1, *(1,) * (x.ndim - 1 - axis))), x.dtype)


def _target(spatial, size, scale_factor):
    """Scale factors (None: the step follows from the sizes) and sizes of y."""
    d = len(spatial)
    if size is None:
        factors = scale_factor if isinstance(scale_factor, tuple | list) else (scale_factor,) * d
        size = [int(n * f) for n, f in zip(spatial, factors, strict=True)]
    else:
        factors = (None,) * d
    require(0 not in spatial, "interpolation needs an entry along each axis", f"{spatial}", "give a larger x")
    return tuple(factors), ints(size, d, "size", 1)


def reference(torch, x, *, align_corners=None, **options):
    if "linear" in options.get("mode", "") or options.get("mode") in ("bicubic", "lanczos"):
        options["align_corners"] = align_corners
    return torch.nn.functional.interpolate(x, **options)


def fit(rng, shape):
    """On any batch of 1 to 3 spatial axes."""
    d = len(shape) - 2
    if d not in (1, 2, 3) or 0 in shape:
        return None
    linear = (None, "linear", "bilinear", "trilinear")[d]
    mode = str(rng.choice(["nearest", "nearest-exact", linear, *(["bicubic"] if d == 2 else [])]))
    size = tuple(int(rng.integers(1, 2 * n + 1)) for n in shape[2:])
    align = {} if mode.startswith("nearest") else {"align_corners": bool(rng.integers(2))}
    return case("fit", normal(*shape), size=size, mode=mode, **align)


SMALL = normal(2, 2, 4, 3)

register(
    forward,
    backward,
    torch="torch.nn.functional.interpolate",
    reference=reference,
    fit=fit,
    cases=[
        case("nearest", SMALL, size=(7, 5)),
        case("nearest, by factors", normal(2, 2, 5), scale_factor=(1.7,)),
        case("nearest-exact, in three axes", normal(1, 2, 3, 4, 2), size=(5, 2, 3), mode="nearest-exact"),
        case("linear", normal(2, 2, 5), size=(8,), mode="linear"),
        case("bilinear", SMALL, size=(7, 2), mode="bilinear"),
        case("bilinear, corners", SMALL, size=(7, 1), mode="bilinear", align_corners=True),
        case("bilinear, by factors", SMALL, scale_factor=(2.3, 1.2), mode="bilinear"),
        case("trilinear", normal(1, 2, 3, 2, 2), size=(4, 3, 1), mode="trilinear"),
        case("bicubic", SMALL, size=(7, 5), mode="bicubic"),
        case("bicubic, corners", SMALL, size=(3, 5), mode="bicubic", align_corners=True),
        case(
            "bilinear, smaller, antialiased", normal(2, 1, 9, 7), size=(4, 9), mode="bilinear", antialias=True
        ),
        case("bicubic, antialiased", normal(2, 1, 9, 7), size=(4, 3), mode="bicubic", antialias=True),
        case("lanczos", normal(2, 1, 9, 7), size=(4, 8), mode="lanczos", antialias=True),
    ],
)
