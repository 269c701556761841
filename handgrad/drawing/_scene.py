"""What is drawn, and where: blocks in layers, joined by wires; the same for terminal and SVG.

A block is an input (its name), a function (its symbol) or a *tag* on an edge: a piece of wire with
the value above and the gradient below. Layers, order and heights come from grandalf (Sugiyama's
method); it is run from the graph's end, so that an input stands next to its first use.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field

from grandalf.graphs import Edge as _Edge  # type: ignore[import-untyped]
from grandalf.graphs import Graph as _Graph
from grandalf.graphs import Vertex as _Vertex
from grandalf.layouts import SugiyamaLayout  # type: ignore[import-untyped]

from handgrad._arrays import Array
from handgrad.drawing._numbers import inline, is_matrix, lines
from handgrad.formulas import is_negation
from handgrad.graph import Graph, Node, Step, Values

SYMBOLS = {
    "add": "+",
    "subtract": "−",
    "multiply": "×",
    "divide": "÷",
    "matmul": "@",
    "sigmoid": "σ",
    "square": "( )²",
    "transpose": "ᵀ",
    "negative": "−( )",
    "binary_cross_entropy": "BCE",
    "binary_cross_entropy_with_logits": "BCE(σ)",
    "cross_entropy": "CE",
    "mse_loss": "MSE",
}


@dataclass
class Block:
    """One thing to draw. ``y`` is the height of its middle, at which wires enter and leave."""

    kind: str  # "input", "function" or "tag"
    name: str = ""
    above: list[str] = field(default_factory=list)
    below: list[str] = field(default_factory=list)
    brackets: tuple[bool, bool] = (False, False)
    layer: int = 0
    y: float = 0.0
    width: float = 0.0
    height: float = 0.0


@dataclass
class Wire:
    """From the right of one block to the left of another, passing each layer between at a height."""

    start: Block
    end: Block
    bends: list[tuple[int, float]] = field(default_factory=list)  # (layer, y)


@dataclass
class Scene:
    blocks: list[Block]
    wires: list[Wire]

    @property
    def layers(self) -> list[list[Block]]:
        count = 1 + max((b.layer for b in self.blocks), default=-1)
        return [[b for b in self.blocks if b.layer == i] for i in range(count)]


def scene(
    graph: Graph,
    values: Values,
    gradients: Mapping[str, Array],
    steps: Sequence[Step],
    size: Callable[[Block], tuple[float, float]],
    gap: float,
) -> Scene:
    """Blocks and wires of a graph, laid out. ``size`` measures a block, ``gap`` parts two in a layer."""
    outgoing = {(step.node.name, step.position): step.outgoing for step in steps}
    uses = [edge for node in graph.functions for edge in node.args if edge is not None]
    blocks: dict[str, Block] = {}
    tags: list[Block] = []
    wires: list[Wire] = []

    def tag(edge: str, gradient: Array | None) -> Block:
        source = graph.nodes[edge.split(".")[0]]
        value = values.get(edge)
        named = f"{edge} =" if source.layer and not _automatic(source) else ""
        shown = lines(value)
        if named:
            one_line = f"{named} {shown[0]}" if shown else edge
            shown = [named, *shown] if is_matrix(value) else [one_line]
        block = Block("tag", edge, shown, lines(gradient), (is_matrix(value), is_matrix(gradient)))
        tags.append(block)
        wires.append(Wire(blocks[source.name], block))
        return block

    signs = {node.args[0] for node in graph.functions if is_negation(node)}
    for node in graph.nodes.values():
        if not node.layer and (node.name not in uses or node.name in signs):
            continue  # such as a learning rate; a minus sign's -1 is in its symbol
        total = gradients.get(node.name) if uses.count(node.name) > 1 else None
        below = [] if total is None else [f"Σ {inline(total)}"]
        label = symbol(node) or _constant(node, values)
        blocks[node.name] = Block("function" if node.layer else "input", label, below=below)
        for i, edge in enumerate(node.args):
            if edge is not None and edge not in signs:
                wires.append(Wire(tag(edge, outgoing.get((node.name, i))), blocks[node.name]))
    for end in graph.outputs:
        tag(end, gradients.get(end))
    result = Scene([*blocks.values(), *tags], wires)
    for block in result.blocks:
        block.width, block.height = size(block)
    _lay_out(result, gap)
    return result


def symbol(node: Node) -> str:
    """How a function is drawn; "" for an input."""
    layer = "negative" if is_negation(node) else node.layer
    return SYMBOLS.get(layer, layer)


def _constant(node: Node, values: Values) -> str:
    return inline(values[node.name]) if node.name.startswith("#") and node.name in values else node.name


def _automatic(node: Node) -> bool:
    return node.name.removeprefix(node.layer).isdigit()


class _View:
    def __init__(self, w: float, h: float) -> None:
        self.w, self.h, self.xy = w, h, (0.0, 0.0)


def _lay_out(s: Scene, gap: float) -> None:
    """Give each block its layer and y, and each wire its bends."""
    vertices = [_Vertex(block) for block in s.blocks]
    for vertex in vertices:
        vertex.view = _View(vertex.data.height, 1.0)  # its layers are rows, ours are columns
    of = {id(v.data): v for v in vertices}
    edges = [_Edge(of[id(w.end)], of[id(w.start)], data=w) for w in s.wires]
    top = 0.0
    for part in _Graph(vertices, edges).C:
        layout = SugiyamaLayout(part)
        layout.xspace, layout.dw, layout.dh = gap, gap, 1.0
        layout.init_all()
        layout.draw(8)
        last = len(layout.layers) - 1
        low = top
        for depth, row in enumerate(layout.layers):
            for v in row:
                x = v.view.xy[0]
                low = min(low, x - v.view.w / 2)
                if isinstance(v, _Vertex) and v.data is not None:
                    v.data.layer, v.data.y = last - depth, x
        shift = top - low
        for v in part.sV:
            v.data.y += shift
            top = max(top, v.data.y + v.data.height / 2 + gap)
        for edge in part.sE:
            inner = layout.ctrls.get(edge, {})
            bends = [(last - depth, v.view.xy[0] + shift) for depth, v in inner.items()]
            first, final = edge.data.start.layer, edge.data.end.layer
            edge.data.bends = sorted(b for b in bends if first < b[0] < final)
    _separate(s, gap)


def _separate(s: Scene, gap: float) -> None:
    """Push blocks of a layer down where the layout's averaging let them come too close."""
    for layer in s.layers:
        bottom = float("-inf")
        for block in sorted(layer, key=lambda b: b.y):
            block.y = max(block.y, bottom + gap + block.height / 2)
            bottom = block.y + block.height / 2
