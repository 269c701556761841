"""y[out] = Σ x1[in_1] x2[in_2] ..., over all labels that out does not name

Shapes.  The ``equation`` gives each axis of each operand a label, as in "ij,jk->ik"; axes with one label
have one length (or length 1, which is copied). A label that an operand has twice takes its diagonal.

Forward.  The product of all operands is formed for every value of every label, and summed over those that y
lacks.

Chain rule.  dy is ∂L/∂y.  y is linear in each operand:  y[out] = Σ x_k[in_k] (Π_{l≠k} x_l[in_l]), so
∂L/∂x_k[in_k] sums over all labels but its own
    dx_k[in_k] = Σ dy[out] Π_{l≠k} x_l[in_l]
which is an einsum again: dy takes the place of x_k.

Result.  That einsum for each k  (x_l conjugated for complex numbers). A label that x_k alone has was summed:
its gradient is copied along it, by a factor of ones. A label twice in x_k: the gradient stands on the
diagonal, by a factor [i = j]. Axes of length 1 that were copied are summed (after ``backward``, by
``_arrays.unbroadcast``).

Kinks: none.  Errors: an equation that does not fit the operands.
Source: PyTorch documentation, torch.einsum.
"""

from handgrad._arrays import cast, conj, namespace
from handgrad._cases import case, normal
from handgrad._derivation import register
from handgrad._errors import require
from handgrad._primitives_einsum import einsum


def forward(*xs, equation):
    inputs, out = labels(equation, xs)
    return einsum(xs, inputs, out), (*xs, inputs, out)


def backward(dy, residuals, needs, **_):
    # needs: which gradients are wanted
    *xs, inputs, out = residuals
    return tuple(_gradient(dy, xs, inputs, out, k) if needs[k] else None for k in range(len(xs)))


def _gradient(dy, xs, inputs, out, k):
    xp = namespace(dy)
    others = [
        (dy, out),
        *((conj(x), names) for j, (x, names) in enumerate(zip(xs, inputs, strict=True)) if j != k),
    ]
    target, free = [], max((n for names in inputs for n in names), default=0) + 1
    for label, n in zip(inputs[k], xs[k].shape, strict=True):
        place = label
        if label in target:  # twice: on the diagonal
            place, free = free, free + 1
            i = xp.arange(n, device=dy.device)
            others.append((cast(i[:, None] == i[None, :], dy.dtype), (label, place)))
        elif not any(x.shape[names.index(label)] == n for x, names in others if label in names):
            others.append((xp.ones((n,), dtype=dy.dtype, device=dy.device), (label,)))
        target.append(place)
    return einsum([x for x, _ in others], [names for _, names in others], tuple(target))


def labels(equation, xs):
    """Each operand's labels, and those of the output, as numbers; "..." stands for the axes that are left."""
    left, arrow, right = equation.replace(" ", "").partition("->")
    terms = left.split(",")
    require(
        len(terms) == len(xs), "an equation names each operand", f"{equation!r} for {len(xs)}", "name all"
    )
    beside = 0
    for term, x in zip(terms, xs, strict=True):
        named = len(term.replace("...", ""))
        require(
            named == x.ndim or ("..." in term and named <= x.ndim),
            "each operand has one label an axis",
            f"{term!r} for shape {tuple(x.shape)}",
            "name all axes",
        )
        beside = max(beside, x.ndim - named if "..." in term else 0)
    if not arrow:
        letters = left.replace("...", "").replace(",", "")
        right = ("..." if "..." in left else "") + "".join(
            sorted(c for c in set(letters) if letters.count(c) == 1)
        )
    names = sorted(set(left.replace(",", "").replace(".", "")))
    require(
        len(set(right.replace(".", ""))) == len(right.replace(".", "")) and set(right) <= {*names, "."},
        "the output has each of its labels once, from those of the operands",
        repr(equation),
        "mend the equation",
    )

    def numbers(term, ndim):
        found = []
        before, dots, after = term.partition("...")
        found += [beside + names.index(c) for c in before]
        if dots:
            count = ndim - len(before) - len(after)
            found += range(beside - count, beside)
        return tuple(found + [beside + names.index(c) for c in after])

    inputs = tuple(numbers(term, x.ndim) for term, x in zip(terms, xs, strict=True))
    return inputs, numbers(right, len(right.replace("...", "")) + beside)


register(
    forward,
    backward,
    torch="torch.einsum",
    reference=lambda torch, *xs, equation: torch.einsum(equation, *xs),
    autocast="half",
    widen=False,
    cases=[
        case("a matrix product", normal(3, 4), normal(4, 2), equation="ij,jk->ik"),
        case("attention", normal(2, 3, 4), normal(2, 5, 4), equation="bqd,bkd->bqk"),
        case("three operands", normal(3), normal(3, 4), normal(4), equation="i,ij,j->"),
        case("a diagonal, its output left open", normal(3, 3), normal(3), equation="ii,i"),
        case("a sum of one alone", normal(3, 4), normal(5), equation="ij,k->ki"),
        case("broadcast batches", normal(2, 1, 3, 4), normal(3, 4), equation="...ij,...j->i..."),
    ],
)
