"""y = λ x where x > 0, else λ α (exp(x) - 1), with λ = 1.0507..., α = 1.6732...

Shapes.  x and y (...), element by element.

Forward.  λ times ``elu``. With these two numbers, layers of many inputs of mean 0 and variance 1 have
outputs of mean 0 and variance 1.

Chain rule.  dy is ∂L/∂y.  ∂y/∂x = λ where x > 0, and λ α exp(x) where x < 0 (``_exponential``).

Result.  dx = λ dy where x > 0, else λ α exp(x) dy.

Kink.  At x = 0 the slope jumps from λα to λ; PyTorch's convention, and ours, is λα. Where x is NaN, y is NaN
and the slope is λ.
Errors: none.
Source: Klambauer, Unterthiner, Mayr and Hochreiter, Self-Normalizing Neural Networks (2017), equation 2;
PyTorch documentation, torch.nn.functional.selu.
"""

from handgrad._cases import case, exactly, normal, smooth
from handgrad._derivation import register
from handgrad._primitives_fused import in_one_pass
from handgrad.derivations._exponential import curve, slope

SCALE = 1.0507009873554804934193349852946  # λ
ALPHA = 1.6732632423543772848170429916717  # α
LOWEST = -SCALE * ALPHA  # y far to the left


def forward(x):
    return in_one_pass("selu", _curve, x), (x,)


def backward(dy, residuals):
    (x,) = residuals
    return dy * slope(x, -LOWEST, line=SCALE)


def _curve(x):
    return curve(x, -LOWEST, line=SCALE)


register(
    forward,
    backward,
    torch="torch.nn.functional.selu",
    fit=lambda rng, shape: case("fit", normal(*shape)),
    cases=[
        case("both sides", smooth(4, 5)),
        case("near zero", exactly([-1e-3, -1e-6, 1e-6, 1e-3])),
        case("far", exactly([-1000.0, -50.0, 50.0, 1000.0])),
        case("at the kink", exactly([-1.0, 0.0, -0.0, 2.0]), kink=True),
        case("a number", smooth()),
        case("empty", normal(0, 5)),
    ],
)
