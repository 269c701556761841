"""A failure as a script that runs by itself: once by hand, once as plain PyTorch, and who is right."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np

from handgrad.architectures import Architecture
from handgrad.graph import Node
from handgrad.report import write_atomically
from torch_ext.crossval.networks import drawn
from torch_ext.fuzz.outcome import VERDICTS, Failure


def save(made: Architecture, failure: Failure, said: str, folder: Path, name: str) -> Path:
    """``name``.py and ``name``.json in the folder, each whole or not at all."""
    write_atomically(folder / f"{name}.json", json.dumps(made.to_dict(), ensure_ascii=False, indent=1) + "\n")
    return write_atomically(folder / f"{name}.py", script(made, failure, said))


def script(made: Architecture, failure: Failure, said: str = "") -> str:
    """The text of the script."""
    network = drawn(made)
    dtype = made.modes.get("dtype", "float64")
    lines = [
        f'"""{_title(failure, said)}',
        "",
        "Written by `handgrad fuzz`. Needs handgrad and PyTorch.",
        '"""',
        "",
    ]
    lines += ["import torch", "", "import torch_ext", "from handgrad import registry"]
    lines += ["from handgrad.architectures import from_json", "from torch_ext.fuzz import compare", ""]
    for name, x in network.values.items():
        grad = ", requires_grad=True" if name in network.variables else ""
        lines.append(f"{_name(name)} = torch.tensor({_numbers(x)}, dtype=torch.{_dtype(x, dtype)}{grad})")
    lines += ["", "", f"def network({', '.join(map(_name, network.values))}, call):"]
    for node in made.graph.functions:
        lines.append(
            f"    {', '.join(map(_name, node.edges))}{',' * (len(node.edges) == 1)} = call({_call(node)})"
        )
    ends = list(network.cotangents)
    lines += [f"    return [{', '.join(map(_name, ends))}]", "", ""]
    lines += _CALLS.split("\n")
    wanted = ", ".join(map(_name, network.variables))
    cotangents = ", ".join(f"torch.tensor({_numbers(network.cotangents[e])})" for e in ends)
    lines += [
        f"cotangents = [{cotangents}]",
        "for call in (by_hand, by_pytorch):",
        "    try:",
        f"        ends = network({', '.join(map(_name, network.values))}, call)",
        "        print(call.__name__, *ends)",
        "        pairs = [(y, dy.to(y.dtype)) for y, dy in zip(ends, cotangents) if y.requires_grad]",
        f"        xs = [{wanted}]",
        "        ys, flows = [y for y, _ in pairs], [dy for _, dy in pairs]",
        "        for dx in torch.autograd.grad(ys, xs, flows, allow_unused=True):",
        "            print('   gradient', dx)",
        "    except Exception as error:",
        "        print(call.__name__, 'raises', error)",
        "",
        f"architecture = from_json({made.to_json()!r})",
        "outcome = compare(architecture)",
        "for failure in outcome.failures:",
        "    print(failure)",
        "raise SystemExit(1 if outcome.failures else 0)",
        "",
    ]
    return "\n".join(lines)


_CALLS = """def by_hand(layer, args, options, plain):
    y = torch_ext.call(layer, *args, **options)
    return y if isinstance(y, tuple) else (y,)


def by_pytorch(layer, args, options, plain):
    if plain is None:  # more than one call of PyTorch: as the derivation's file writes it
        y = registry[layer].reference(torch, *args, **options)
    else:
        y = plain(*args, **options)
    return y if isinstance(y, tuple) else (y,)

"""


def _title(failure: Failure, said: str) -> str:
    where = f"{failure.layer or 'a network'}, {failure.way}: {failure.message}"
    verdict = f"{VERDICTS[failure.verdict]}. {failure.why}".strip()
    return " ".join(f"{where}. {said} {verdict}".split()).replace('"""', "'''").replace("\\", "/")


def _call(node: Node) -> str:
    d = node.derivation
    args = ", ".join("None" if edge is None else _name(edge) for edge in node.args)
    plain = d.torch if d.torch and d.reference is None else "None"
    return f"{node.layer!r}, [{args}], {dict(node.options)!r}, {plain}".replace("inf", "float('inf')")


def _name(edge: str) -> str:
    return edge.replace(".", "_")


def _dtype(x: np.ndarray, dtype: str) -> str:
    return dtype if x.dtype == np.float64 else str(x.dtype)


def _numbers(x: np.ndarray) -> str:
    text: str = np.array2string(
        x, separator=", ", threshold=10**9, max_line_width=100, floatmode="unique", formatter=_FORMATS
    )
    return text if x.size else f"torch.zeros({x.shape}).tolist()"


_FORMATS: Any = {
    "float": lambda v: repr(float(v)) if np.isfinite(v) else f"float('{float(v)}')",
    "int": lambda v: str(int(v)),
    "bool": lambda v: str(bool(v)),
}
