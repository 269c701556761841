"""h_t = φ(x_t w_ihᵀ + b_ih + h_(t-1) w_hhᵀ + b_hh),  φ = tanh or relu

Shapes.  One layer in one direction.  x (T, N, I), h (N, H) the state at the start, w_ih (H, I), w_hh (H, H),
biases b_ih and b_hh (H,), both or none; y (T, N, H) all the h_t, h_n (N, H) the state at the end.
Packed, x is (R, I) and y (R, H): see ``_recurrent``.  In what follows a row vector is one sequence.

Forward.  a_t = x_t w_ihᵀ + b_ih + h_(t-1) w_hhᵀ + b_hh,  h_t = φ(a_t).  x w_ihᵀ is one product for all steps;
only the rest must wait for the step before.  With ``reverse`` the walk is t = T, ..., 1, and t - 1 reads
t + 1 throughout.  A packed sequence that has no step t keeps its state there.

Chain rule: back-propagation through time.  h_t goes into y_t and into step t + 1 (at the end into h_n):
    dh_t = dy_t + da_(t+1) w_hh           (dy_T + dh_n at the end)
    da_t = dh_t ⊙ φ'(a_t),                φ' = 1 - h_t² for tanh, [h_t > 0] for relu
A weight is used at every step, so its gradient is the sum over the steps, and that is one product:
    dw_ih = Σ_t da_tᵀ x_t     dw_hh = Σ_t da_tᵀ h_(t-1)     db_ih = db_hh = Σ_t da_t

Result.  The walk from the last step to the first gives all da_t; dx = da w_ih; then the products.
da_1 w_hh is the gradient of the state at the start.

Kinks: relu at a_t = 0; its slope is 0 there, as in PyTorch.
Errors: no step at all, shapes that do not fit, one bias without the other, another nonlinearity.
Source: Elman, Finding structure in time (1990); Werbos, Backpropagation through time (1990); PyTorch
documentation, torch.nn.RNN.
"""

from handgrad._cases import case, exactly, normal
from handgrad._derivation import register
from handgrad._primitives_products import add_product
from handgrad.derivations._recurrent import (
    activate,
    activate_vjp,
    affine,
    affine_gradients,
    blocks,
    fit_layer,
    given,
    join,
    one_layer,
    require_layer,
    states_before,
    unroll,
)


def forward(x, h, w_ih, w_hh, b_ih=None, b_hh=None, *, nonlinearity="tanh", reverse=False, batch_sizes=None):
    sizes = require_layer("rnn", 1, x, h, w_ih, w_hh, b_ih, b_hh, batch_sizes)
    a = blocks(affine(x, w_ih, b_ih), batch_sizes)
    w = w_hh.mT

    def step(t, h):
        h = activate(a[t] + add_product(b_hh, h, w), nonlinearity)
        return (h,), (h,)

    (h_n,), (steps,) = unroll(step, (h,), sizes, reverse)
    y = join(steps, batch_sizes)
    return (y, h_n), (x, h, w_ih, w_hh, b_ih is not None, sizes, y)


def backward(dy, residuals, needs, *, nonlinearity="tanh", reverse=False, batch_sizes=None):
    x, h, w_ih, w_hh, has_bias, sizes, y = residuals
    dy, dh_n = given(dy, y, h)
    dys, hs = blocks(dy, batch_sizes), blocks(y, batch_sizes)

    def step(t, dh):
        da = activate_vjp(dys[t] + dh, hs[t], nonlinearity)
        return (da @ w_hh,), (da,)

    (dh,), (das,) = unroll(step, (dh_n,), sizes, not reverse)
    da = join(das, batch_sizes)
    before = states_before(y, h, sizes, reverse, batch_sizes) if needs[3] else None
    dx, *dws = affine_gradients(da, da, x, before, w_ih, w_hh, has_bias, (needs[0], *needs[2:4]))
    return dx, dh, *dws


def reference(
    torch, x, h, w_ih, w_hh, b_ih=None, b_hh=None, *, nonlinearity="tanh", reverse=False, batch_sizes=None
):
    """One direction of torch.rnn_tanh or torch.rnn_relu."""
    function = getattr(torch, f"rnn_{nonlinearity}")
    return one_layer(torch, function, x, h, (w_ih, w_hh, b_ih, b_hh), reverse, batch_sizes)


WEIGHTS = normal(4, 3), normal(4, 4), normal(4), normal(4)

register(
    forward,
    backward,
    torch="torch.rnn_tanh",
    reference=reference,
    outputs=("y", "h_n"),
    autocast="half",
    fit=fit_layer(1),
    cases=[
        case("three steps", normal(3, 2, 3), normal(2, 4), *WEIGHTS),
        case("relu", normal(3, 2, 3), normal(2, 4), *WEIGHTS, nonlinearity="relu"),
        case("no bias", normal(3, 2, 3), normal(2, 4), *WEIGHTS[:2]),
        case("reverse", normal(3, 2, 3), normal(2, 4), *WEIGHTS, reverse=True),
        case("packed", normal(6, 3), normal(3, 4), *WEIGHTS, batch_sizes=(3, 2, 1)),
        case("packed, in reverse", normal(6, 3), normal(3, 4), *WEIGHTS, batch_sizes=(3, 2, 1), reverse=True,
             nonlinearity="relu"),
        case("one step", normal(1, 2, 3), normal(2, 4), *WEIGHTS),
        case("relu at the kink", exactly([[[1.0, -1.0]], [[2.0, 0.0]]]), exactly([[0.0, 1.0]]),
             exactly([[1.0, 1.0], [1.0, 0.0]]), exactly([[1.0, 0.0], [0.0, 1.0]]), nonlinearity="relu",
             kink=True),
    ],
)  # fmt: skip
