"""L = mean (or sum) of l,  l_n = -Σ_c w_c p_nc log q_nc,  q_nc = exp(x_nc) / Σ_k exp(x_nk)

Shapes.  x (logits) (C,) or (N, C, d1, ...). t is either class indices, integers in [0, C) of that
shape without C; or class probabilities, floats of the shape of x. w (weight of each class) (C,) or
absent (1). L (), or the shape of x without C for reduction "none": then the l_n themselves. Below, n
counts all targets; c and k count classes.

Forward.  log q is the stable log_softmax. p is t itself, or 1 at the class t_n and 0 elsewhere;
label smoothing ε in [0, 1] mixes it with the uniform distribution, p ← (1 - ε) p + ε/C; and p is 0
for a target equal to ``ignore_index``. The mean is Σ_n l_n / W. For class indices W = Σ_n w[t_n] over the
targets not ignored (without w: their number); for probabilities W is the number of targets, whatever w.

Chain rule.  For one target (n left out), with ∂ log q_c/∂x_k = [c = k] - q_k as ``log_softmax`` derives
it, where [c = k] is 1 if c = k, else 0:
    ∂l/∂x_k = -Σ_c w_c p_c ([c = k] - q_k) = q_k Σ_c w_c p_c - w_k p_k
    ∂l/∂t_c = -(1 - ε) w_c log q_c      for probabilities, where ∂p_c/∂t_c = 1 - ε
    ∂l/∂w_c = -p_c log q_c
For indices and the mean, W depends on w as well: with m_c targets of class c, W = Σ_c w_c m_c. By the
quotient rule for L = S/W, S = Σ_n l_n,
    ∂L/∂w_c = ∂S/∂w_c / W - S/W² ∂W/∂w_c = Σ_n ∂l_n/∂w_c / W - m_c L/W

Result.  dL is what arrives (``dy`` in the code). Each l_n gets dl_n = dL/W for the mean, dL for the sum,
dL_n for "none", and 0 where ignored. Then
    dx = (q Σ_c w_c p_c - w p) dl      without w and where Σ_c p_c = 1: "softmax minus target", (q - p) dl
    dt = -(1 - ε) w log q dl           for probabilities
    dw_c = -Σ_n p_nc log q_nc dl_n     less m_c L dL/W for indices and the mean

Kinks: none.  A logit of -∞ gives log q = -∞: 0 · -∞ counts as 0 for indices, and is NaN for probabilities,
as in PyTorch. Where no target is left (all ignored, no batch) the mean is 0/0, NaN, and dx is 0.
Errors: shapes that do not fit, a class out of range, ignore_index with probabilities, label smoothing
outside [0, 1], an unknown reduction.
Source: PyTorch documentation, torch.nn.CrossEntropyLoss; label smoothing: Szegedy et al., Rethinking
the Inception Architecture (2016), section 7.
"""

from handgrad._arrays import cast, is_floating, namespace, size
from handgrad._cases import case, exactly, integers, normal, simplex, uniform
from handgrad._derivation import register
from handgrad._errors import require
from handgrad._primitives import gather, scatter, take_rows
from handgrad.derivations import log_softmax
from handgrad.derivations._losses import (
    REDUCTIONS,
    add_at_class,
    along_classes,
    class_axis,
    class_targets,
    draw_ignore_index,
    is_class,
    nonzero,
    reduce,
    require_class_probabilities,
    spread,
)


