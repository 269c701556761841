"""What recurrent layers share: the walk over time, one step of each kind, and its slopes.

A sequence is an array of T steps. Padded, it is (T, N, ...): all N sequences of a batch have T steps.
Packed, it is (R, ...) with ``batch_sizes`` b_1 ≥ b_2 ≥ ... ≥ b_T: the b_t rows of step t stand one step
after the other, R = Σ_t b_t, and step t has the sequences 0 to b_t - 1, the longest ones.
"""

from itertools import accumulate, pairwise

from handgrad._arrays import as_matrix, namespace
from handgrad._cases import case, normal
from handgrad._errors import require
from handgrad._primitives import sigmoid
from handgrad._primitives_products import add_product
from handgrad.derivations import linear, relu, tanh
from handgrad.derivations import sigmoid as sigmoid_layer

# --- steps of time --------------------------------------------------------------------------


def blocks(x, batch_sizes):
    """The steps of a sequence, each (b_t, ...)."""
    if batch_sizes is None:
        return namespace(x).unstack(x, axis=0)
    ends = accumulate(batch_sizes, initial=0)
    return [x[start:stop, ...] for start, stop in pairwise(ends)]


def join(steps, batch_sizes):
    """The inverse of :func:`blocks`."""
    xp = namespace(steps[0])
    return xp.stack(steps, axis=0) if batch_sizes is None else xp.concat(steps, axis=0)


def unroll(step, states, sizes, reverse):
    """Walk over the steps t, the last one first with ``reverse``: the states at the end, and what was kept.

    states: arrays (N, ...). step(t, *states) is given their first b_t rows, and returns these rows anew
    and a tuple of what to keep. Sequences that step t does not have stay as they are: in reverse they
    have not begun, else they are over. So the transpose of a walk is a walk the other way round.
    """
    kept = [()] * len(sizes)
    for t in reversed(range(len(sizes))) if reverse else range(len(sizes)):
        b = sizes[t]
        if b == states[0].shape[0]:
            states, kept[t] = step(t, *states)
            continue
        new, kept[t] = step(t, *(s[:b, ...] for s in states))
        states = tuple(
            namespace(s).concat([rows, s[b:, ...]], axis=0) for rows, s in zip(new, states, strict=True)
        )
    return states, tuple(zip(*kept, strict=True))


def states_before(y, first, sizes, reverse, batch_sizes):
    """The state with which each step began, a sequence: the one before it in y, or the first of all."""
    after = blocks(y, batch_sizes)
    _, (before,) = unroll(lambda t, h: ((after[t],), (h,)), (first,), sizes, reverse)
    return join(before, batch_sizes)


def given(cotangents, *like):
    """Cotangents of several outputs; None, for an output that nothing uses, is zero."""
    return [namespace(y).zeros_like(y) if dy is None else dy for dy, y in zip(cotangents, like, strict=True)]


# --- one step ------------------------------------------------------------------------------


def activate(a, nonlinearity):
    """h = tanh(a) or relu(a)."""
    return (tanh if nonlinearity == "tanh" else relu).forward(a)[0]


def activate_vjp(dh, h, nonlinearity):
    """da, from h itself: both slopes can be read off it."""
    return tanh.backward(dh, (h,)) if nonlinearity == "tanh" else relu.backward(dh, (h <= 0,))


def lstm_step(a, c):
    """a (..., 4H) before the gates, c (..., H) -> m = o tanh(c'), c', and the gates (i and f), g, o."""
    n, tanh = c.shape[-1], namespace(a).tanh
    gates, g, o = sigmoid(a[..., : 2 * n]), tanh(a[..., 2 * n : 3 * n]), sigmoid(a[..., 3 * n :])
    after = gates[..., n:] * c + gates[..., :n] * g
    return o * tanh(after), after, (gates, g, o)


def lstm_slopes(c, gates, g, o):
    """What :func:`lstm_vjp` needs, for any number of steps at once, and m = o tanh(c')."""
    xp, n = namespace(c), c.shape[-1]
    i, f = gates[..., :n], gates[..., n:]
    tanh_c = xp.tanh(f * c + i * g)
    slopes = [
        sigmoid_layer.backward(g, (i,)),  # ∂c'/∂a of each gate
        sigmoid_layer.backward(c, (f,)),
        tanh.backward(i, (g,)),
        sigmoid_layer.backward(tanh_c, (o,)),  # ∂m/∂a of the last
    ]
    return xp.concat(slopes, axis=-1), tanh.backward(o, (tanh_c,)), f, o * tanh_c


