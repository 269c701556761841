"""Gathers, scans and sampling."""

from __future__ import annotations

import torch

from torch_ext.corpus._entry import Mistake, Operation, normal, uniform

from ._tools import as_if_contiguous, edit, leaf, up

# ---------------------------------------------------------------- mean of segments


def segment_mean(x, index, n):
    total = torch.zeros((n, *x.shape[1:]), dtype=up(x).dtype).index_add(0, index, up(x))
    return (total / torch.bincount(index, minlength=n).clamp_min(1)[:, None]).to(x.dtype)


def segment_forward(x, index, n):
    return segment_mean(x.detach(), index, n), (
        index,
        torch.bincount(index, minlength=n).clamp_min(1),
        x.shape,
    )


def segment_backward(
    g, res, *, divide=True, sorted_=False, last=False, raw=False, gather=True, bound=None, eps=0.0
):
    index, count, shape = res
    h = up(as_if_contiguous(g) if raw else g)
    per = h / (count + eps)[:, None] if divide else h
    if not gather:
        return per.to(g.dtype), None, None
    if sorted_:
        index = index.sort().values
    dx = per[index]
    if last:  # each segment's row ends up at its last member only
        where = torch.full((len(count),), -1).index_copy(0, index, torch.arange(len(index)))
        dx = dx * (where[index] == torch.arange(len(index)))[:, None]
    if bound is not None:
        dx = dx * (index < len(count) + bound)[:, None]
    return dx.to(g.dtype), None, None


def _sg(**k):
    return lambda g, res: segment_backward(g, res, **k)


def segment_inputs(g, dtype):
    return normal(g, dtype, 8, 3), torch.tensor([2, 0, 1, 2, 4, 0, 2, 4]), 5


SEGMENT = Operation(
    "segment_mean",
    segment_forward,
    segment_backward,
    segment_inputs,
    segment_mean,
    mistakes=(
        Mistake(
            "missing-factor",
            "a sum's gradient: not divided by the segment's size",
            _sg(divide=False),
            also=("region",),
        ),
        Mistake("permuted", "rows are handed out as if the index were sorted", _sg(sorted_=True)),
        Mistake(
            "local",
            "an index seen twice is overwritten: only the last member of a segment gets a gradient",
            _sg(last=True),
            also=("zero", "region", "missing-factor"),
            source="https://github.com/pytorch/pytorch/issues/1631",
        ),
        Mistake(
            "permuted",
            "reads the incoming gradient's memory as if it were contiguous",
            _sg(raw=True),
            also=("local", "missing-factor"),
            source="https://github.com/open-mmlab/mmcv/pull/737",
        ),
        Mistake(
            "shape",
            "the segments' gradient is returned, not gathered for the members",
            _sg(gather=False),
            also=("permuted",),
        ),
        Mistake(
            "local",
            "the last segment is left out (a bound one too low)",
            _sg(bound=-1),
            also=("zero", "region", "missing-factor"),
        ),
        Mistake(
            "missing-factor",
            "divided by the size + 1e-5, a guard the forward pass has not",
            _sg(eps=1e-5),
            also=("scale",),
        ),
    ),
    further={
        "empty_segments": lambda g, d: (normal(g, d, 3, 2), torch.tensor([3, 3, 0]), 6),
        "one_segment": lambda g, d: (normal(g, d, 4, 2), torch.zeros(4, dtype=torch.long), 1),
        "no_members": lambda g, d: (normal(g, d, 0, 2), torch.zeros(0, dtype=torch.long), 3),
        "one": lambda g, d: (normal(g, d, 1, 1), torch.tensor([1]), 2),
        "transposed": lambda g, d: (leaf(normal(g, d, 3, 5).t()), torch.tensor([1, 0, 1, 1, 2]), 3),
    },
)

# ---------------------------------------------------------------- cumulative product along the last axis


def cumprod(x):
    return torch.cumprod(up(x), -1).to(x.dtype)


def cumprod_forward(x):
    return cumprod(x.detach()), x


def cumprod_backward(g, x, *, tail="all", flipped=False, forwards=False):
    """dx_i = sum over j >= i of g_j times the product of the x_k, k <= j, k != i: right at zeros, too."""
    v, h = up(x.detach()), up(g)
    n = v.shape[-1]
    d = torch.zeros_like(v)
    for i in range(n):
        others = v.clone()
        others[..., i] = 1
        p = h * torch.cumprod(others, -1)
        if tail == "all":
            d[..., i] = p[..., i:].sum(-1)
        elif tail == "own":
            d[..., i] = p[..., i]
        else:
            d[..., i] = p[..., i + 1 :].sum(-1)
    if flipped:
        d = d.flip(-1)
    return d.to(x.dtype)


