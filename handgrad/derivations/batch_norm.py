"""y = w x̂ + b,  x̂ = (x - μ) / sqrt(σ² + ε),  μ and σ² the mean and variance of each channel

Shapes.  x and y (N, C, ...); running_mean, running_var, w and b (C,). w and b may be absent (1 and
0), the running statistics too (both) in training. M is the number of elements of one channel.

Forward.  Training: μ and σ² are those of the batch, over all axes but C, in two passes as in layer
norm; σ² divides by M. Evaluation: μ and σ² are the running statistics.
There are three outputs: y and the *new* running statistics (nothing is changed in place). In training
    running_mean ← (1 - momentum) running_mean + momentum μ
    running_var  ← (1 - momentum) running_var  + momentum σ² M/(M - 1)      the unbiased variance
or, where none are given, just μ and σ² M/(M - 1). In evaluation, and for an empty batch, the given
ones come back as they were.

Chain rule.  dy is ∂L/∂y, and r = 1/sqrt(σ² + ε). From y = w x̂ + b,  dx̂ = w dy.
Evaluation: μ and σ² are constants, x̂ = (x - μ) r is linear in x, so dx = r dx̂.
Training: x_k reaches every x̂_i of its channel in three ways: directly (only i = k), through μ and
through σ². This is layer norm with i and k over the M elements of one channel instead of the D
elements of one row; ``layer_norm`` derives it step by step:
    ∂x̂_i/∂x_k = r ([i = k] - 1/M - x̂_i x̂_k/M)
    dx_k = Σ_i dx̂_i ∂x̂_i/∂x_k = r (dx̂_k - Σ_i dx̂_i/M - x̂_k Σ_i dx̂_i x̂_i/M)

Result.  dx = r (dx̂ - mean(dx̂) - x̂ mean(dx̂ x̂)) in training, the means over all axes but C; r dx̂ in
evaluation. dw = Σ dy x̂ and db = Σ dy over all axes but C. The running statistics, in and out, have
no gradient, as in PyTorch.

Several processes, each with a part of the batch (SyncBatchNorm).  ``across`` adds an array up over them. The
M elements of a channel are then those of all parts: Σ x, Σ (x - μ)², M, and in backward Σ dx̂ and Σ dx̂ x̂ are
added up, for x_k reaches the x̂_i of every part through μ and σ². dw and db stay the sums over one part,
which who trains on several processes adds up for every parameter.

Kinks: none (ε > 0).
Errors: fewer than two axes, parameters not of shape (C,), one running statistic without the other,
evaluation without them, one element for each channel in training, ε ≤ 0 in training or < 0.
Source: Ioffe and Szegedy, Batch Normalization (2015), section 3 and algorithm 1; PyTorch documentation,
torch.nn.BatchNorm1d.
"""

from handgrad._arrays import size
from handgrad._cases import case, normal, uniform
from handgrad._derivation import register
from handgrad._errors import require
from handgrad.derivations._norms import (
    all_but_channels,
    channel_norm,
    channel_norm_vjp,
    count,
    require_channel_norm,
)


def forward(
    x,
    running_mean=None,
    running_var=None,
    w=None,
    b=None,
    *,
    training=False,
    momentum=0.1,
    eps=1e-5,
    across=None,
):
    require_channel_norm("batch_norm", x, running_mean, running_var, (w, b), training)
    require(
        not training or across is not None or count(x, all_but_channels(x)) != 1,
        "Expected more than 1 value per channel when training",
        f"input size {tuple(x.shape)}",
        "give a larger batch",
    )
    require(
        eps > 0 or (eps == 0 and not training),
        f"batch_norm eps must be {'positive during training' if training else 'non-negative'}",
        eps,
        "give a small positive number",
    )
    axes, options = (
        all_but_channels(x),
        {"of_input": training, "momentum": momentum, "eps": eps, "across": across},
    )
    return channel_norm(x, running_mean, running_var, w, b, axes, **options)


def backward(dy, residuals, *, training=False, across=None, **_):
    dy, *_ = dy  # one for each output; the running statistics have none
    return channel_norm_vjp(dy, residuals, all_but_channels(dy), training, across)


def reference(torch, x, running_mean=None, running_var=None, w=None, b=None, **options):
    """PyTorch's batch_norm changes the running statistics in place: copies of them."""
    if running_mean is None:  # momentum 1 puts the statistics of the batch there
        options["momentum"] = 1.0
        running_mean, running_var = x.new_zeros(x.shape[1]), x.new_ones(x.shape[1])
    stats = running_mean.clone(), running_var.clone()
    return torch.nn.functional.batch_norm(x, *stats, w, b, **options), *stats


def fit(rng, shape):
    """On any value (N, C, ...) with enough elements in each channel, in training and in evaluation."""
    if len(shape) < 2 or size(shape) // max(shape[1], 1) < 3:
        return None
    c = shape[1]
    training = bool(rng.integers(2))
    tracked = not training or rng.integers(2)
    stats = (normal(c), uniform(c, low=0.5, high=2.0)) if tracked else (None, None)
    w, b = (normal(c, mean=m) if rng.integers(2) else None for m in (1.0, 0.0))
    momentum, eps = float(rng.uniform()), float(rng.choice([1e-5, 1e-3, 0.1]))
    return case("fit", normal(*shape), *stats, w, b, training=training, momentum=momentum, eps=eps)


_MEAN, _VAR = normal(3), uniform(3, low=0.5, high=2.0)

register(
    forward,
    backward,
    torch="torch.nn.functional.batch_norm",
    reference=reference,
    differentiable=("x", "w", "b"),
    outputs=("y", "running_mean", "running_var"),
    constant=("running_mean", "running_var"),
    fit=fit,
    cases=[
        case("training", normal(5, 3), _MEAN, _VAR, normal(3), normal(3), training=True),
        case("training, images", normal(2, 3, 2, 2), _MEAN, _VAR, normal(3), normal(3), training=True),
        case("training, no statistics", normal(5, 3), None, None, normal(3), normal(3), training=True),
        case("training, no weight", normal(4, 3, 2), _MEAN, _VAR, None, None, training=True),
        case("training, bias alone", normal(4, 3, 2), _MEAN, _VAR, None, normal(3), training=True),
        case(
            "training, momentum and eps",
            normal(5, 3, scale=0.1),
            _MEAN,
            _VAR,
            normal(3),
            normal(3),
            training=True,
            momentum=0.7,
            eps=0.1,
        ),
        case(
            "training, large mean",
            normal(8, 3, mean=1000.0, scale=30.0),
            _MEAN,
            _VAR,
            normal(3),
            normal(3),
            training=True,
        ),
        case("training, empty", normal(0, 3), _MEAN, _VAR, normal(3), normal(3), training=True),
        case("evaluation", normal(5, 3), _MEAN, _VAR, normal(3), normal(3)),
        case("evaluation, images", normal(2, 3, 2, 2), _MEAN, _VAR, normal(3), normal(3), eps=0.01),
        case("evaluation, no weight", normal(5, 3), _MEAN, _VAR, None, None),
        case("evaluation, one element", normal(1, 3), _MEAN, _VAR, normal(3), None),
    ],
)