def lstm_vjp(dm, dc, slopes, through_m, f):
    """dm, dc' -> da, dc of one step."""
    dc = dc + dm * through_m
    return namespace(dc).concat([dc, dc, dc, dm], axis=-1) * slopes, dc * f


def gru_step(a, q, h):
    """a (..., 3H) of the input, q (..., 3H) of the state h (..., H) -> h', and (r and z), n, q_n."""
    k = h.shape[-1]
    gates = sigmoid(a[..., : 2 * k] + q[..., : 2 * k])
    z, q = gates[..., k:], q[..., 2 * k :]
    n = namespace(h).tanh(a[..., 2 * k :] + gates[..., :k] * q)
    return n + z * (h - n), (gates, n, q)


def gru_slopes(h, gates, n, q):
    """∂h'/∂q (..., 3H), z and ∂h'/∂a_n, for any number of steps at once."""
    k = h.shape[-1]
    r, z = gates[..., :k], gates[..., k:]
    of_n = tanh.backward(1 - z, (n,))
    slopes = [sigmoid_layer.backward(of_n * q, (r,)), sigmoid_layer.backward(h - n, (z,)), of_n * r]
    return namespace(h).concat(slopes, axis=-1), z, of_n


def gru_vjp(dh, slopes, z, w_hh):
    """dh' -> dq and dh of one step."""
    dq = namespace(dh).concat([dh, dh, dh], axis=-1) * slopes
    return dq, dh * z + dq @ w_hh


def gru_input_vjp(dh, dq, of_n):
    """da: as dq in the gates r and z; in n without the factor r."""
    k = dh.shape[-1]
    return namespace(dh).concat([dq[..., : 2 * k], dh * of_n], axis=-1)


# --- matrix products over all steps ------------------------------------------------------------


def affine(x, w, b):
    """w x + b for each row."""
    y = add_product(b, as_matrix(x), w.mT)
    return namespace(x).reshape(y, (*x.shape[:-1], w.shape[0]))


def affine_gradients(da, dq, x, h, w_ih, w_hh, has_bias, needs):
    """Gradients of (x, w_ih, w_hh, b_ih, b_hh) from a = w_ih x + b_ih and q = w_hh h + b_hh.

    One product each over all rows of all steps. needs: whether those of x, w_ih and w_hh are wanted.
    """
    dx, dw_ih, db_ih = linear.backward(da, (x, w_ih, has_bias), needs[:2])
    _, dw_hh, db_hh = linear.backward(dq, (h, w_hh, has_bias), (False, needs[2]))
    return dx, dw_ih, dw_hh, db_ih, db_hh


# --- checks -----------------------------------------------------------------------------------


def require_layer(layer, gates, x, h, w_ih, w_hh, b_ih, b_hh, batch_sizes, c=None, w_hr=None):
    """Raise unless the shapes fit; the batch size of each step."""
    if batch_sizes is None:
        require(x.ndim == 3, f"{layer} needs x (T, N, inputs)", tuple(x.shape), "add the axes that lack")
        require(x.shape[0] > 0, "Expected sequence length to be larger than 0 in RNN", "no step", "give one")
        sizes = (x.shape[1],) * x.shape[0]
    else:
        sizes = tuple(batch_sizes)
        require(
            x.ndim == 2 and bool(sizes) and all(a >= b > 0 for a, b in pairwise(sizes))
            and x.shape[0] == sum(sizes),
            f"{layer} needs packed x (R, inputs), and batch sizes that never grow and add up to R",
            f"{tuple(x.shape)} and {sizes}",
            "sort the sequences, the longest first, as torch.nn.utils.rnn.pack_sequence does",
        )  # fmt: skip
    width = w_hh.shape[0] // gates if w_hr is None else w_hr.shape[0]
    _require_shapes(layer, gates, x, (sizes[0], width), h, w_ih, w_hh, b_ih, b_hh)
    hidden = w_hh.shape[0] // gates
    if c is not None:
        expected = (sizes[0], hidden)
        require(tuple(c.shape) == expected, f"{layer} needs c of {expected}", tuple(c.shape), "reshape it")
    if w_hr is not None:
        require(
            tuple(w_hr.shape) == (width, hidden),
            f"{layer} needs w_hr of {(width, hidden)}, from the hidden to the projected units",
            tuple(w_hr.shape),
            "transpose or replace it",
        )
    return sizes