def _cumprod_by_division(g, x, *, guard=False, eps=0.0, reverse=True):
    v = up(x.detach())
    gy = up(g) * torch.cumprod(v, -1)
    s = gy.flip(-1).cumsum(-1).flip(-1) if reverse else gy.cumsum(-1)
    d = s / (v + eps)
    return (torch.where(v == 0, torch.zeros_like(d), d) if guard else d).to(x.dtype)


def cumprod_inputs(g, dtype):
    x = uniform(g, dtype, 3, 5, low=0.5, high=1.5)
    with torch.no_grad():
        x[1] *= -1
    return (x,)


CUMPROD = Operation(
    "cumulative_product",
    cumprod_forward,
    cumprod_backward,
    cumprod_inputs,
    cumprod,
    mistakes=(
        Mistake("not-finite", "divides by x: 0/0 at zeros", _cumprod_by_division, hidden=cumprod_inputs),
        Mistake(
            "region",
            "divides by x and sets zero where x is zero",
            lambda g, x: _cumprod_by_division(g, x, guard=True),
            also=("local", "zero"),
            hidden=cumprod_inputs,
        ),
        Mistake(
            "permuted",
            "the reversed sum is not reversed back",
            lambda g, x: cumprod_backward(g, x, flipped=True),
        ),
        Mistake(
            "missing-term",
            "the sum runs from the front",
            lambda g, x: _cumprod_by_division(g, x, reverse=False),
            also=("missing-sum", "missing-factor", "permuted"),
        ),
        Mistake(
            "missing-term",
            "each output's gradient reaches its own input only",
            lambda g, x: cumprod_backward(g, x, tail="own"),
            also=("missing-sum", "missing-factor"),
        ),
        Mistake(
            "missing-term",
            "an exclusive reverse sum: the own output is left out",
            lambda g, x: cumprod_backward(g, x, tail="later"),
            also=("missing-factor",),
        ),
        Mistake(
            "missing-factor",
            "divides by x + 1e-5 to be safe",
            lambda g, x: _cumprod_by_division(g, x, eps=1e-5),
            also=("region", "scale"),
        ),
    ),
    further={
        "one_zero": lambda g, d: (
            leaf(torch.tensor([[1.5, 0.0, 2.0, -1.0], [0.0, 1.0, 2.0, 3.0]], dtype=d)),
        ),
        "two_zeros": lambda g, d: (leaf(torch.tensor([[1.5, 0.0, 2.0, 0.0, 3.0]], dtype=d)),),
        "one": lambda g, d: (normal(g, d, 1),),
        "empty": lambda g, d: (normal(g, d, 2, 0),),
        "transposed": lambda g, d: (leaf(normal(g, d, 4, 3).t()),),
    },
)

# ---------------------------------------------------------------- bilinear sampling, border padding


def _corner(c, size):
    inside = (c >= 0) & (c <= size - 1)
    c = torch.where(c < 0, 0, torch.where(c > size - 1, size - 1, c))
    i = c.detach().floor().clamp_max(size - 2)
    return c - i, i.long(), inside


def bilinear(image, xy):
    v, p = up(image), up(xy)
    fx, i, _ = _corner(p[:, 0], v.shape[1])
    fy, j, _ = _corner(p[:, 1], v.shape[0])
    top = (1 - fx) * v[j, i] + fx * v[j, i + 1]
    low = (1 - fx) * v[j + 1, i] + fx * v[j + 1, i + 1]
    return ((1 - fy) * top + fy * low).to(image.dtype)


def bilinear_forward(image, xy):
    return bilinear(image.detach(), xy.detach()), (image, xy)