def forward(x, t, w=None, *, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
    xp = namespace(x)
    axis = class_axis(x)
    log_q, _ = log_softmax.forward(x, dim=axis)
    if not is_floating(t) and not label_smoothing:
        class_targets(t, x, ignore_index)  # checks t
        return _of_indices(log_q, t, w, ignore_index, reduction)
    p, keep, count = _distribution(x, t, ignore_index, label_smoothing)
    weights = 1 if w is None else along_classes(w, x)
    if keep is None:  # probabilities
        terms = -p * log_q
        total = size(x.shape[:axis] + x.shape[axis + 1 :])  # W
    else:  # an impossible class (log q = -inf) costs nothing where p is 0
        terms = -p * xp.where(p == 0, 0, log_q)
        total = xp.sum(weights * count)
    loss = xp.sum(weights * terms, axis=axis)
    return reduce(loss, reduction, total), (log_q, p, None if w is None else terms, keep, count, total, w)


def _of_indices(log_q, t, w, ignore_index, reduction):
    """The same where p is 1 at one class: l_n = -w_c log q_nc at c = t_n, and p is not built."""
    xp = namespace(log_q)
    axis = class_axis(log_q)
    index, keep = _kept(t, ignore_index)
    terms = xp.where(keep, -gather(log_q, index, axis), 0)
    if w is not None:
        along_classes(w, log_q)  # checks w
    weights = _of_targets(w, index, keep, log_q)
    total = xp.sum(weights)
    residuals = (log_q, t, None if w is None else terms, None, None, total, w)
    return reduce(terms if w is None else weights * terms, reduction, total), residuals


def backward(dy, residuals, needs, *, ignore_index=-100, label_smoothing=0.0, reduction="mean"):
    # needs: which gradients are wanted
    log_q, p, terms, keep, count, total, w = residuals
    xp = namespace(dy)
    axis = class_axis(log_q)
    dl = spread(dy, log_q.shape[:axis] + log_q.shape[axis + 1 :], reduction, total)
    if not is_floating(p):
        return _back_to_indices(dl, residuals, needs, ignore_index, reduction)
    dl = dl if keep is None else xp.where(keep, dl, 0)
    weights = 1 if w is None else along_classes(w, log_q)
    dl = xp.expand_dims(dl, axis=axis)

    wp = weights * p
    dx = (xp.exp(log_q) * xp.sum(wp, axis=axis, keepdims=True) - wp) * dl
    dt = dw = None
    if keep is None and needs[1]:
        dt = -(1 - label_smoothing) * weights * log_q * dl
    if w is not None and needs[2]:
        dw = _over_targets(terms * dl)
        if keep is not None and reduction == "mean":
            dw = of_quotient(dw, w, count, total)
    return dx, dt, dw


def _back_to_indices(dl, residuals, needs, ignore_index, reduction):
    """dx = q w_t dl, less w_t dl at the class t; dw likewise."""
    log_q, t, terms, _, _, total, w = residuals
    xp = namespace(dl)
    index, keep = _kept(t, ignore_index)
    dl = xp.where(keep, dl, 0)
    w_dl = _of_targets(w, index, keep, log_q) * dl
    dx = xp.exp(log_q) * xp.expand_dims(w_dl, axis=class_axis(log_q))
    dx = add_at_class(dx, -w_dl, index)
    if w is None or not needs[2]:
        return dx, None, None
    dw = of_each_class(terms * dl, index, w)
    if reduction == "mean":
        dw = of_quotient(dw, w, counts(residuals, ignore_index), total)
    return dx, None, dw


def counts(residuals, ignore_index):
    """m_c, the number of targets of each class; None for probabilities and without w."""
    _, p, _, _, count, _, w = residuals
    if w is None or is_floating(p):
        return count
    index, keep = _kept(p, ignore_index)
    return of_each_class(cast(keep, w.dtype), index, w)


def _kept(t, ignore_index):
    """The class of each target, 0 standing in where it is ignored; and where it is not."""
    xp = namespace(t)
    keep = t != ignore_index
    return xp.where(keep, cast(t, xp.int64), 0), keep


def _of_targets(w, index, keep, like):
    """The weight of each target, 0 where it is ignored."""
    if w is None:
        return cast(keep, like.dtype)
    xp = namespace(w)
    return xp.where(keep, xp.reshape(take_rows(w, xp.reshape(index, (-1,))), index.shape), 0)


def of_each_class(values, index, w):
    """(C,), the values of the targets of each class added up."""
    xp = namespace(values)
    return scatter(xp.reshape(values, (-1,)), xp.reshape(index, (-1,)), w.shape[0])


def of_quotient(dw, w, count, total):
    """dw of L = S/W, from ∂S/∂w dL/W: less m_c L dL/W.  S is Σ_c w_c ∂S/∂w_c, so Σ_c w_c dw_c is L dL."""
    xp = namespace(dw)
    return dw - xp.reshape(count, dw.shape) * (xp.sum(w * dw) / nonzero(total))


def _distribution(x, t, ignore_index, label_smoothing):
    """p; and for class indices (else None) which targets are kept, and m_c, shaped to multiply x."""
    axis = class_axis(x)
    n = x.shape[axis]
    require(
        0 <= label_smoothing <= 1,
        "label_smoothing must be between 0 and 1",
        label_smoothing,
        "choose it in that range",
    )
    if is_floating(t):
        require_class_probabilities(t, x, ignore_index)
        return (1 - label_smoothing) * t + label_smoothing / n, None, None
    index, keep = class_targets(t, x, ignore_index)
    p = cast(is_class(index, keep, n, axis), x.dtype)  # one-hot, and 0 where ignored
    count = along_classes(_over_targets(p), x)
    if label_smoothing:
        smoothed = (1 - label_smoothing) * p + label_smoothing / n
        p = namespace(p).where(namespace(keep).expand_dims(keep, axis=axis), smoothed, 0)
    return p, keep, count


def _over_targets(a):
    """(N, C, d1, ...) -> (C,), the sum over all targets."""
    axis = class_axis(a)
    return namespace(a).sum(a, axis=tuple(i for i in range(a.ndim) if i != axis))


def reference(torch, x, t, w=None, **options):
    """PyTorch's cross_entropy. For indices it gives no gradient of w: there by the loss of one-hot
    probabilities, which has one, and the mean as the documentation defines it."""
    cross_entropy = torch.nn.functional.cross_entropy
    if w is None or t.is_floating_point() or not w.requires_grad:
        return cross_entropy(x, t, weight=w, **options)
    keep = t != options.pop("ignore_index", -100)
    index = torch.where(keep, t, 0)
    axis = min(1, x.ndim - 1)
    hot = torch.nn.functional.one_hot(index, x.shape[axis]).movedim(-1, axis).to(x.dtype)
    reduction = options.pop("reduction", "mean")
    loss = torch.where(keep, cross_entropy(x, hot, weight=w, reduction="none", **options), 0)
    if reduction == "none":
        return loss
    return loss.sum() if reduction == "sum" else loss.sum() / torch.where(keep, w[index], 0).sum()


def fit(rng, shape):
    """On any value with an axis of classes: indices or probabilities, with every option."""
    if not shape or 0 in shape:
        return None
    axis = min(1, len(shape) - 1)
    classes, kept = shape[axis], shape[:axis] + shape[axis + 1 :]
    reduction = str(rng.choice(REDUCTIONS))
    w = uniform(classes, low=0.2, high=2.0) if rng.integers(2) else None
    options = {"reduction": reduction, "label_smoothing": float(rng.choice([0.0, 0.1, 0.5, 1.0]))}
    if rng.integers(2):
        t = simplex(*shape, axis=axis)
    else:
        t = integers(*kept, high=classes)
        options["ignore_index"] = draw_ignore_index(rng, classes, kept, reduction)
    return case("fit", normal(*shape), t, w, **options)


register(
    forward,
    backward,
    torch="torch.nn.functional.cross_entropy",
    reference=reference,
    autocast="loss",
    fit=fit,
    cases=[
        case("mean", normal(5, 4), integers(5, high=4)),
        case("sum", normal(5, 4), integers(5, high=4), reduction="sum"),
        case("none", normal(5, 4), integers(5, high=4), reduction="none"),
        case("weights", normal(5, 4), integers(5, high=4), uniform(4, low=0.2)),
        case("weights, sum", normal(5, 4), integers(5, high=4), uniform(4, low=0.2), reduction="sum"),
        case("ignored", normal(9, 3), integers(9, high=3), ignore_index=1),
        case("smoothing", normal(5, 4), integers(5, high=4), label_smoothing=0.1),
        case(
            "weights, ignored and smoothing",
            normal(9, 3),
            integers(9, high=3),
            uniform(3, low=0.2),
            ignore_index=2,
            label_smoothing=0.3,
        ),
        case(
            "weights, ignored and smoothing, none",
            normal(9, 3),
            integers(9, high=3),
            uniform(3, low=0.2),
            ignore_index=2,
            label_smoothing=0.3,
            reduction="none",
        ),
        case("unbatched", normal(4), integers(high=4), uniform(4, low=0.2), label_smoothing=0.1),
        case("images", normal(2, 4, 3, 2), integers(2, 3, 2, high=4), uniform(4, low=0.2), ignore_index=2),
        case("images, none", normal(2, 4, 3), integers(2, 3, high=4), reduction="none"),
        case("all ignored, sum", normal(3, 4), integers(3, low=-100, high=-99), reduction="sum"),
        case(
            "all ignored, mean",
            normal(3, 4),
            integers(3, low=-100, high=-99),
            kink=True,
            label_smoothing=0.1,
        ),
        case("no batch, sum", normal(0, 4), integers(0, high=4), reduction="sum"),
        case("no batch, mean", normal(0, 4), integers(0, high=4), kink=True),
        case("probabilities", normal(5, 4), simplex(5, 4)),
        case("probabilities, sum", normal(5, 4), simplex(5, 4), reduction="sum"),
        case("probabilities, none", normal(5, 4), simplex(5, 4), uniform(4, low=0.2), reduction="none"),
        case("probabilities, weights", normal(5, 4), simplex(5, 4), uniform(4, low=0.2), label_smoothing=0.1),
        case("probabilities, unbatched", normal(4), simplex(4), uniform(4, low=0.2)),
        case("probabilities, images", normal(2, 4, 3), simplex(2, 4, 3, axis=1), uniform(4, low=0.2)),
        case("probabilities that sum to more", normal(5, 4), uniform(5, 4, high=2.0)),
        case("extreme logits", exactly([[1e3, -1e3, 0.0], [-1e3, 1e3, 999.0]]), integers(2, high=3)),
        case("equal logits", exactly([[0.0, 0.0, 0.0], [7.0, 7.0, 7.0]]), integers(2, high=3)),
    ],
)
