"""y = x / (1 + |x|)

Shapes.  x and y (...), element by element.

Chain rule.  dy is ∂L/∂y. With s = 1 + |x| and ∂s/∂x = sign(x),
    ∂y/∂x = 1/s - x sign(x)/s² = (s - |x|)/s² = 1/s²
A complex x has s = 1 + |x| of both of its parts. A step δx moves |x| by δs = Re(conj(u) δx), u = x/|x|, and
    δy = δx/s - x δs/s²,  so  Re(conj(dy) δy) = Re(conj(dy/s - u Re(conj(dy) x)/s²) δx)

Result.  dx = dy/s²;  for complex numbers  dx = dy/s - u Re(conj(dy) x)/s².

Kinks: none. |x| has one at 0, but both sides give ∂y/∂x = 1 there; for complex numbers u = 0 at 0. At x = ±∞
y is NaN (∞/∞), as in PyTorch.
Errors: none.
Source: Turian, Bergstra and Bengio, Quadratic Features and Deep Architectures for Chunking (2009), section 2;
PyTorch documentation, torch.nn.functional.softsign.
"""

from handgrad._arrays import conj, is_complex, namespace, real
from handgrad._cases import case, exactly, normal
from handgrad._derivation import register


def forward(x):
    return x / (1 + namespace(x).abs(x)), (x,)


def backward(dy, residuals):
    (x,) = residuals
    xp = namespace(x)
    size = xp.abs(x)
    s = 1 + size
    if not is_complex(x):
        return dy / s / s
    u = x / xp.where(size == 0, 1, size)
    return dy / s - u * (real(conj(dy) * x) / s / s)


register(
    forward,
    backward,
    torch="torch.nn.functional.softsign",
    fit=lambda rng, shape: case("fit", normal(*shape)),
    cases=[
        case("both signs", normal(4, 5)),
        case("at zero", exactly([0.0, -0.0])),
        case("far out", exactly([-1e4, -100.0, 1.0, 1e4])),
        case("a number", normal()),
        case("empty", normal(0, 5)),
    ],
)
