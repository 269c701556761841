"""Random architectures: a seed gives a computational graph of registered layers, as JSON.

    made = generate(7)                   an Architecture: graph, leaves, modes
    values = made.graph.forward(made.draw())
    gradients = values.backward(made.cotangents(values.values))
    text = made.to_json()                from_json(text) gives it back, and refuses all that is none

Every registered derivation takes part with every option: its ``fit`` where it has one, and its cases, which
are calls with known shapes that a value is led to by a reshape, a cut or a linear map. So shapes are
solved. A new derivation takes part without an edit here.

Modes.  What NumPy cannot express is said beside the graph, in ``Architecture.modes``, and done by whoever
runs it. Every entry is optional, and names leaves, nodes and edges of the graph. ``draw`` and
``cotangents`` keep to those that concern values (``layouts``, ``cotangents``); Graph.forward ignores all.

dtype       of every floating leaf: "float64" (the default), "float32", "bfloat16" or "float16"
casts       {node: dtype}: the node computes in another dtype. Its floating arguments are cast to it, and
            its floating outputs are cast back to ``dtype``. Both casts are part of the graph: gradients
            flow through them
autocast    {"dtype": "bfloat16" or "float16", "nodes": [...]}: these nodes, one run in the graph's order,
            are called under autocast of that dtype. What a node outside of them takes from one, and an end
            among them, is cast to ``dtype``, outside of autocast. Only where ``dtype`` is "float32"
in_place    [nodes]: called in their in-place form (``inplace=True``) where they have one and PyTorch's own
            layer takes the same argument in place; else as usual. Each has the shape of its first
            argument, an output of another node that nothing else uses
layouts     {leaf: layout}: how the leaf lies in memory, its shape and values as drawn:
            "reversed"  the axes in reverse order, as x.T lies: strides grow from first to last
            "gaps"      every second element along the last axis of a buffer twice as long
            "offset"    contiguous, from the second element of a buffer that is one longer
            "expanded"  the first axis longer than 1 has stride 0 (values along it are equal: ``draw`` gives
                        the first to all). The gradient is that of the whole leaf, as if it were no view
frozen      [leaves]: floating leaves that need no gradient (requires_grad False)
cotangents  {edge: how}: the gradient that comes in at an end, otherwise Gaussian and contiguous:
            "none"      nothing comes in: an output that is not used
            "reversed", "gaps", "offset", "expanded": as for ``layouts``
also        [ways]: further comparisons, beyond outputs and first-order gradients: "double_backward",
            "forward_mode", "vmap" (over copies of the graph), "compile" (back end eager), "inductor",
            "checkpoint" (of the whole graph), "repeat" (a second run gives the same bits), "steps" (three
            steps of gradient descent on the unfrozen leaves)
"""

from handgrad.architectures._architecture import FORMAT, VERSION, Architecture, measure
from handgrad.architectures._coverage import Coverage, option_values
from handgrad.architectures._generate import generate
from handgrad.architectures._read import from_json, schema
from handgrad.architectures._smaller import smaller

__all__ = [
    "FORMAT",
    "VERSION",
    "Architecture",
    "Coverage",
    "from_json",
    "generate",
    "measure",
    "option_values",
    "schema",
    "smaller",
]
