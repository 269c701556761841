"""y = x, copied along new axes and along axes of length 1

Shapes.  x (...) broadcasts to ``size``, the shape of y; -1 stands for a length left as it is.

Chain rule.  dy is ∂L/∂y. Each x_j goes to several places of y:  dx_j is the sum of dy over them.

Result.  dx = Σ dy over the copies (after ``backward``, by ``_arrays.unbroadcast``). The copies are real ones:
the output has memory of its own.

Kinks: none.  Errors: a size with fewer axes, or another length where x's is not 1.
Source: PyTorch documentation, torch.Tensor.expand.
"""

from handgrad._arrays import namespace
from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad._errors import require
from handgrad._primitives import copy


def forward(x, *, size):
    new = len(size) - x.ndim
    require(
        new >= 0, "expand only adds axes", f"size {tuple(size)} for shape {tuple(x.shape)}", "give all axes"
    )
    lengths = ((None,) * new) + tuple(x.shape)
    shape = tuple(n if n != -1 else old for n, old in zip(size, lengths, strict=True))
    require(
        all(n is not None and n >= 0 and old in (n, 1, None) for n, old in zip(shape, lengths, strict=True)),
        "expand copies along new axes and along axes of length 1",
        f"size {tuple(size)} for shape {tuple(x.shape)}",
        "keep the other lengths",
    )
    return copy(namespace(x).broadcast_to(x, shape)), ()


def backward(dy, _, **__):
    return dy


register(
    forward,
    backward,
    torch="torch.broadcast_to",
    reference=lambda torch, x, *, size: torch.broadcast_to(x, size),
    widen=False,
    cases=[
        case("a row to rows", normal(5), size=(4, 5)),
        case("a column, one length as it is", normal(2, 3, 1), size=(2, -1, 4)),
        case("a number", normal(), size=(2, 3)),
        case("to nothing", normal(1, 3), size=(0, 3)),
    ],
)
