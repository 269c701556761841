"""L = mean (or sum) of l,  l_n = -log Σ_π Π_t exp(x_t,n,π_t)  over all paths π that read as the target of n

Shapes.  x (log-probabilities) (T, N, C); targets (N, S) integers in [0, C), of which the first
``target_lengths`` (N,) count; ``input_lengths`` (N,), at most T, the steps that count; L (), or (N,) for
reduction "none".

Forward.  A path names a class or a blank at each step; it reads as the target once repetitions are merged
and blanks left out. With blanks put around and between its classes a target of S classes is z, of 2S + 1
symbols, and a path moves through z by 0, 1 or 2 places a step; 2 only over a blank between different
classes. Let α_t(s) be the log of the sum over all beginnings that are at place s at step t:
    α_0(s) = x_0(z_s) for s = 0, 1;    α_t(s) = x_t(z_s) + log Σ_{s' → s} exp α_{t-1}(s')
and the paths may end at the last two places: log p = log Σ_{s = 2S - 1, 2S} exp α_{T-1}(s), l = -log p.
The mean divides l_n by the length of its target (at least 1) first. The largest x_t(z_s) of each step is
taken out before, and added to log p in the end: α then stays small, and its rounding error with it.

Chain rule.  β_t(s) is the same sum over all ends, from step t + 1 on:
    β_{T-1}(s) = 0 for the last two places;    β_t(s) = log Σ_{s → s'} exp(x_{t+1}(z_s') + β_{t+1}(s'))
All paths that are at place s at step t have together α_t(s) + β_t(s), and each contains the factor
exp(x_t(z_s)) once. A product's derivative by the logarithm of one factor is the product itself, so
    ∂log p/∂x_t(k) = Σ_{s: z_s = k} exp(α_t(s) + β_t(s) - log p) = γ_t(k),
the probability, given the target, that the path is at class k at step t.

Result.  dx_t,n(k) = -γ_t,n(k) dl_n, and 0 beyond the input's length. dL is what arrives (``dy`` in the code);
dl_n = dL / (N max(S_n, 1)) for the mean, dL for the sum and "none". Where no path fits (p = 0) l is infinite
and dx is NaN; with ``zero_infinity`` both are 0.

PyTorch's own backward gives exp(x) - γ: not the derivative of its forward pass, but what leaves a log_softmax
that stands before it. Σ_k γ_k = 1, so both give the same behind one.

Kinks: none.
Errors: shapes that do not fit, lengths out of range, a class or blank out of range, an unknown reduction.
Source: Graves et al., Connectionist Temporal Classification (2006), section 4; PyTorch documentation,
torch.nn.CTCLoss.
"""

from math import inf, nan

from handgrad._arrays import cast, namespace
from handgrad._cases import case, labels, normal
from handgrad._derivation import register
from handgrad._errors import require
from handgrad._primitives import scatter, wide_sum
from handgrad._primitives_losses import constant, log_add_exp, log_sum_exp
from handgrad.derivations._losses import reduce, require_values, spread

_NONE = -1e30  # the logarithm of a probability of 0: finite, so that no difference of two is NaN


def forward(x, targets, input_lengths, target_lengths, *, blank=0, reduction="mean", zero_infinity=False):
    xp = namespace(x)
    _check(x, targets, input_lengths, target_lengths, blank)
    z, skip = _places(x, targets, target_lengths, blank)
    emitted, taken = _emitted(x, z)
    alpha = _alphas(emitted, skip)
    log_p = _log_likelihood(alpha, input_lengths, target_lengths)
    impossible = log_p < _NONE / 2
    counts = xp.arange(x.shape[0], device=x.device)[:, None] < input_lengths
    taken = wide_sum(xp.where(counts, taken, 0), (0,))[0, ...]
    loss = cast(-(cast(log_p, taken.dtype) + taken), x.dtype)
    loss = xp.where(impossible, 0 if zero_infinity else inf, loss)
    if reduction == "mean":
        loss = loss / _length(target_lengths, x)
    return reduce(loss, reduction), (x, targets, input_lengths, target_lengths, alpha, log_p)


