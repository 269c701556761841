"""L = cross_entropy(z, t),  z = x Aᵀ + b,  a few rows of z at a time

Shapes.  x (D,) or (N, D); A (``weight``: C, d1, ..., D) and b (``bias``: C, d1, ..., or absent); z (C,) or
(N, C, d1, ...); t and the weights of the classes w as in ``cross_entropy``, which says what they mean; L (),
or the shape of z without C for reduction "none".

Forward.  z is large where C is a vocabulary, and L needs each row of it once. So ``chunk`` rows of x at a
time go through the two layers, and only their losses are kept; without ``chunk`` all rows at once.

Chain rule.  L = Σ_n l_n / W, and row n of z goes into l_n alone. ``cross_entropy`` derives dz_n from dl_n,
and the linear layer passes it on:
    dx_n = dz_n A,    dA = Σ_n dz_nᵀ x_n,    db = Σ_n dz_n
The sums over n run over the chunks. The division by W (for the mean) is made at the end, once all rows have
shown how large W is. z itself is computed a second time: keeping it would take the memory that chunks save.

Result.  dx, dA, db as above, dt and dw as ``cross_entropy`` has them.

Kinks: none.
Errors: those of ``cross_entropy``, and shapes that do not fit.
Source: Wijmans et al., Cut Your Losses in Large-Vocabulary Language Models (2025); PyTorch documentation,
torch.nn.LinearCrossEntropyLoss.
"""

from handgrad._arrays import namespace, size
from handgrad._cases import case, integers, normal, simplex, uniform
from handgrad._derivation import register
from handgrad._errors import require
from handgrad.derivations import cross_entropy
from handgrad.derivations._losses import nonzero, reduce


def forward(
    x,
    weight,
    t,
    bias=None,
    w=None,
    *,
    ignore_index=-100,
    label_smoothing=0.0,
    reduction="mean",
    chunk=None,
):
    _check(x, weight, bias)
    xp = namespace(x)
    options = {"ignore_index": ignore_index, "label_smoothing": label_smoothing}
    parts, total = [], 0
    for rows, targets in _chunks(x, t, chunk):
        part, (*_, of_part, _) = cross_entropy.forward(
            _logits(rows, weight, bias), targets, w, reduction="none", **options
        )
        parts.append(part)
        total = total + of_part
    loss = xp.concat(parts, axis=0)
    return reduce(loss if x.ndim > 1 else loss[0, ...], reduction, total), (x, weight, t, bias, w)


def backward(
    dy,
    residuals,
    needs,
    *,
    ignore_index=-100,
    label_smoothing=0.0,
    reduction="mean",
    chunk=None,
):
    x, weight, t, bias, w = residuals
    xp = namespace(dy)
    options = {"ignore_index": ignore_index, "label_smoothing": label_smoothing, "reduction": "none"}
    matrix = _as_matrix(weight)
    dx, dt, sums, total, counts, start = [], [], None, 0, None, 0
    for rows, targets in _chunks(x, t, chunk):
        z = _logits(rows, weight, bias)
        part, saved = cross_entropy.forward(z, targets, w, **options)
        stop = start + rows.shape[0]
        dl = dy[start:stop, ...] if reduction == "none" and x.ndim > 1 else xp.broadcast_to(dy, part.shape)
        dz, dt_part, dw = cross_entropy.backward(
            dl, saved, (True, needs[2], w is not None and needs[4]), **options
        )
        dz = xp.reshape(dz, (rows.shape[0], matrix.shape[0]))
        dx.append(dz @ matrix if needs[0] else None)
        dt.append(dt_part)
        found = (
            dz.mT @ rows if needs[1] else None,
            xp.sum(dz, axis=0) if bias is not None and needs[3] else None,
            dw,
        )
        sums = found if sums is None else tuple(map(_add, sums, found))
        total, counts, start = total + saved[5], _add(counts, cross_entropy.counts(saved, ignore_index)), stop
    d_weight, d_bias, dw = sums
    gradients = [
        None if dx[0] is None else xp.reshape(xp.concat(dx, axis=0), x.shape),
        None if d_weight is None else xp.reshape(d_weight, weight.shape),
        None if dt[0] is None else xp.reshape(xp.concat(dt, axis=0), t.shape),
        None if d_bias is None else xp.reshape(d_bias, bias.shape),
        dw,
    ]
    if reduction == "mean":
        gradients = [None if g is None else g / nonzero(total) for g in gradients]
        if dw is not None and counts is not None:
            gradients[4] = cross_entropy.of_quotient(gradients[4], w, counts, total)
    return tuple(gradients)


