"""Products of matrices and vectors."""

import torch

from ._tools import LOW, Operation, bwd, fwd, leaf, mistakes, normal, reference

# ---- quadratic form x_n^T A x_n: x (N, D), A (D, D), not necessarily symmetric


@fwd
def _form_forward(x, a):
    ax = x @ a.t()
    return (x * ax).sum(-1), (x, a, ax)


@fwd
def _form_half(x, a):
    ax = x @ a.t()
    return 0.5 * (x * ax).sum(-1), (x, a, ax)


@bwd
def _form_backward(g, res, wrong=""):
    x, a, ax = res
    scale = 0.5 if wrong == "half" else 1.0
    at = g[:, None] * scale
    dx = at * (ax + x @ a)
    if wrong == "symmetric":
        dx = 2 * at * ax
    if wrong == "once":
        dx = at * ax
    if wrong == "grad":
        dx = ax + x @ a
    da = (at * x).t() @ x
    if wrong == "mean":
        da = da / len(x)
    if wrong == "triangle":
        da = da.triu()
    return dx, da


def _form(n, d, make_a=lambda a: a):
    def make(g, dtype):
        return normal(g, dtype, n, d), leaf(make_a(normal(g, dtype, d, d, grad=False)))

    return make


QUADRATIC = Operation(
    "quadratic_form",
    _form_forward,
    _form_backward,
    _form(4, 3),
    reference(lambda x, a: torch.einsum("ni,ij,nj->n", x, a, x)),
    mistakes(
        _form_backward,
        (
            "missing-term",
            "symmetric",
            "2 A x: right for a symmetric matrix alone",
            {"argument": "x", "hidden": _form(4, 3, lambda a: a + a.t()), "also": ("transpose",)},
        ),
        (
            "missing-term",
            "once",
            "A x: the transposed summand is left out",
            {"argument": "x", "also": ("scale",)},
        ),
        ("missing-factor", "grad", "the incoming gradient is not multiplied in", {"argument": "x"}),
        (
            "scale",
            "mean",
            "averaged over the batch, not summed",
            {"argument": "a", "hidden": _form(1, 3), "also": ("missing-sum",)},
        ),
        (
            "region",
            "triangle",
            "the upper triangle's gradient alone",
            {"argument": "a", "also": ("zero", "local", "missing-term")},
        ),
        (
            "forward",
            None,
            "half the form in both passes",
            {"forward": _form_half, "backward": lambda g, res: _form_backward(g, res, "half")},
        ),
    ),
    {
        "symmetric": _form(3, 4, lambda a: a + a.t()),
        "one": _form(1, 1),
        "no_rows": _form(0, 3),
        "zero_matrix": _form(3, 2, torch.zeros_like),
        "view": lambda g, t: (
            leaf(normal(g, t, 3, 4, grad=False).t()),
            leaf(normal(g, t, 3, 3, grad=False).t()),
        ),
    },
    LOW,
)

# ---- a chain of batched products: bij,bjk,bk->bi


@fwd
def _chain_forward(a, m, v):
    t = (m @ v[..., None])[..., 0]
    return (a @ t[..., None])[..., 0], (a, m, v, t)


@bwd
def _chain_backward(g, res, wrong=""):
    a, m, v, t = res
    dt = torch.einsum("bij,bj->bi" if wrong == "operand" else "bij,bi->bj", a, g)
    da = torch.einsum("bi,bj->bji" if wrong == "outer" else "bi,bj->bij", g, t)
    dm = torch.einsum("bj,bk->bkj" if wrong == "inner" else "bj,bk->bjk", dt, v)
    dv = torch.einsum("bjk,bj->bk", m, dt)
    if wrong == "batch":
        dv = dv.sum(0, keepdim=True).expand_as(v).contiguous()
    if wrong == "scale":
        dm = dm / len(v)
    if wrong == "none":
        dm = None
    return da, dm, dv


def _chain(b, i, j, k, make_a=lambda a: a):
    def make(g, dtype):
        a = make_a(normal(g, dtype, b, i, j, grad=False))
        return leaf(a), normal(g, dtype, b, j, k), normal(g, dtype, b, k)

    return make


CHAIN = Operation(
    "einsum_chain",
    _chain_forward,
    _chain_backward,
    _chain(2, 3, 3, 3),
    reference(lambda a, m, v: torch.einsum("bij,bjk,bk->bi", a, m, v)),
    mistakes(
        _chain_backward,
        ("transpose", "outer", "the outer product's indices are exchanged", {"argument": "a"}),
        ("transpose", "inner", "the inner matrix's gradient is transposed", {"argument": "m"}),
        (
            "transpose",
            "operand",
            "A g instead of A^T g",
            {
                "hidden": _chain(2, 3, 3, 3, lambda a: a + a.transpose(1, 2)),
                "also": ("missing-term", "missing-factor", "permuted"),
            },
        ),
        (
            "missing-sum",
            "batch",
            "the vectors' gradient is summed over the batch as if shared",
            {"argument": "v", "hidden": _chain(1, 3, 3, 3), "also": ("missing-term",)},
        ),
        ("scale", "scale", "divided by the batch's size", {"argument": "m", "hidden": _chain(1, 3, 3, 3)}),
        ("zero", "none", "the inner matrix gets None", {"argument": "m"}),
    ),
    {
        "one": _chain(1, 1, 1, 1),
        "oblong": _chain(2, 2, 3, 4),
        "symmetric": _chain(2, 3, 3, 2, lambda a: a + a.mT),
        "empty_batch": _chain(0, 2, 2, 2),
        "view": lambda g, t: (
            leaf(normal(g, t, 2, 3, 2, grad=False).mT),
            leaf(normal(g, t, 4, 3, 2, grad=False).permute(2, 1, 0)),
            normal(g, t, 2, 4),
        ),
    },
    LOW,
)

OPERATIONS = (QUADRATIC, CHAIN)