def backward(dy, residuals, *, blank=0, reduction="mean", zero_infinity=False):
    x, targets, input_lengths, target_lengths, alpha, log_p = residuals
    xp = namespace(dy)
    z, skip = _places(x, targets, target_lengths, blank)
    beta = _betas(_emitted(x, z)[0], skip, input_lengths, target_lengths)
    dl = spread(dy, log_p.shape, reduction)
    if reduction == "mean":
        dl = dl / _length(target_lengths, x)
    impossible = log_p < _NONE / 2
    dl = xp.expand_dims(xp.where(impossible, 0 if zero_infinity else nan, dl), axis=-1)
    log_p = xp.expand_dims(xp.where(impossible, 0, log_p), axis=-1)
    gamma = xp.exp(alpha + beta - log_p)
    return scatter(-gamma * dl, xp.broadcast_to(z, gamma.shape), x.shape[-1])


# --- places -----------------------------------------------------------------------------


def _places(x, targets, target_lengths, blank):
    """z (N, 2S + 1), and 0 where a path may come from two places before, else log 0."""
    xp = namespace(x)
    n, length = targets.shape
    steps = xp.arange(length, dtype=xp.int64, device=x.device)
    t = xp.where(steps < xp.expand_dims(target_lengths, axis=-1), cast(targets, xp.int64), blank)
    blanks = xp.full((n, length), blank, dtype=xp.int64, device=x.device)
    last = xp.full((n, 1), blank, dtype=xp.int64, device=x.device)
    z = xp.concat([xp.reshape(xp.stack([blanks, t], axis=-1), (n, 2 * length)), last], axis=-1)
    two_before = xp.concat([last, last, z], axis=-1)[:, :-2]
    may_skip = (z != blank) & (z != two_before)
    return z, xp.where(may_skip, 0, xp.full(z.shape, _NONE, dtype=x.dtype, device=x.device))


def _emitted(x, z):
    """x_t(z_s) less the largest of its step (T, N, 2S + 1), and these (T, N).

    What is taken from a step is taken from every path: it cancels in γ, and the sums stay small and exact.
    """
    xp = namespace(x)
    places = xp.broadcast_to(z, (x.shape[0], *z.shape))
    e = xp.take_along_axis(x, places, axis=-1)
    e = xp.where(e < _NONE, _NONE, e)
    largest = constant(xp.max(e, axis=-1, keepdims=True))
    largest = xp.where(largest < _NONE / 2, 0, largest)
    return e - largest, xp.squeeze(largest, axis=-1)


def _is_last(z_size, target_lengths):
    """Where a path may end, (N, 2S + 1): the last blank, and the class before."""
    xp = namespace(target_lengths)
    s = xp.arange(z_size, dtype=xp.int64, device=target_lengths.device)
    end = xp.expand_dims(2 * cast(target_lengths, xp.int64), axis=-1)
    return (s == end) | (s == end - 1)


# --- the two recursions -----------------------------------------------------------------


def _alphas(emitted, skip):
    """α, (T, N, 2S + 1)."""
    xp = namespace(emitted)
    _, n, places = emitted.shape
    none = xp.full((n, 2), _NONE, dtype=skip.dtype, device=skip.device)
    begins = xp.arange(places, device=skip.device) < 2
    found = []
    for t in range(emitted.shape[0]):
        e = emitted[t, ...]
        if not found:
            found.append(xp.where(begins, e, _NONE))
            continue
        before = xp.concat([none, found[-1]], axis=-1)
        two = log_add_exp(before[:, 2:], before[:, 1:-1])
        found.append(e + log_add_exp(two, before[:, :-2] + skip))
    return xp.stack(found)


def _betas(emitted, skip, input_lengths, target_lengths):
    """β, (T, N, 2S + 1); log 0 beyond the input's length."""
    xp = namespace(emitted)
    steps, n, places = emitted.shape
    none = xp.full((n, 2), _NONE, dtype=skip.dtype, device=skip.device)
    ends = xp.where(_is_last(places, target_lengths), 0, none[:, :1])
    last_step = xp.expand_dims(input_lengths, axis=-1) - 1
    beta = xp.broadcast_to(none[:, :1], (n, places))
    found = []
    for t in reversed(range(steps)):
        if found:
            onward = emitted[t + 1, ...] + found[-1]
            stay = xp.concat([onward, none], axis=-1)
            jump = xp.concat([onward + skip, none], axis=-1)
            beta = log_add_exp(log_add_exp(stay[:, :-2], stay[:, 1:-1]), jump[:, 2:])
        found.append(xp.where(last_step == t, ends, beta))
    return xp.stack(found[::-1])