def _add(a, b):
    """a + b, where both may be absent, or a not be there yet."""
    return b if a is None else a if b is None else a + b


def _chunks(x, t, chunk):
    """Rows of x and their targets, a few at a time; a single sample is one row."""
    xp = namespace(x)
    if x.ndim == 1:
        return [(xp.expand_dims(x, axis=0), xp.expand_dims(t, axis=0))]
    n = x.shape[0]
    if chunk is None or chunk >= n:
        return [(x, t)]
    return [(x[i : min(i + chunk, n), ...], t[i : min(i + chunk, n), ...]) for i in range(0, n, chunk)]


def _as_matrix(weight):
    """(C, d1, ..., D) -> (C d1 ..., D)."""
    return namespace(weight).reshape(weight, (size(weight.shape[:-1]), weight.shape[-1]))


def _logits(rows, weight, bias):
    """z of a few rows: (n, C, d1, ...)."""
    xp = namespace(rows)
    z = xp.reshape(rows @ _as_matrix(weight).mT, (rows.shape[0], *weight.shape[:-1]))
    return z if bias is None else z + bias


def _check(x, weight, bias):
    require(
        x.ndim in (1, 2) and weight.ndim >= 2 and x.shape[-1] == weight.shape[-1],
        "linear_cross_entropy needs an input (D,) or (N, D) and a linear weight (C, ..., D)",
        f"input {tuple(x.shape)} and linear weight {tuple(weight.shape)}",
        "reshape them",
    )
    require(
        weight.ndim == 2 or x.ndim == 2,
        "a linear weight of more than two axes needs a batch of inputs (N, D)",
        f"input {tuple(x.shape)} and linear weight {tuple(weight.shape)}",
        "add the axis of the batch",
    )
    require(
        bias is None or tuple(bias.shape) == tuple(weight.shape[:-1]),
        "the bias must have the shape of the linear weight without its last axis",
        f"bias {None if bias is None else tuple(bias.shape)} and linear weight {tuple(weight.shape)}",
        "reshape the bias",
    )


def reference(torch, x, weight, t, bias=None, w=None, *, ignore_index=-100, **options):
    """PyTorch's linear_cross_entropy, all rows at once; a class to ignore is for class indices alone."""
    options.pop("chunk", None)
    if not t.is_floating_point():
        options["ignore_index"] = ignore_index
    if w is None or not w.requires_grad or t.is_floating_point():
        f = torch.nn.functional.linear_cross_entropy
        return f(x, weight, t, linear_bias=bias, weight=w, **options)
    z = (x @ weight.flatten(0, -2).mT).reshape(*x.shape[:-1], *weight.shape[:-1])
    return cross_entropy.reference(torch, z if bias is None else z + bias, t, w, **options)


register(
    forward,
    backward,
    torch="torch.nn.functional.linear_cross_entropy",
    reference=reference,
    composed=True,
    autocast="loss",
    cases=[
        case("mean", normal(5, 3), normal(4, 3), integers(5, high=4)),
        case("sum, chunks", normal(5, 3), normal(4, 3), integers(5, high=4), reduction="sum", chunk=2),
        case(
            "none, chunks",
            normal(5, 3),
            normal(4, 3),
            integers(5, high=4),
            normal(4),
            reduction="none",
            chunk=2,
        ),
        case(
            "chunks, ignored",
            normal(9, 3),
            normal(4, 3),
            integers(9, high=4),
            normal(4),
            ignore_index=1,
            chunk=4,
        ),
        case("probabilities", normal(5, 3), normal(4, 3), simplex(5, 4), normal(4), label_smoothing=0.1),
        case(
            "weights, chunks",
            normal(9, 3),
            normal(4, 3),
            integers(9, high=4),
            None,
            uniform(4, low=0.2),
            chunk=2,
        ),
        case(
            "images", normal(2, 3), normal(4, 2, 3), integers(2, 2, high=4), normal(4, 2), uniform(4, low=0.2)
        ),
        case("one sample", normal(3), normal(4, 3), integers(high=4), normal(4), reduction="none"),
    ],
)
