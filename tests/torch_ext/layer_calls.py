"""What the tests of torch_ext share: each sample case as a call of ours, and as a call of PyTorch."""

from types import SimpleNamespace

import numpy as np
import torch

import torch_ext
from handgrad import registry
from handgrad.derivations import grid_sample
from torch_ext import functional

F = torch.nn.functional


class _Preferring:
    """One namespace, and another for the names that it lacks."""

    def __init__(self, first, second, **names):
        self._first, self._second = first, second
        vars(self).update(names)

    def __getattr__(self, name):
        return getattr(self._first if name in vars(self._first) else self._second, name)


# A derivation says how PyTorch is called. Given this instead of torch, it calls our functions.
OURS = _Preferring(functional, torch, nn=SimpleNamespace(functional=_Preferring(functional, F)))


def as_tuple(y):
    return y if isinstance(y, tuple) else (y,)


class LayerCall:
    """One case of one derivation: ``ours`` and ``theirs`` are functions of its differentiable inputs.

    ``inputs`` are these (float64); ``weights`` a random cotangent for each output that has a gradient.
    """

    def __init__(self, name, case, *, seed=0, dtype=torch.float64):
        self.derivation, self.case = registry[name], case
        self.options = dict(case.options)
        rng = np.random.default_rng(seed)
        self.every = [_tensor(a, dtype) for a in case.draw(rng)]
        self.slots = [
            i
            for i, x in enumerate(self.every)
            if x is not None and x.is_floating_point() and self.derivation.has_gradient(i)
        ]
        self.inputs = tuple(self.every[i] for i in self.slots)
        with torch.no_grad():
            y = self.theirs(*self.inputs)
        self.weights = tuple(torch.from_numpy(rng.standard_normal(o.shape)).to(o.dtype) for o in y)

    def _full(self, inputs):
        every = list(self.every)
        for i, x in zip(self.slots, inputs, strict=True):
            every[i] = x
        return every

    def _with_gradient(self, y):
        d = self.derivation
        return tuple(o for name, o in zip(d.outputs, as_tuple(y), strict=False) if name not in d.constant)

    def _as_pytorch(self, namespace, inputs):
        d = self.derivation
        if d.reference is not None:
            return d.reference(namespace, *self._full(inputs), **self.options)
        f = namespace
        for part in d.torch.split(".")[1:]:
            f = getattr(f, part)
        return f(*self._full(inputs), **self.options)

    def ours(self, *inputs):
        """Our Function itself."""
        y = torch_ext.call(self.derivation, *self._full(inputs), **self.options)
        return self._with_gradient(y)

    def ours_functional(self, *inputs):
        """``torch_ext.functional``, called as PyTorch is."""
        return self._with_gradient(self._as_pytorch(OURS, inputs))

    def theirs(self, *inputs):
        """PyTorch; its elementary operations where the derivation says that its own is less accurate."""
        if self.derivation.truth is not None:
            return (self.derivation.truth(torch, *self._full(inputs), **self.options),)
        return self._with_gradient(self._as_pytorch(torch, inputs))

    def formula(self, *inputs):
        """Our forward formula alone, differentiated by autograd."""
        y, _ = self.derivation.apply(self._full(inputs), self.options)
        return self._with_gradient(y)

    def truth(self, *inputs):
        """PyTorch; where its own higher derivatives are wrong or missing, its elementary operations."""
        composed = COMPOSED.get(self.derivation.name)
        if composed is None or not all(x.numel() for x in inputs):
            return self.theirs(*inputs)
        return as_tuple(composed(*self._full(inputs), **self.options))

    def loss(self, f):
        """A number from the outputs, curved, so that second derivatives are not zero."""
        return lambda *inputs: sum(
            (w * torch.sin(y)).sum() for w, y in zip(self.weights, f(*inputs), strict=True)
        )

    def leaves(self):
        return tuple(x.clone().requires_grad_() for x in self.inputs)


def _layer_norm(x, w=None, b=None, *, normalized_shape, eps=1e-5):
    dims = tuple(range(-len(normalized_shape), 0))
    y = (x - x.mean(dims, True)) / torch.sqrt(x.var(dims, correction=0, keepdim=True) + eps)
    return (y if w is None else y * w) + (0 if b is None else b)


def _channel_norm(x, dims, mean, var, w, b, eps):
    """With statistics over ``dims``, or those given."""
    if dims:
        mean, var = x.mean(dims, True), x.var(dims, correction=0, keepdim=True)
    mean, var, w, b = (
        p if p is None or p.ndim > 1 else p.reshape(-1, *(1,) * (x.ndim - 2)) for p in (mean, var, w, b)
    )
    y = (x - mean) / torch.sqrt(var + eps)
    return (y if w is None else y * w) + (0 if b is None else b)