def require_cell(layer, gates, x, h, w_ih, w_hh, b_ih, b_hh, c=None):
    """Raise unless the shapes of one step fit."""
    require(
        x.ndim == 2 and x.shape[1] == w_ih.shape[1],
        f"{layer} needs x (N, inputs), with the {w_ih.shape[1]} inputs of w_ih",
        tuple(x.shape),
        "reshape x",
    )
    expected = (x.shape[0], w_hh.shape[1])
    _require_shapes(layer, gates, x, expected, h, w_ih, w_hh, b_ih, b_hh)
    if c is not None:
        require(tuple(c.shape) == expected, f"{layer} needs c of {expected}", tuple(c.shape), "reshape it")


def _require_shapes(layer, gates, x, state, h, w_ih, w_hh, b_ih, b_hh):
    require(tuple(h.shape) == state, f"{layer} needs h of {state}", tuple(h.shape), "reshape it")
    rows = w_hh.shape[0]
    require(
        rows % gates == 0 and w_hh.shape[1] == state[1] and tuple(w_ih.shape) == (rows, x.shape[-1]),
        f"{layer} needs w_ih (rows, inputs) and w_hh (rows, hidden) with {gates} rows for each hidden unit",
        f"{tuple(w_ih.shape)} and {tuple(w_hh.shape)} for {x.shape[-1]} inputs",
        "take the weights of one layer and direction",
    )
    require(
        (b_ih is None) == (b_hh is None)
        and all(b is None or tuple(b.shape) == (rows,) for b in (b_ih, b_hh)),
        f"{layer} needs both biases, ({rows},) each, or none",
        " and ".join("none" if b is None else str(tuple(b.shape)) for b in (b_ih, b_hh)),
        "reshape them",
    )


# --- for the registrations ----------------------------------------------------------------------


def one_layer(torch, function, x, states, weights, reverse, batch_sizes):
    """PyTorch's layer, one of its two directions: outputs and final states.

    It has the reverse direction only beside the forward one: both with the same weights, then.
    """
    directions = 2 if reverse else 1

    def stack(state):
        return torch.cat([state[None]] * 2) if reverse else state[None]

    stacked = tuple(map(stack, states)) if isinstance(states, tuple) else stack(states)
    weights = [w for w in weights if w is not None] * directions
    biased = len(weights) // directions > 3
    options = (biased, 1, 0.0, False, reverse)  # layers, dropout, in training, both directions
    if batch_sizes is None:
        y, *final = function(x, stacked, weights, *options, False)
    else:
        y, *final = function(x, torch.tensor(batch_sizes), stacked, weights, *options)
    if not reverse:
        return y, *(s.squeeze(0) for s in final)
    return y[..., y.shape[-1] // 2 :], *(s[1] for s in final)


def fit_layer(gates, *, cells=False):
    """On any value of three axes, as steps, sequences and inputs."""

    def fit(rng, shape):
        if len(shape) != 3 or 0 in shape:
            return None
        hidden = int(rng.integers(1, 5))
        states = [normal(shape[1], hidden)] * (2 if cells else 1)
        weights = _weights(rng, gates, shape[2], hidden)
        return case("fit", normal(*shape), *states, *weights, reverse=bool(rng.integers(2)))

    return fit


def fit_cell(gates, *, cells=False):
    """On any matrix, as samples and inputs."""

    def fit(rng, shape):
        if len(shape) != 2 or 0 in shape:
            return None
        hidden = int(rng.integers(1, 5))
        states = [normal(shape[0], hidden)] * (2 if cells else 1)
        return case("fit", normal(*shape), *states, *_weights(rng, gates, shape[1], hidden))

    return fit


def _weights(rng, gates, inputs, hidden):
    rows = gates * hidden
    biases = (normal(rows), normal(rows)) if rng.integers(2) else (None, None)
    return normal(rows, inputs), normal(rows, hidden, scale=0.5), *biases
