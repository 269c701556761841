"""h' = o ⊙ tanh(c'),  c' = f ⊙ c + i ⊙ g,  with i, f, g, o from x and h

Shapes.  x (N, I), h and c (N, H) the states before, w_ih (4H, I), w_hh (4H, H), biases b_ih and b_hh (4H,),
both or none; h' and c' (N, H) the states after.

Forward.  One step of ``lstm``, without projections:
    a = x w_ihᵀ + b_ih + h w_hhᵀ + b_hh = (a_i, a_f, a_g, a_o)
    i = σ(a_i)   f = σ(a_f)   g = tanh(a_g)   o = σ(a_o)

Chain rule.  Given dh' = ∂L/∂h' and dc' = ∂L/∂c',
    dc = dc' + dh' ⊙ o ⊙ (1 - tanh²(c'))                      c' reaches L through h', too
    da_i = dc ⊙ g ⊙ i(1 - i)             da_g = dc ⊙ i ⊙ (1 - g²)
    da_f = dc ⊙ c ⊙ f(1 - f)             da_o = dh' ⊙ tanh(c') ⊙ o(1 - o)

Result.  dx = da w_ih,  dh = da w_hh,  and for the state c:  dc ⊙ f;
dw_ih = daᵀ x,  dw_hh = daᵀ h,  db_ih = db_hh = da summed over the rows.

Kinks: none.  Errors: shapes that do not fit, one bias without the other.
Source: Hochreiter and Schmidhuber, Long short-term memory (1997); Gers et al., Learning to forget (2000);
PyTorch documentation, torch.nn.LSTMCell.
"""

from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad.derivations._recurrent import (
    affine,
    affine_gradients,
    fit_cell,
    given,
    lstm_slopes,
    lstm_step,
    lstm_vjp,
    require_cell,
)


def forward(x, h, c, w_ih, w_hh, b_ih=None, b_hh=None):
    require_cell("lstm_cell", 4, x, h, w_ih, w_hh, b_ih, b_hh, c)
    m, after, gates = lstm_step(affine(x, w_ih, b_ih) + affine(h, w_hh, b_hh), c)
    return (m, after), (x, h, c, w_ih, w_hh, b_ih is not None, *gates)


def backward(dy, residuals, needs):
    x, h, c, w_ih, w_hh, has_bias, *gates = residuals
    slopes, through_m, f, _ = lstm_slopes(c, *gates)
    da, dc = lstm_vjp(*given(dy, h, c), slopes, through_m, f)
    dx, *dws = affine_gradients(da, da, x, h, w_ih, w_hh, has_bias, (needs[0], needs[3], needs[4]))
    return dx, da @ w_hh if needs[1] else None, dc, *dws


STATES = normal(2, 4), normal(2, 4)

register(
    forward,
    backward,
    torch="torch.lstm_cell",
    reference=lambda torch, x, h, c, *weights: torch.lstm_cell(x, (h, c), *weights),
    outputs=("h_after", "c_after"),
    autocast="half",
    fit=fit_cell(4, cells=True),
    cases=[
        case("biases", normal(2, 3), *STATES, normal(16, 3), normal(16, 4), normal(16), normal(16)),
        case("no bias", normal(2, 3), *STATES, normal(16, 3), normal(16, 4)),
        case(
            "saturated",
            normal(2, 3, scale=20.0),
            *STATES,
            normal(16, 3),
            normal(16, 4),
            normal(16),
            normal(16),
        ),
        case("one unit", normal(1, 1), normal(1, 1), normal(1, 1), normal(4, 1), normal(4, 1)),
        case("empty batch", normal(0, 3), normal(0, 4), normal(0, 4), normal(16, 3), normal(16, 4)),
    ],
)