def _batch_norm(x, mean=None, var=None, w=None, b=None, *, training=False, momentum=0.1, eps=1e-5):
    del momentum
    return _channel_norm(x, (0, *range(2, x.ndim)) if training else (), mean, var, w, b, eps)


def _instance_norm(x, mean=None, var=None, w=None, b=None, *, use_input_stats=True, momentum=0.1, eps=1e-5):
    del momentum
    return _channel_norm(x, tuple(range(2, x.ndim)) if use_input_stats else (), mean, var, w, b, eps)


def _embedding_bag(
    index, w, offsets=None, s=None, *, mode="mean", padding_idx=None, include_last_offset=False
):
    s = torch.ones_like(index, dtype=w.dtype) if s is None else s
    if offsets is None:
        bags = zip(index, s, strict=True)
    else:
        cuts = (offsets[1:-1] if include_last_offset else offsets[1:]).tolist()
        bags = zip(index.tensor_split(cuts), s.tensor_split(cuts), strict=True)
    found = []
    for i, c in bags:
        keep = i != (len(w) if padding_idx is None else padding_idx % len(w))
        rows = w[i[keep]] * c[keep][:, None]
        if mode == "max" and len(rows):
            found.append(rows.amax(0))
        else:
            found.append(rows.sum(0) / (max(len(rows), 1) if mode == "mean" else 1))
    return torch.stack(found) if found else w.new_zeros(0, w.shape[1])


def _bce_with_logits(x, t, w=None, pos_weight=None, *, reduction="mean"):
    positive = t if pos_weight is None else t * pos_weight
    loss = -positive * F.logsigmoid(x) - (1 - t) * F.logsigmoid(-x)
    loss = loss if w is None else loss * w
    return {"none": lambda v: v, "mean": torch.mean, "sum": torch.sum}[reduction](loss)


def _bce(x, t, w=None, *, reduction="mean"):
    loss = -t * torch.log(x) - (1 - t) * torch.log1p(-x)
    loss = loss if w is None else loss * w
    return {"none": lambda v: v, "mean": torch.mean, "sum": torch.sum}[reduction](loss)


