"""y[n, j g + i, ...] = x[n, i m + j, ...]

Shapes.  x (N, g m, ...) with at least one axis behind, y of the same shape; g is ``groups``, i counts the g
groups and j the m channels of each.

Forward.  The first channels of all groups come first, then the second ones, and so on.

Chain rule.  dy is ∂L/∂y.  Every entry of y is a copy of one of x, and every one of x goes to one place:
    dx[n, i m + j, ...] = dy[n, j g + i, ...]

Result.  dx is the same layer on dy with m groups: that exchanges i and j back.

Kinks: none.  Errors: fewer than three axes, groups that do not divide the channels, or below 1.
Source: Zhang, Zhou, Lin and Sun 2018, ShuffleNet, section 3.1; PyTorch documentation,
torch.nn.functional.channel_shuffle.
"""

from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad._errors import require
from handgrad.derivations._shuffles import exchange_groups, require_factor


def forward(x, *, groups):
    require(x.ndim > 2, "channel_shuffle needs x (N, C, ...)", f"x {tuple(x.shape)}", "reshape x")
    require_factor(groups, "groups")
    require(
        x.shape[1] % groups == 0,
        "channel_shuffle needs groups that divide the channels",
        f"{x.shape[1]} channels and {groups} groups",
        "choose another number of groups",
    )
    return exchange_groups(x, groups), ()


def backward(dy, _, *, groups):
    return exchange_groups(dy, max(dy.shape[1] // groups, 1))


def fit(rng, shape):
    """On any value with three axes or more."""
    if len(shape) < 3 or not shape[1]:
        return None
    factors = [g for g in range(1, shape[1] + 1) if shape[1] % g == 0]
    return case("fit", normal(*shape), groups=int(rng.choice(factors)))


register(
    forward,
    backward,
    torch="torch.nn.functional.channel_shuffle",
    widen=False,
    fit=fit,
    cases=[
        case("two groups of three", normal(2, 6, 2, 3), groups=2),
        case("one spatial axis", normal(2, 6, 3), groups=3),
        case("three spatial axes", normal(1, 4, 2, 1, 2), groups=2),
        case("one group", normal(2, 3, 2, 2), groups=1),
        case("as many groups as channels", normal(2, 3, 2, 2), groups=3),
        case("no samples", normal(0, 4, 2, 2), groups=2),
    ],
)
