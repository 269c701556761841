"""h_t = o_t ⊙ tanh(c_t),  c_t = f_t ⊙ c_(t-1) + i_t ⊙ g_t,  with i, f, g, o from x_t and h_(t-1)

Shapes.  One layer in one direction.  x (T, N, I), h and c (N, H) the states at the start, w_ih (4H, I),
w_hh (4H, H), biases b_ih and b_hh (4H,), both or none; y (T, N, H) all the h_t, h_n and c_n (N, H) the
states at the end.  With projections w_hr (P, H), every h has P units in place of H, c keeps H.
Packed, x is (R, I) and y (R, H): see ``_recurrent``.  In what follows a row vector is one sequence.

Forward.  Step t has the pre-activations a_t of four gates, in this order, H numbers each:
    a_t = x_t w_ihᵀ + b_ih + h_(t-1) w_hhᵀ + b_hh = (a_i, a_f, a_g, a_o)
    i = σ(a_i)   f = σ(a_f)   g = tanh(a_g)   o = σ(a_o)
    c_t = f ⊙ c_(t-1) + i ⊙ g        m_t = o ⊙ tanh(c_t)        h_t = m_t, or m_t w_hrᵀ with projections
x w_ihᵀ is one product for all steps; only the rest must wait for the step before.  With ``reverse`` the
walk is t = T, ..., 1, and t - 1 reads t + 1 throughout.  A packed sequence that has no step t keeps its
states there.

Chain rule: back-propagation through time.  dh_t is all of ∂L/∂h_t: h_t goes into y_t and into step t + 1
(at the end into h_n), and c_t into step t + 1 (at the end into c_n).  Let dh and dc come from step t + 1;
then
    dh_t = dy_t + dh              dm = dh_t w_hr (or dh_t)
    dc_t = dc + dm ⊙ o ⊙ (1 - tanh²(c_t))                      c_t reaches L through m_t, too
    da_i = dc_t ⊙ g ⊙ i(1 - i)             da_g = dc_t ⊙ i ⊙ (1 - g²)
    da_f = dc_t ⊙ c_(t-1) ⊙ f(1 - f)       da_o = dm ⊙ tanh(c_t) ⊙ o(1 - o)
What goes on to step t - 1 is  dh = da_t w_hh  and  dc = dc_t ⊙ f.
A weight is used at every step, so its gradient is the sum over the steps, and that is one product:
    dw_ih = Σ_t da_tᵀ x_t     dw_hh = Σ_t da_tᵀ h_(t-1)     dw_hr = Σ_t dh_tᵀ m_t     db = Σ_t da_t

Result.  The slopes (g i(1 - i) and so on) of all steps first, since they need no gradient; then the walk
from the last step to the first, with da_t = (dc_t, dc_t, dc_t, dm) ⊙ slopes; then the products.
dx = da w_ih; what leaves the first step is dh and dc of the states at the start.

Kinks: none.  Errors: no step at all, shapes that do not fit, one bias without the other.
Source: Hochreiter and Schmidhuber, Long short-term memory (1997); Gers et al., Learning to forget (2000);
Sak et al. (2014) for projections; PyTorch documentation, torch.nn.LSTM.
"""

from handgrad._arrays import as_matrix
from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad._primitives_products import add_product
from handgrad.derivations._recurrent import (
    affine,
    affine_gradients,
    blocks,
    fit_layer,
    given,
    join,
    lstm_slopes,
    lstm_step,
    lstm_vjp,
    one_layer,
    require_layer,
    states_before,
    unroll,
)


def forward(x, h, c, w_ih, w_hh, b_ih=None, b_hh=None, w_hr=None, *, reverse=False, batch_sizes=None):
    sizes = require_layer("lstm", 4, x, h, w_ih, w_hh, b_ih, b_hh, batch_sizes, c, w_hr)
    a = blocks(affine(x, w_ih, b_ih), batch_sizes)
    w = w_hh.mT

    def step(t, h, c):
        m, after, gates = lstm_step(a[t] + add_product(b_hh, h, w), c)
        h = m if w_hr is None else m @ w_hr.mT
        return (h, after), (h, c, *gates)

    (h_n, c_n), kept = unroll(step, (h, c), sizes, reverse)
    y, *kept = (join(k, batch_sizes) for k in kept)
    return (y, h_n, c_n), (x, h, c, w_ih, w_hh, w_hr, b_ih is not None, sizes, y, *kept)


def backward(dy, residuals, needs, *, reverse=False, batch_sizes=None):
    x, h, c, w_ih, w_hh, w_hr, has_bias, sizes, y, *kept = residuals
    dy, dh_n, dc_n = given(dy, y, h, c)
    slopes, through_m, f, m = lstm_slopes(*kept)
    dys, slopes, through_m, f = (blocks(v, batch_sizes) for v in (dy, slopes, through_m, f))

    def step(t, dh, dc):
        dh = dys[t] + dh
        dm = dh if w_hr is None else dh @ w_hr
        da, dc = lstm_vjp(dm, dc, slopes[t], through_m[t], f[t])
        return (da @ w_hh, dc), (da, dh)

    (dh, dc), (da, dhs) = unroll(step, (dh_n, dc_n), sizes, not reverse)
    da = join(da, batch_sizes)
    before = states_before(y, h, sizes, reverse, batch_sizes) if needs[4] else None
    dx, *dws = affine_gradients(da, da, x, before, w_ih, w_hh, has_bias, (needs[0], needs[3], needs[4]))
    dw_hr = None
    if w_hr is not None and needs[7]:
        dw_hr = as_matrix(join(dhs, batch_sizes)).mT @ as_matrix(m)
    return dx, dh, dc, *dws, dw_hr


def reference(torch, x, h, c, w_ih, w_hh, *others, reverse=False, batch_sizes=None):
    """One direction of torch.lstm."""
    return one_layer(torch, torch.lstm, x, (h, c), (w_ih, w_hh, *others), reverse, batch_sizes)


WEIGHTS = normal(16, 3), normal(16, 4), normal(16), normal(16)
STATES = normal(2, 4), normal(2, 4)

register(
    forward,
    backward,
    torch="torch.lstm",
    reference=reference,
    outputs=("y", "h_n", "c_n"),
    autocast="half",
    fit=fit_layer(4, cells=True),
    cases=[
        case("three steps", normal(3, 2, 3), *STATES, *WEIGHTS),
        case("no bias", normal(3, 2, 3), *STATES, *WEIGHTS[:2]),
        case("reverse", normal(3, 2, 3), *STATES, *WEIGHTS, reverse=True),
        case("projections", normal(3, 2, 3), normal(2, 2), normal(2, 4), normal(16, 3), normal(16, 2),
             normal(16), normal(16), normal(2, 4)),
        case("packed", normal(6, 3), normal(3, 4), normal(3, 4), *WEIGHTS, batch_sizes=(3, 2, 1)),
        case("packed, in reverse, projections", normal(6, 3), normal(3, 2), normal(3, 4), normal(16, 3),
             normal(16, 2), None, None, normal(2, 4), batch_sizes=(3, 2, 1), reverse=True),
        case("one step", normal(1, 2, 3), *STATES, *WEIGHTS),
        case("saturated gates", normal(4, 2, 3, scale=9.0), *STATES, *WEIGHTS),
    ],
)  # fmt: skip
