"""y = w x̂ + b,  x̂ = (x - μ) / sqrt(σ² + ε),  μ and σ² the mean and variance of each channel of each sample

Shapes.  x and y (N, C, ...); running_mean, running_var, w and b (C,). w and b may be absent (1 and 0), the
running statistics too (both) with use_input_stats. M is the number of elements of one channel of one sample.

Forward.  use_input_stats: μ and σ² (N, C) are those of x over all axes but N and C, in two passes as in
layer norm; σ² divides by M. Else μ and σ² are the running statistics: batch norm in evaluation.
There are three outputs: y and the *new* running statistics (nothing is changed in place), which take the
mean over the samples n:
    running_mean ← (1 - momentum) running_mean + momentum Σ_n μ_n/N
    running_var  ← (1 - momentum) running_var  + momentum Σ_n σ²_n/N M/(M - 1)     the unbiased variance
or, where none are given, just what is added there. Without use_input_stats, and for an empty input, the
given ones come back as they were.

Chain rule.  dy is ∂L/∂y. From y = w x̂ + b,  dx̂ = w dy. Each (n, c) is a row by itself, in which x_k reaches
every x̂_i directly (only i = k), through μ and through σ²: layer norm with the M elements of a channel for
the D elements of a row, which ``layer_norm`` derives step by step:
    ∂x̂_i/∂x_k = r ([i = k] - 1/M - x̂_i x̂_k/M),  r = 1/sqrt(σ² + ε)
    dx_k = Σ_i dx̂_i ∂x̂_i/∂x_k = r (dx̂_k - Σ_i dx̂_i/M - x̂_k Σ_i dx̂_i x̂_i/M)
With running statistics x̂ is linear in x, and dx = r dx̂.

Result.  dx = r (dx̂ - mean(dx̂) - x̂ mean(dx̂ x̂)), the means over all axes but N and C; r dx̂ without
use_input_stats. dw = Σ dy x̂ and db = Σ dy over all axes but C. The running statistics, in and out, have
no gradient, as in PyTorch.

Kinks: none (ε > 0; with ε = 0 a channel of equal numbers gives 0/0, NaN).
Errors: fewer than two axes, parameters not of shape (C,), one running statistic without the other, neither
and no use_input_stats, one element for each channel (or no axis for more) with it.
Source: Ulyanov, Vedaldi and Lempitsky, Instance Normalization (2016), section 2; PyTorch documentation,
torch.nn.InstanceNorm1d.
"""

from handgrad._arrays import size
from handgrad._cases import case, normal, uniform
from handgrad._derivation import register
from handgrad._errors import require
from handgrad.derivations._norms import channel_norm, channel_norm_vjp, require_channel_norm


def forward(
    x, running_mean=None, running_var=None, w=None, b=None, *, use_input_stats=True, momentum=0.1, eps=1e-5
):
    require(
        not use_input_stats or size(tuple(x.shape[2:])) != 1,
        "Expected more than 1 spatial element when training",
        f"input size {tuple(x.shape)}",
        "give a larger input",
    )
    require_channel_norm("instance_norm", x, running_mean, running_var, (w, b), use_input_stats)
    options = {"of_input": use_input_stats, "momentum": momentum, "eps": eps}
    return channel_norm(x, running_mean, running_var, w, b, _spatial(x), **options)


def backward(dy, residuals, *, use_input_stats=True, **_):
    dy, *_ = dy  # one for each output; the running statistics have none
    return channel_norm_vjp(dy, residuals, _spatial(dy), use_input_stats)


def _spatial(x):
    """All axes but those of samples and channels."""
    return tuple(range(2, x.ndim))


def reference(torch, x, running_mean=None, running_var=None, w=None, b=None, **options):
    """PyTorch's instance_norm changes the running statistics in place: copies of them."""
    if running_mean is None:  # momentum 1 puts the statistics of the input there
        options["momentum"] = 1.0
        running_mean, running_var = x.new_zeros(x.shape[1]), x.new_ones(x.shape[1])
    stats = running_mean.clone(), running_var.clone()
    return torch.nn.functional.instance_norm(x, *stats, w, b, **options), *stats


def fit(rng, shape):
    """On any value (N, C, ...) with enough elements in each channel, with its statistics or running ones."""
    if len(shape) < 3 or size(shape[2:]) < 3:
        return None
    c = shape[1]
    of_input = bool(rng.integers(2))
    tracked = not of_input or rng.integers(2)
    stats = (normal(c), uniform(c, low=0.5, high=2.0)) if tracked else (None, None)
    w, b = (normal(c, mean=m) if rng.integers(2) else None for m in (1.0, 0.0))
    options = {"momentum": float(rng.uniform()), "eps": float(rng.choice([1e-5, 1e-3, 0.1]))}
    return case("fit", normal(*shape), *stats, w, b, use_input_stats=of_input, **options)


_MEAN, _VAR = normal(3), uniform(3, low=0.5, high=2.0)

register(
    forward,
    backward,
    torch="torch.nn.functional.instance_norm",
    reference=reference,
    differentiable=("x", "w", "b"),
    outputs=("y", "running_mean", "running_var"),
    constant=("running_mean", "running_var"),
    fit=fit,
    cases=[
        case("its own statistics", normal(2, 3, 5), None, None, normal(3), normal(3)),
        case("no weight", normal(2, 3, 2, 2), None, None, None, None),
        case("tracked", normal(2, 3, 4), _MEAN, _VAR, normal(3), normal(3), momentum=0.7, eps=0.1),
        case("volumes", normal(2, 3, 2, 1, 2), _MEAN, _VAR, normal(3), None),
        case("one sample, large mean", normal(1, 3, 8, mean=1000.0, scale=30.0), _MEAN, _VAR, None, None),
        case("running statistics", normal(2, 3, 4), _MEAN, _VAR, normal(3), normal(3), use_input_stats=False),
        case("no spatial axes", normal(2, 3), _MEAN, _VAR, normal(3), None, use_input_stats=False, eps=0.01),
        case("empty", normal(2, 3, 0), _MEAN, _VAR, normal(3), normal(3)),
    ],
)
