"""Vectors in space and complex numbers."""

import torch

from ._tools import FULL, Operation, bwd, fwd, leaf, mistakes, normal, reference

# ---- unit normals of triangles: points a, b and c (N, 3)

TINY = 1e-12


@fwd
def _normals_forward(a, b, c):
    first, second = b - a, c - a
    n = torch.linalg.cross(first, second)
    r = n.square().sum(-1, keepdim=True).add_(TINY).sqrt_()
    return n / r, (first, second, n, r)


@bwd
def _normals_backward(g, res, wrong=""):
    first, second, n, r = res
    dn = g / r - n * (n * g).sum(-1, keepdim=True) / r**3
    if wrong == "project":
        dn = g / r
    if wrong == "length":
        dn = g - n * (n * g).sum(-1, keepdim=True)
    db = torch.linalg.cross(second, dn)
    dc = torch.linalg.cross(dn, first)
    da = -(db + dc)
    if wrong == "order":
        db = -db
    if wrong == "corner":
        da = -db
    if wrong == "offset":
        da = da + 1e-5
    if wrong == "swap":
        db, dc = dc, db
    if wrong == "origin":
        da = None
    return da, db, dc


def _normals_inputs(g, dtype):
    return normal(g, dtype, 4, 3), normal(g, dtype, 4, 3), normal(g, dtype, 4, 3)


def _normals_unit(g, dtype):  # right angles and unit sides: the cross product has length one
    q = torch.linalg.qr(torch.randn(4, 3, 3, generator=g, dtype=torch.float64)).Q.to(dtype)
    a = normal(g, dtype, 4, 3)
    return a, leaf(a.detach() + q[:, 0]), leaf(a.detach() + q[:, 1])


def _normals_isosceles(g, dtype):
    return normal(g, dtype, 1, 3), normal(g, dtype, 1, 3), normal(g, dtype, 1, 3)


def _normals_reference(a, b, c):
    n = torch.cross(b - a, c - a, dim=-1)
    return n / (n.square().sum(-1, keepdim=True) + TINY).sqrt()


NORMALS = Operation(
    "triangle_normals",
    _normals_forward,
    _normals_backward,
    _normals_inputs,
    reference(_normals_reference),
    mistakes(
        _normals_backward,
        ("missing-term", "project", "the normalisation's projection is left out", {}),
        (
            "missing-factor",
            "length",
            "the length is not divided by",
            {"hidden": _normals_unit, "also": ("missing-term",)},
        ),
        ("sign", "order", "the cross product's operands are exchanged", {"argument": "b"}),
        ("missing-term", "corner", "the common corner gets one side's share alone", {"argument": "a"}),
        ("offset", "offset", "1e-5 added so that the gradient is never zero", {"argument": "a"}),
        ("permuted", "swap", "the gradients of b and c are exchanged", {}),
        ("zero", "origin", "the common corner gets no gradient", {"argument": "a"}),
    ),
    {
        "unit": _normals_unit,
        "one": _normals_isosceles,
        "empty": lambda g, t: (normal(g, t, 0, 3), normal(g, t, 0, 3), normal(g, t, 0, 3)),
        "large": lambda g, t: tuple(leaf(1000 * x) for x in _normals_inputs(g, t)),
        "view": lambda g, t: (
            leaf(normal(g, t, 3, 2, grad=False).t()),
            leaf(normal(g, t, 2, 6, grad=False)[:, ::2]),
            normal(g, t, 2, 3),
        ),
    },
    ("float64",),
)

# ---- a complex linear layer: x (N, I), w (O, I), b (O,)


def _complex(g, dtype, *shape):
    made = torch.complex(
        normal(g, torch.float64, *shape, grad=False), normal(g, torch.float64, *shape, grad=False)
    )
    return leaf(made.to(torch.complex128 if dtype == torch.float64 else torch.complex64))


def _linear_forward(x, w, b):
    x, w = x.detach(), w.detach()
    y = x @ w.t()
    y += b.detach()
    return y, (x, w)


def _linear_backward(g, res, wrong=""):
    x, w = res
    dx = g @ (w if wrong == "conj" else w.conj())
    dw = g.t() @ x.conj()
    db = g.sum(0)
    if wrong == "axes":
        dw = x.conj().t() @ g
    if wrong == "result":
        dw = dw.conj().resolve_conj()
    if wrong == "real":
        db = db.real.clone()
    if wrong == "wirtinger":
        dw = dw / 2
    if wrong == "parts":
        dx = torch.view_as_complex(torch.view_as_real(dx).flip(-1).contiguous())
    return dx, dw, g if wrong == "unsummed" else db


def _complex_inputs(g, dtype):
    return _complex(g, dtype, 4, 3), _complex(g, dtype, 3, 3), _complex(g, dtype, 3)


def _complex_real(g, dtype):  # real weights, as complex numbers
    x, w, b = _complex_inputs(g, dtype)
    return x, leaf(torch.complex(w.detach().real, torch.zeros(3, 3, dtype=w.detach().real.dtype))), b


COMPLEX_LINEAR = Operation(
    "complex_linear",
    _linear_forward,
    _linear_backward,
    _complex_inputs,
    torch.nn.functional.linear,
    mistakes(
        _linear_backward,
        (
            "missing-factor",
            "conj",
            "the weights are not conjugated",
            {"argument": "x", "hidden": _complex_real, "also": ("sign", "missing-term")},
        ),
        ("transpose", "axes", "x^H g instead of its transpose", {"argument": "w"}),
        (
            "sign",
            "result",
            "the gradient's own conjugate: the imaginary part has the wrong sign",
            {"argument": "w", "also": ("missing-factor", "region")},
        ),
        ("dtype", "real", "the real part alone", {"argument": "b", "also": ("zero", "missing-term")}),
        ("scale", "wirtinger", "half, as the Wirtinger derivative", {"argument": "w"}),
        (
            "permuted",
            "parts",
            "real and imaginary part are exchanged",
            {"argument": "x", "also": ("transpose",)},
        ),
        (
            "missing-sum",
            "unsummed",
            "the bias's gradient is not summed over the batch",
            {"argument": "b", "also": ("shape",)},
        ),
    ),
    {
        "real_weights": _complex_real,
        "one": lambda g, t: (_complex(g, t, 1, 1), _complex(g, t, 1, 1), _complex(g, t, 1)),
        "oblong": lambda g, t: (_complex(g, t, 2, 4), _complex(g, t, 3, 4), _complex(g, t, 3)),
        "empty_batch": lambda g, t: (_complex(g, t, 0, 2), _complex(g, t, 2, 2), _complex(g, t, 2)),
        "view": lambda g, t: (
            leaf(_complex(g, t, 4, 3).detach().t()),
            leaf(_complex(g, t, 3, 8).detach()[:, ::2]),
            _complex(g, t, 3),
        ),
    },
    FULL,
)

OPERATIONS = (NORMALS, COMPLEX_LINEAR)
