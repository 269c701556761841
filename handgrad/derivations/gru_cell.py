"""h' = (1 - z) ⊙ n + z ⊙ h,  with gates r, z and the new state n from x and h

Shapes.  x (N, I), h (N, H) the state before, w_ih (3H, I), w_hh (3H, H), biases b_ih and b_hh (3H,), both or
none; h' (N, H) the state after.

Forward.  One step of ``gru``:
    a = x w_ihᵀ + b_ih = (a_r, a_z, a_n)        q = h w_hhᵀ + b_hh = (q_r, q_z, q_n)
    r = σ(a_r + q_r)     z = σ(a_z + q_z)     n = tanh(a_n + r ⊙ q_n)     h' = n + z ⊙ (h - n)

Chain rule.  Given dh' = ∂L/∂h',
    dn = dh' ⊙ (1 - z)       dz = dh' ⊙ (h - n)
    da_n = dn ⊙ (1 - n²)     dq_n = da_n ⊙ r            dr = da_n ⊙ q_n
    da_r = dq_r = dr ⊙ r(1 - r)                         da_z = dq_z = dz ⊙ z(1 - z)

Result.  dx = da w_ih,  dh = dh' ⊙ z + dq w_hh: h is used twice;
dw_ih = daᵀ x,  dw_hh = dqᵀ h,  db_ih = da and db_hh = dq, summed over the rows.

Kinks: none.  Errors: shapes that do not fit, one bias without the other.
Source: Cho et al., Learning phrase representations using RNN encoder-decoder (2014), section 2.3; PyTorch
documentation, torch.nn.GRUCell.
"""

from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad.derivations._recurrent import (
    affine,
    affine_gradients,
    fit_cell,
    gru_input_vjp,
    gru_slopes,
    gru_step,
    gru_vjp,
    require_cell,
)


def forward(x, h, w_ih, w_hh, b_ih=None, b_hh=None):
    require_cell("gru_cell", 3, x, h, w_ih, w_hh, b_ih, b_hh)
    after, kept = gru_step(affine(x, w_ih, b_ih), affine(h, w_hh, b_hh), h)
    return after, (x, h, w_ih, w_hh, b_ih is not None, *kept)


def backward(dy, residuals, needs):
    x, h, w_ih, w_hh, has_bias, *kept = residuals
    slopes, z, of_n = gru_slopes(h, *kept)
    dq, dh = gru_vjp(dy, slopes, z, w_hh)
    da = gru_input_vjp(dy, dq, of_n)
    dx, *dws = affine_gradients(da, dq, x, h, w_ih, w_hh, has_bias, (needs[0], *needs[2:4]))
    return dx, dh, *dws


register(
    forward,
    backward,
    torch="torch.gru_cell",
    autocast="half",
    fit=fit_cell(3),
    cases=[
        case("biases", normal(2, 3), normal(2, 4), normal(12, 3), normal(12, 4), normal(12), normal(12)),
        case("no bias", normal(2, 3), normal(2, 4), normal(12, 3), normal(12, 4)),
        case("saturated", normal(2, 3, scale=20.0), normal(2, 4), normal(12, 3), normal(12, 4)),
        case("one unit", normal(1, 1), normal(1, 1), normal(3, 1), normal(3, 1)),
        case("empty batch", normal(0, 3), normal(0, 4), normal(12, 3), normal(12, 4)),
    ],
)
