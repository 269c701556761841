"""Motifs: how the layers of an architecture hang together. Each grows a builder's graph on top of a value.

A motif whose layers are not among those allowed is left out: it returns the value itself.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from handgrad._arrays import is_floating, size
from handgrad._cases import mask, normal
from handgrad._derivation import registry
from handgrad._errors import LayerError
from handgrad.architectures._builder import Builder
from handgrad.graph import Node

Motif = Callable[[Builder, str], str]
_SIZES = (1, 2, 2, 3, 3, 4, 5)


def chain(b: Builder, value: str, layers: Sequence[str] = ()) -> str:
    """One more layer on top."""
    layers = layers or b.layers
    for _ in range(2):
        name = layers[int(b.rng.integers(len(layers)))]
        if (y := b.place(name, value)) is not None and is_floating(b.values[y]):
            return further(b, y)
    return value


def further(b: Builder, y: str) -> str:
    """Now and then a further output of the layer in place of its first, which then goes unused, or both."""
    d = b.nodes[y].derivation
    others = [e for e, o in zip(b.nodes[y].edges[1:], d.outputs[1:], strict=True) if o not in d.constant]
    if not others or b.rng.integers(2):
        return y
    other = others[b.rng.integers(len(others))]
    return other if b.rng.integers(2) else _combined(b, y, other) or y


def start(b: Builder) -> str:
    """A new input, of any shape: now and then with an axis of length 0."""
    rng = b.rng
    shape = [int(rng.choice(_SIZES)) for _ in range(rng.integers(5))]
    if shape and rng.uniform() < 0.04:
        shape[rng.integers(len(shape))] = 0
    return b.leaf(normal(*shape), "x")


def residual(b: Builder, value: str) -> str:
    """value + f(value)."""
    branch = b.shaped(chain(b, chain(b, value)), b.shape(value))
    return (branch and branch != value and b.known_apply("add", branch, value)) or branch or value


def dense(b: Builder, value: str) -> str:
    """value and f(value), side by side."""
    return _side_by_side(b, value, chain(b, value)) or value


def branches(b: Builder, value: str) -> str:
    """Two branches, side by side or combined element by element."""
    if b.rng.uniform() < 0.2:  # two edges from one node to another
        return _combined(b, value, value) or value
    left, right = chain(b, value), chain(b, chain(b, value))
    if b.rng.integers(2):
        return _side_by_side(b, left, right) or left
    return _combined(b, left, right) or left


def split(b: Builder, value: str) -> str:
    """The value cut in two, the halves apart, and together again or one of them unused."""
    shape = b.shape(value)
    long = [axis for axis, n in enumerate(shape) if n > 1]
    if not long or "pad" not in b.known:
        return value
    axis = long[b.rng.integers(len(long))]
    at = int(b.rng.integers(1, shape[axis]))
    before = [0, 0] * (len(shape) - axis - 1)
    head = b.apply("pad", value, pad=(*before, 0, at - shape[axis]))
    tail = b.apply("pad", value, pad=(*before, -at, 0))
    if head is None or tail is None:
        return value
    if b.rng.integers(3) == 0:
        return chain(b, head)
    return _side_by_side(b, chain(b, head), tail) or head


def shared(b: Builder, value: str) -> str:
    """A sub-network of one layer or two, twice with the same weights: in a chain, or side by side."""
    before = len(b.nodes)
    end = chain(b, chain(b, value)) if b.rng.integers(2) else chain(b, value)
    nodes = _since(b, before)
    if not nodes or value not in {edge for node in nodes for edge in node.args}:
        return end
    other = b.shaped(end, b.shape(value)) if b.rng.integers(2) else b.leaf(normal(*b.shape(value)), "x")
    again = b.repeat(nodes, {value: other}, end) if other is not None and other != value else None
    if again is None:
        return end
    return again if b.rng.integers(2) else _combined(b, again, end) or again


def loop(b: Builder, value: str) -> str:
    """A recurrent loop: h <- f(h, x_t), two to four times with the same weights."""
    rows = b.shaped(value, (int(b.rng.integers(1, 4)), int(b.rng.integers(1, 5))))
    if rows is None:
        return value
    before, x = len(b.nodes), b.leaf(normal(*b.shape(rows)), "x")
    mixed = _combined(b, rows, x)
    body = None if mixed is None else b.shaped(chain(b, mixed), b.shape(rows))
    if body is None or body == rows:
        return rows
    nodes, h = _since(b, before), body
    for _ in range(b.rng.integers(1, 4)):
        step = b.leaf(normal(*b.shape(rows)), "x")
        again = b.repeat(nodes, {rows: h, x: step}, body)
        if again is None:
            break
        h = again
    return h


def carried(b: Builder, value: str) -> str:
    """A layer of several outputs, and one that takes them by name: a state that is handed on."""
    several = [name for name in b.layers if len(registry[name].outputs) > 1]
    if not several or b.place(several[b.rng.integers(len(several))], value) is None:
        return value
    node = next(node for node in reversed(b.nodes.values()) if node.layer in several)
    given = {
        output.removesuffix("_n").removesuffix("_after"): edge
        for output, edge in zip(node.derivation.outputs, node.edges, strict=True)
    }
    takers = [name for name in b.layers if given.keys() & registry[name].inputs[1:]]
    if not takers:
        return node.name
    taker = registry[node.layer if node.layer in takers else takers[b.rng.integers(len(takers))]]
    before = node.args if taker is node.derivation else (node.name,)
    args = [given.get(name, before[i] if i < len(before) else None) for i, name in enumerate(taker.inputs)]
    while args and args[-1] is None:
        args.pop()
    options = {name: v for name, v in node.options.items() if name in taker.options}
    try:
        return b.apply(taker.name, *args, **options) or node.name
    except LayerError:  # not every shape or option of the one is one of the other
        return node.name


def encoder_decoder(b: Builder, value: str) -> str:
    """A decoder of new inputs attends to what an encoder made of the value: cross-attention."""
    attention = "scaled_dot_product_attention"
    if not {attention, "linear"} <= b.known:
        return value
    n, length, d = (int(i) for i in b.rng.integers(1, 4, 3))
    memory = b.shaped(chain(b, value), (n, length, d))
    inputs = b.leaf(normal(n, int(b.rng.integers(1, 4)), d), "x")
    if memory is None:
        return value
    decoder = chain(b, inputs)
    decoder = b.shaped(decoder, b.shape(inputs)) or inputs
    maps = [b.leaf(normal(3, d), name) for name in ("wq", "wk", "wv")]
    made = [b.apply("linear", v, w, None) for v, w in zip((decoder, memory, memory), maps, strict=True)]
    if None in made:
        return value
    y = b.apply(attention, *made, is_causal=bool(b.rng.integers(2)))
    return (y and _combined(b, y, decoder)) or y or value


def conditional(b: Builder, value: str) -> str:
    """One path or another, element by element: a gradient goes back on the path taken alone."""
    if "where" not in b.known:
        return value
    one = chain(b, value)
    other = b.shaped(chain(b, value), b.shape(one))
    keep = float(b.rng.choice([0.0, 0.5, 0.5, 0.9, 1.0]))
    kept = tuple(n if b.rng.integers(4) else 1 for n in b.shape(one))
    condition = b.leaf(mask(*kept, keep=keep), "condition")
    return (other and b.apply("where", condition, one, other)) or one


def expansion(b: Builder, value: str) -> str:
    """Broadcast: a new axis, or the mean over an axis set against the value itself."""
    shape = b.shape(value)
    if "multiply" in b.known and size(shape) < 200 and b.rng.integers(2):
        factors = b.leaf(normal(int(b.rng.integers(1, 4)), *(1 for _ in shape)), "factors")
        return b.apply("multiply", value, factors) or value
    if shape and 0 not in shape and {"mean", "subtract"} <= b.known:
        dim = int(b.rng.integers(-len(shape), len(shape)))
        mean = b.apply("mean", value, dim=dim, keepdim=True)
        return (mean and b.apply("subtract", value, mean)) or value
    return value


def views(b: Builder, value: str) -> str:
    """Transposed, then reshaped: what follows sees other strides."""
    shape = b.shape(value)
    if len(shape) < 2 or "transpose" not in b.known:
        return value
    i, j = (int(n) for n in b.rng.permutation(len(shape))[:2])
    y = b.apply("transpose", value, dim0=i, dim1=j)
    if y is None or b.rng.integers(2):
        return y or value
    return b.shaped(y, (b.shape(y)[0], size(b.shape(y)[1:])) if b.rng.integers(2) else (size(shape),)) or y


def loss(b: Builder, value: str) -> str:
    """A loss, with any reduction."""
    losses = [name for name in b.layers if "reduction" in registry[name].options]
    return chain(b, value, losses) if losses else value


def join(b: Builder, value: str) -> str:
    """Two loose ends made one."""
    others = [edge for edge in b.loose_ends() if edge != value]
    if not others:
        return value
    return _combined(b, value, others[b.rng.integers(len(others))]) or value


MOTIFS: tuple[Motif, ...] = (
    chain, chain, chain, residual, dense, branches, split, shared, shared, loop, carried,
    encoder_decoder, conditional, expansion, views,
)  # fmt: skip


# --- pieces ---------------------------------------------------------------------------------


def _since(b: Builder, before: int) -> list[Node]:
    return list(b.nodes.values())[before:]


def _side_by_side(b: Builder, left: str, right: str) -> str | None:
    """Concatenated along an axis in which alone they may differ; the right one is made to fit."""
    shape = b.shape(left)
    if "concat" not in b.known or not shape:
        return None
    axis = int(b.rng.integers(len(shape)))
    fits = len(b.shape(right)) == len(shape) and all(
        m == n for i, (m, n) in enumerate(zip(b.shape(right), shape, strict=True)) if i != axis
    )
    edge = right if fits else b.shaped(right, shape)
    return None if edge is None else b.apply("concat", left, edge, dim=axis)


def _combined(b: Builder, left: str, right: str) -> str | None:
    """Element by element."""
    layers = [name for name in ("add", "subtract", "multiply", "maximum") if name in b.known]
    edge = b.shaped(right, b.shape(left)) if layers else None
    return None if edge is None else b.apply(layers[b.rng.integers(len(layers))], left, edge)
