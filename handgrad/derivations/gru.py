"""h_t = (1 - z_t) ⊙ n_t + z_t ⊙ h_(t-1),  with gates r, z and the new state n from x_t and h_(t-1)

Shapes.  One layer in one direction.  x (T, N, I), h (N, H) the state at the start, w_ih (3H, I),
w_hh (3H, H), biases b_ih and b_hh (3H,), both or none; y (T, N, H) all the h_t, h_n (N, H) the state at the
end.  Packed, x is (R, I) and y (R, H): see ``_recurrent``.  In what follows a row vector is one sequence.

Forward.  What step t makes of x and of h is kept apart, three parts of H numbers each:
    a_t = x_t w_ihᵀ + b_ih = (a_r, a_z, a_n)        q_t = h_(t-1) w_hhᵀ + b_hh = (q_r, q_z, q_n)
    r = σ(a_r + q_r)     z = σ(a_z + q_z)     n = tanh(a_n + r ⊙ q_n)
    h_t = (1 - z) ⊙ n + z ⊙ h_(t-1) = n + z ⊙ (h_(t-1) - n)
The gate r stands after the product with w_hh and its bias (Cho et al. have it before).  x w_ihᵀ is one
product for all steps; only the rest must wait for the step before.  With ``reverse`` the walk is
t = T, ..., 1, and t - 1 reads t + 1 throughout.  A packed sequence that has no step t keeps its state there.

Chain rule: back-propagation through time.  h_t goes into y_t and into step t + 1 (at the end into h_n).
Let dh come from step t + 1; then, of h_t = n + z ⊙ (h_(t-1) - n),
    dh_t = dy_t + dh       dn = dh_t ⊙ (1 - z)       dz = dh_t ⊙ (h_(t-1) - n)
    da_n = dn ⊙ (1 - n²)                             n = tanh(a_n + r ⊙ q_n)
    dq_n = da_n ⊙ r                                  dr = da_n ⊙ q_n
    da_r = dq_r = dr ⊙ r(1 - r)                      da_z = dq_z = dz ⊙ z(1 - z)
What goes on to step t - 1 is  dh = dh_t ⊙ z + dq_t w_hh: h_(t-1) is used twice.
A weight is used at every step, so its gradient is the sum over the steps, and that is one product:
    dw_ih = Σ_t da_tᵀ x_t     dw_hh = Σ_t dq_tᵀ h_(t-1)     db_ih = Σ_t da_t     db_hh = Σ_t dq_t

Result.  The slopes of all steps first, since they need no gradient; then the walk from the last step to the
first, with dq_t = (dh_t, dh_t, dh_t) ⊙ slopes; then the products.  dx = da w_ih; what leaves the first
step is dh of the state at the start.

Kinks: none.  Errors: no step at all, shapes that do not fit, one bias without the other.
Source: Cho et al., Learning phrase representations using RNN encoder-decoder (2014), section 2.3; PyTorch
documentation, torch.nn.GRU.
"""

from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad._primitives_products import add_product
from handgrad.derivations._recurrent import (
    affine,
    affine_gradients,
    blocks,
    fit_layer,
    given,
    gru_input_vjp,
    gru_slopes,
    gru_step,
    gru_vjp,
    join,
    one_layer,
    require_layer,
    states_before,
    unroll,
)


def forward(x, h, w_ih, w_hh, b_ih=None, b_hh=None, *, reverse=False, batch_sizes=None):
    sizes = require_layer("gru", 3, x, h, w_ih, w_hh, b_ih, b_hh, batch_sizes)
    a = blocks(affine(x, w_ih, b_ih), batch_sizes)
    w = w_hh.mT

    def step(t, h):
        h, kept = gru_step(a[t], add_product(b_hh, h, w), h)
        return (h,), (h, *kept)

    (h_n,), kept = unroll(step, (h,), sizes, reverse)
    y, *kept = (join(k, batch_sizes) for k in kept)
    return (y, h_n), (x, h, w_ih, w_hh, b_ih is not None, sizes, y, *kept)


def backward(dy, residuals, needs, *, reverse=False, batch_sizes=None):
    x, h, w_ih, w_hh, has_bias, sizes, y, *kept = residuals
    dy, dh_n = given(dy, y, h)
    before = states_before(y, h, sizes, reverse, batch_sizes)
    slopes, z, of_n = gru_slopes(before, *kept)
    dys, slopes, z = (blocks(v, batch_sizes) for v in (dy, slopes, z))

    def step(t, dh):
        dh = dys[t] + dh
        dq, through = gru_vjp(dh, slopes[t], z[t], w_hh)
        return (through,), (dq, dh)

    (dh,), kept = unroll(step, (dh_n,), sizes, not reverse)
    dq, dhs = (join(k, batch_sizes) for k in kept)
    da = gru_input_vjp(dhs, dq, of_n)
    dx, *dws = affine_gradients(da, dq, x, before, w_ih, w_hh, has_bias, (needs[0], *needs[2:4]))
    return dx, dh, *dws


def reference(torch, x, h, w_ih, w_hh, b_ih=None, b_hh=None, *, reverse=False, batch_sizes=None):
    """One direction of torch.gru."""
    return one_layer(torch, torch.gru, x, h, (w_ih, w_hh, b_ih, b_hh), reverse, batch_sizes)


WEIGHTS = normal(12, 3), normal(12, 4), normal(12), normal(12)

register(
    forward,
    backward,
    torch="torch.gru",
    reference=reference,
    outputs=("y", "h_n"),
    autocast="half",
    fit=fit_layer(3),
    cases=[
        case("three steps", normal(3, 2, 3), normal(2, 4), *WEIGHTS),
        case("no bias", normal(3, 2, 3), normal(2, 4), *WEIGHTS[:2]),
        case("reverse", normal(3, 2, 3), normal(2, 4), *WEIGHTS, reverse=True),
        case("packed", normal(6, 3), normal(3, 4), *WEIGHTS, batch_sizes=(3, 2, 1)),
        case("packed, in reverse", normal(6, 3), normal(3, 4), *WEIGHTS, batch_sizes=(3, 2, 1), reverse=True),
        case("one step", normal(1, 2, 3), normal(2, 4), *WEIGHTS),
        case("saturated gates", normal(4, 2, 3, scale=9.0), normal(2, 4), *WEIGHTS),
    ],
)
