"""h' = φ(x w_ihᵀ + b_ih + h w_hhᵀ + b_hh),  φ = tanh or relu

Shapes.  x (N, I), h (N, H) the state before, w_ih (H, I), w_hh (H, H), biases b_ih and b_hh (H,), both or
none; h' (N, H) the state after.

Forward.  One step of ``rnn``.

Chain rule.  With a the argument of φ and dh' = ∂L/∂h',
    da = dh' ⊙ φ'(a),    φ' = 1 - h'² for tanh, [h' > 0] for relu

Result.  dx = da w_ih,  dh = da w_hh;
dw_ih = daᵀ x,  dw_hh = daᵀ h,  db_ih = db_hh = da summed over the rows.

Kinks: relu at a = 0; its slope is 0 there, as in PyTorch.
Errors: shapes that do not fit, one bias without the other.
Source: Elman, Finding structure in time (1990); PyTorch documentation, torch.nn.RNNCell.
"""

from handgrad._cases import case, exactly, normal
from handgrad._derivation import register
from handgrad.derivations._recurrent import (
    activate,
    activate_vjp,
    affine,
    affine_gradients,
    fit_cell,
    require_cell,
)


def forward(x, h, w_ih, w_hh, b_ih=None, b_hh=None, *, nonlinearity="tanh"):
    require_cell("rnn_cell", 1, x, h, w_ih, w_hh, b_ih, b_hh)
    after = activate(affine(x, w_ih, b_ih) + affine(h, w_hh, b_hh), nonlinearity)
    return after, (x, h, w_ih, w_hh, b_ih is not None, after)


def backward(dy, residuals, needs, *, nonlinearity="tanh"):
    x, h, w_ih, w_hh, has_bias, after = residuals
    da = activate_vjp(dy, after, nonlinearity)
    dx, *dws = affine_gradients(da, da, x, h, w_ih, w_hh, has_bias, (needs[0], *needs[2:4]))
    return dx, da @ w_hh if needs[1] else None, *dws


register(
    forward,
    backward,
    torch="torch.rnn_tanh_cell",
    reference=lambda torch, *inputs, nonlinearity="tanh": getattr(torch, f"rnn_{nonlinearity}_cell")(*inputs),
    autocast="half",
    fit=fit_cell(1),
    cases=[
        case("biases", normal(2, 3), normal(2, 4), normal(4, 3), normal(4, 4), normal(4), normal(4)),
        case("no bias", normal(2, 3), normal(2, 4), normal(4, 3), normal(4, 4)),
        case("relu", normal(2, 3), normal(2, 4), normal(4, 3), normal(4, 4), nonlinearity="relu"),
        case("saturated", normal(2, 3, scale=20.0), normal(2, 4), normal(4, 3), normal(4, 4)),
        case("empty batch", normal(0, 3), normal(0, 4), normal(4, 3), normal(4, 4)),
        case("relu at the kink", exactly([[1.0, -1.0]]), exactly([[0.0]]), exactly([[1.0, 1.0]]),
             exactly([[1.0]]), nonlinearity="relu", kink=True),
    ],
)  # fmt: skip