def bilinear_backward(g, res, *, accumulate=True, mask=True, factor=1.0, sign=1.0, diagonal=False):
    image, xy = res
    v, p, h = up(image.detach()), up(xy.detach()), up(g)
    fx, i, inx = _corner(p[:, 0], v.shape[1])
    fy, j, iny = _corner(p[:, 1], v.shape[0])
    d = torch.zeros_like(v)
    corners = [
        (j, i, (1 - fy) * (1 - fx)),
        (j, i + 1, (1 - fy) * fx),
        (j + 1, i, fy * (1 - fx)),
        (j + 1, i + 1, fy * fx),
    ]
    if diagonal:
        corners = [corners[0], corners[3]]
    for r, c, weight in corners:
        if accumulate:
            d = d.index_put((r, c), h * weight, accumulate=True)
        else:
            d = d.index_put((r, c), d[r, c] + h * weight)
    dx = (1 - fy) * (v[j, i + 1] - v[j, i]) + fy * (v[j + 1, i + 1] - v[j + 1, i])
    dy = (1 - fx) * (v[j + 1, i] - v[j, i]) + fx * (v[j + 1, i + 1] - v[j, i + 1])
    if mask:
        dx, dy = dx * inx, dy * iny
    dp = factor * sign * h[:, None] * torch.stack((dx, dy), 1)
    return d.to(image.dtype), dp.to(xy.dtype)


def _bi(**k):
    return lambda g, res: bilinear_backward(g, res, **k)


def bilinear_inputs(g, dtype):
    xy = uniform(g, dtype, 7, 2, low=0.1, high=3.9)
    with torch.no_grad():
        xy[0] = torch.tensor([-0.75, 1.25], dtype=dtype)
        xy[1] = torch.tensor([2.25, 5.5], dtype=dtype)
        xy[3] = torch.tensor([1.25, 2.375], dtype=dtype)
        xy[4] = torch.tensor([1.5, 2.625], dtype=dtype)  # the same four corners
    return normal(g, dtype, 5, 5), xy


def bilinear_inside(g, dtype):
    return normal(g, dtype, 5, 5), uniform(g, dtype, 7, 2, low=0.1, high=3.9)


BILINEAR = Operation(
    "bilinear_sample",
    bilinear_forward,
    bilinear_backward,
    bilinear_inputs,
    bilinear,
    mistakes=(
        Mistake(
            "permuted",
            "x and y exchanged in the coordinates' gradient",
            edit(bilinear_backward, 1, lambda d, g, r: d.flip(1)),
            argument="xy",
        ),
        Mistake(
            "transpose",
            "the image's gradient indexed [x, y] (square here)",
            edit(bilinear_backward, 0, lambda d, g, r: d.t()),
            argument="image",
        ),
        Mistake(
            "local",
            "points that share a pixel overwrite each other: no accumulation",
            _bi(accumulate=False),
            also=("missing-term", "missing-sum"),
            argument="image",
            source="https://github.com/pytorch/pytorch/issues/1528",
        ),
        Mistake(
            "region",
            "clamped coordinates get a gradient, too",
            _bi(mask=False),
            also=("local", "missing-factor"),
            argument="xy",
            hidden=bilinear_inside,
            source="https://github.com/pytorch/pytorch/issues/23925",
        ),
        Mistake(
            "scale",
            "the factor (size - 1) / 2 of normalised coordinates, which these are not",
            _bi(factor=2.0),
            argument="xy",
        ),
        Mistake("sign", "left minus right, top minus bottom", _bi(sign=-1.0), argument="xy"),
        Mistake(
            "missing-term",
            "only two of the four corners get a gradient",
            _bi(diagonal=True),
            also=("region", "local"),
            argument="image",
        ),
    ),
    further={
        "inside": bilinear_inside,
        "on_pixels": lambda g, d: (
            normal(g, d, 4, 4),
            leaf(torch.tensor([[1.0, 2.0], [2.0, 0.5], [1.5, 1.0]], dtype=d)),
        ),
        "borders": lambda g, d: (
            normal(g, d, 3, 4),
            leaf(torch.tensor([[0.0, 1.5], [3.0, 2.0], [0.0, 0.0]], dtype=d)),
        ),
        "outside": lambda g, d: (normal(g, d, 2, 2), leaf(torch.tensor([[-3.0, 9.0], [5.0, -1.0]], dtype=d))),
        "no_points": lambda g, d: (normal(g, d, 3, 3), normal(g, d, 0, 2)),
        "transposed": lambda g, d: (
            leaf(normal(g, d, 4, 3).t()),
            leaf(uniform(g, d, 2, 5, low=0.2, high=1.8).t()),
        ),
    },
)

OPERATIONS = (SEGMENT, CUMPROD, BILINEAR)
