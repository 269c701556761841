"""y[..., i] = the mean of x[..., j] over  ⌊i n/m⌋ ≤ j < ⌈(i + 1) n/m⌉

Shapes.  x (N, C, *spatial) or (C, *spatial), with 1, 2 or 3 spatial axes of lengths n; y the same with
output_size (m, one number an axis) in place of n; None keeps an axis as it is.
i is a place in y and j one in x, each one number for each axis.

Forward.  Along each axis, m windows of about n/m entries cover x: they overlap where m does not divide n.
The mean over a box is taken axis by axis: y = A x, with A[i, j] = 1/(size of window i) inside it, else 0.
Where m divides n this is average pooling with kernel and stride n/m.

Chain rule.  dy is ∂L/∂y.  From y_i = Σ_j A_ij x_j,  dx_j = Σ_i dy_i A_ij: the transpose of A, axis by axis.

Result.  dx is 0, but dy[i]/(size of box i) is added to every entry of box i.

Kinks: none.  Errors: an output_size that does not fit the axes, or is negative.
Source: PyTorch documentation, torch.nn.functional.adaptive_avg_pool2d.
"""

from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad._primitives_pools import adaptive_means, adaptive_spread
from handgrad.derivations._pools import fit_size, over, target_size
from handgrad.derivations._spatial import require_spatial


def forward(axes, x, *, output_size):
    require_spatial(x, axes, f"adaptive_avg_pool{axes}d")
    spatial = tuple(x.shape[-axes:])
    return adaptive_means(x, target_size(axes, output_size, spatial)), (spatial,)


def backward(axes, dy, residuals, **_):  # noqa: ARG001 (the number of axes is that of spatial)
    (spatial,) = residuals
    return adaptive_spread(dy, spatial)


def cases(d):
    """The same for any number of axes d."""
    shape = (2, 2, 7, 6, 5)[: d + 2]
    yield case("windows of one size", normal(*(2, 3, 4, 6, 4)[: d + 2]), output_size=2)
    yield case("windows that overlap", normal(*shape), output_size=(3, 4, 2)[:d])
    yield case("unbatched, more windows than entries", normal(*shape[1:]), output_size=(17, 6, 7)[:d])
    yield case("one window", normal(*shape), output_size=1)
    if d > 1:
        yield case("one axis as it is", normal(*shape), output_size=(None, 4, 2)[:d])


for n in (1, 2, 3):
    register(
        over(n, forward),
        over(n, backward),
        name=f"adaptive_avg_pool{n}d",
        torch=f"torch.nn.functional.adaptive_avg_pool{n}d",
        fit=fit_size(n),
        autocast="cpu" if n == 3 else "",
        cases=cases(n),
    )