def _log_likelihood(alpha, input_lengths, target_lengths):
    """log p of each target, (N,)."""
    xp = namespace(alpha)
    _, n, places = alpha.shape
    at = xp.where(input_lengths > 0, cast(input_lengths, xp.int64) - 1, 0)
    at = xp.broadcast_to(xp.reshape(at, (1, n, 1)), (1, n, places))
    final = xp.take_along_axis(alpha, at, axis=0)[0, ...]
    of_ends = xp.where(_is_last(places, target_lengths), final, _NONE)
    log_p = log_sum_exp(of_ends, 1)
    # no step at all reads as the empty target, and as no other
    return xp.where(input_lengths > 0, log_p, xp.where(target_lengths > 0, _NONE, 0 * log_p))


def _length(target_lengths, x):
    """max(S_n, 1), in the dtype of x."""
    xp = namespace(x)
    return cast(xp.where(target_lengths > 0, target_lengths, 1), x.dtype)


def _check(x, targets, input_lengths, target_lengths, blank):
    shapes = tuple(tuple(a.shape) for a in (x, targets, input_lengths, target_lengths))
    n = x.shape[1] if x.ndim == 3 else -1
    require(
        x.ndim == 3 and targets.ndim == 2 and targets.shape[0] == n and shapes[2:] == ((n,), (n,)),
        "ctc_loss needs log-probabilities (T, N, C), targets (N, S) and two lengths (N,)",
        shapes,
        "reshape them",
    )
    require(
        0 <= blank < x.shape[-1],
        f"blank must be from 0 to {x.shape[-1] - 1}",
        blank,
        "choose a class in that range",
    )
    for name, lengths, most in (
        ("input_lengths", input_lengths, x.shape[0]),
        ("target_lengths", target_lengths, targets.shape[1]),
    ):
        require_values(
            (lengths >= 0) & (lengths <= most),
            f"{name} must be from 0 to {most}",
            lambda lengths=lengths: str(lengths),
            "correct them",
        )


def reference(torch, x, targets, input_lengths, target_lengths, *, reduction="mean", **options):
    """PyTorch's loss of log_softmax(x), where its gradient is right. By what each step was divided there, its
    logarithm Σ_k exp(x_t(k)), the probability of every path is smaller, whichever it is."""
    lengths, loss = (input_lengths, target_lengths), torch.nn.functional.ctc_loss
    of_softmax = loss(torch.log_softmax(x, -1), targets, *lengths, reduction="none", **options)
    counts = torch.arange(x.shape[0])[:, None] < input_lengths
    taken = torch.where(counts, torch.logsumexp(x, -1), 0).sum(0)
    options["zero_infinity"] = False
    found = loss(x.detach(), targets, *lengths, reduction="none", **options).isfinite()
    each = of_softmax - torch.where(found, taken, 0)
    return reduce(each / target_lengths.clamp(min=1) if reduction == "mean" else each, reduction)


_TARGETS, _OF_BLANK_3 = labels([[1, 2, 2], [3, 1, 0], [1, 0, 0]]), labels([[1, 2, 2], [0, 1, 0], [1, 0, 0]])
_STEPS, _LENGTHS = labels([6, 5, 6]), labels([3, 2, 1])

register(
    forward,
    backward,
    torch="torch.nn.functional.ctc_loss",
    reference=reference,
    composed=True,
    differentiable=("x",),
    autocast="loss",
    cases=[
        case("mean", normal(6, 3, 4, mean=-1.5), _TARGETS, _STEPS, _LENGTHS),
        case("sum", normal(6, 3, 4, mean=-1.5), _TARGETS, _STEPS, _LENGTHS, reduction="sum"),
        case("none", normal(6, 3, 4, mean=-1.5), _TARGETS, _STEPS, _LENGTHS, reduction="none"),
        case("another blank", normal(6, 3, 4), _OF_BLANK_3, _STEPS, _LENGTHS, blank=3),
        case("empty targets", normal(4, 2, 3), labels([[1], [2]]), labels([4, 2]), labels([0, 0])),
        case(
            "no path fits",
            normal(2, 2, 3),
            labels([[1, 1, 2], [1, 2, 0]]),
            labels([2, 2]),
            labels([3, 2]),
            reduction="none",
            zero_infinity=True,
        ),
    ],
)