def _cross_entropy(x, t, w=None, *, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
    options = {"label_smoothing": label_smoothing, "reduction": reduction}
    if w is None or t.is_floating_point():
        return F.cross_entropy(x, t, w, ignore_index=ignore_index, **options)
    axis, keep = min(1, x.ndim - 1), t != ignore_index
    index = torch.where(keep, t, 0)
    p = F.one_hot(index, x.shape[axis]).movedim(-1, axis).to(x.dtype)
    p = (1 - label_smoothing) * p + label_smoothing / x.shape[axis]
    weights = w.reshape(-1, *(1,) * (x.ndim - axis - 1))
    loss = torch.where(keep, -(p * weights * F.log_softmax(x, axis)).sum(axis), 0)
    total = torch.where(keep, w[index], 0).sum()
    return {"none": lambda v: v, "mean": lambda v: v.sum() / total, "sum": torch.sum}[reduction](loss)


def _rnn_cell(x, h, w_ih, w_hh, b_ih=None, b_hh=None, *, nonlinearity="tanh"):
    return getattr(torch, nonlinearity)(F.linear(x, w_ih, b_ih) + F.linear(h, w_hh, b_hh))


def _gru_cell(x, h, w_ih, w_hh, b_ih=None, b_hh=None):
    a, q = F.linear(x, w_ih, b_ih).chunk(3, -1), F.linear(h, w_hh, b_hh).chunk(3, -1)
    z, n = torch.sigmoid(a[1] + q[1]), torch.tanh(a[2] + torch.sigmoid(a[0] + q[0]) * q[2])
    return (1 - z) * n + z * h


def _lstm_cell(x, h, c, w_ih, w_hh, b_ih=None, b_hh=None, w_hr=None):
    i, f, g, o = (F.linear(x, w_ih, b_ih) + F.linear(h, w_hh, b_hh)).chunk(4, -1)
    c = torch.sigmoid(f) * c + torch.sigmoid(i) * torch.tanh(g)
    m = torch.sigmoid(o) * torch.tanh(c)
    return m if w_hr is None else F.linear(m, w_hr), c


def _over_time(cell, n_states):
    def layer(x, *rest, reverse=False, batch_sizes=None, **options):
        if batch_sizes is None:
            batch_sizes, packed = (x.shape[1],) * x.shape[0], x.flatten(0, 1)
        else:
            packed = x
        rows = list(packed.split(list(batch_sizes)))
        states, weights = rest[:n_states], rest[n_states:]
        for t in range(len(rows))[:: -1 if reverse else 1]:
            n = len(rows[t])
            new = as_tuple(cell(rows[t], *(s[:n] for s in states), *weights, **options))
            states = [torch.cat([a, s[n:]]) for a, s in zip(new, states, strict=True)]
            rows[t] = new[0]
        return (torch.stack(rows) if x.ndim == 3 else torch.cat(rows)), *states

    return layer


def _bilinear(x1, x2, w, b=None):
    y = torch.einsum("...i,oij,...j->...o", x1, w, x2)
    return y if b is None else y + b


def _conv_tbc(x, w, b, *, pad=0):
    return F.conv1d(x.permute(1, 2, 0), w.permute(2, 1, 0), b, padding=pad).permute(2, 0, 1)


def _grid_sample(x, grid, *, mode="bilinear", padding_mode="zeros", align_corners=False):
    """By our forward formula: what is compared are derivatives alone."""
    options = {"mode": mode, "padding_mode": padding_mode, "align_corners": align_corners}
    return grid_sample.formula(x, grid, **options)


def _logcumsumexp(x, *, dim):
    top = x.detach().amax(dim, True)
    powers = torch.exp(x - top)
    parts = [powers.narrow(dim, 0, i + 1).sum(dim) for i in range(x.shape[dim])] if x.ndim else [powers]
    y = torch.stack(parts, dim) if x.ndim else parts[0]
    return torch.log(y) + top


# torch 2.13: third derivatives and nested forward mode of the first three are wrong, since their
# statistics count as constants there; embedding_bag has neither second derivatives nor forward mode;
# nested forward mode of binary_cross_entropy_with_logits raises; second derivatives of
# binary_cross_entropy are off by about 1e-12 / (x (1 - x)), relatively: a constant in a
# denominator; cross_entropy of class indices has no derivative in the weights;
# bilinear and conv_tbc have no batching rule (vmap warns), and conv_tbc no forward mode.
# Recurrent layers and cells have no batching rule either; grid_sample has no forward mode.
# The third derivative of logcumsumexp is NaN: its backward takes logarithms of incoming gradients.
COMPOSED = {
    "logcumsumexp": _logcumsumexp,
    "layer_norm": _layer_norm,
    "batch_norm": _batch_norm,
    "instance_norm": _instance_norm,
    "embedding_bag": _embedding_bag,
    "binary_cross_entropy_with_logits": _bce_with_logits,
    "binary_cross_entropy": _bce,
    "cross_entropy": _cross_entropy,
    "bilinear": _bilinear,
    "conv_tbc": _conv_tbc,
    "grid_sample": _grid_sample,
    "rnn_cell": _rnn_cell,
    "gru_cell": _gru_cell,
    "lstm_cell": _lstm_cell,
    "rnn": _over_time(_rnn_cell, 1),
    "gru": _over_time(_gru_cell, 1),
    "lstm": _over_time(_lstm_cell, 2),
}


def _tensor(a, dtype):
    if a is None:
        return None
    x = torch.from_numpy(np.array(a))
    return x.to(dtype) if x.is_floating_point() else x


def calls(*, per_layer=None, kinks=False, sparse=False):
    """(name, case) of every registered layer: its first ``per_layer`` cases."""
    for name in registry:
        cases = [
            c
            for c in registry[name].cases
            if (kinks or not c.kink) and (sparse or not c.options.get("sparse"))
        ]
        for case in cases[:per_layer]:
            yield name, case


def assert_close(ours, theirs, *, factor=1.0, nearby=None, inputs=()):
    """Equal but for rounding: at most one rounding for each number that may have gone into a sum.

    ``nearby`` is the same truth for inputs changed in their last bit: what that moves, rounding may.
    ``inputs``: numbers of their size are rounded on the way (a mean of 1e4 is taken away from them).
    """
    ours, theirs = as_tuple(ours), as_tuple(theirs)
    nearby = theirs if nearby is None else as_tuple(nearby)
    assert len(ours) == len(theirs)
    sizes = [float(x.detach().abs().max()) for x in inputs if x.numel() and x.isfinite().all()]
    largest = max(sizes, default=1.0)
    count = sum(x.numel() for x in theirs if x is not None)
    for a, b, c in zip(ours, theirs, nearby, strict=True):
        if a is None or b is None:
            assert a is None or not a.count_nonzero(), "a gradient where PyTorch has none"
            assert b is None or not b.count_nonzero(), "no gradient where PyTorch has one"
            continue
        assert a.shape == b.shape
        assert a.dtype == b.dtype
        if not b.numel():
            continue
        a, b, c = (x.detach().to_dense() if x.is_sparse else x.detach() for x in (a, b, c))
        if not (b.is_floating_point() or b.is_complex()):
            assert torch.equal(a, b)
            continue
        finite = b[b.isfinite()].abs()
        scale = max(float(finite.max()) if finite.numel() else 0.0, largest)
        atol = factor * (32 + count) * torch.finfo(b.dtype).eps * scale
        moved = (b - c).abs()[b.isfinite() & c.isfinite()]
        atol += factor * (float(moved.max()) if moved.numel() else 0.0)
        torch.testing.assert_close(a, b, rtol=0, atol=atol, equal_nan=True)
