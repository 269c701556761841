"""JSON in: one clear sentence, with the place in the file, for whatever is no architecture.

Nothing in a file is evaluated or imported. Its size, its nesting and every array that it would need are
looked at before anything is allocated; only then is it computed once, which shows whether its shapes fit.
"""

from __future__ import annotations

import difflib
import json
import math
import re
import warnings
from collections.abc import Mapping, Sequence
from functools import cache
from importlib.resources import files
from itertools import zip_longest
from typing import Any, NoReturn

import fastjsonschema
import numpy as np

from handgrad._arrays import Shape, size
from handgrad._cases import Spec
from handgrad._derivation import registry
from handgrad._errors import InputError
from handgrad.architectures._architecture import FLOATING, FORMAT, VERSION, Architecture, drawn
from handgrad.architectures._coverage import optional_inputs
from handgrad.graph import Graph, Node

MOST_BYTES = 2**22
MOST_NESTING = 8
MOST_IN_A_LEAF = 2**20  # numbers
MOST_IN_ALL_LEAVES = 2**22
MOST_IN_A_VALUE = 2**29  # 4 GiB of float64
_STRINGS = {"inf": math.inf, "-inf": -math.inf, "nan": math.nan, "...": ...}


def schema() -> dict[str, Any]:
    """The published JSON schema of an architecture."""
    text = files("handgrad.architectures").joinpath("schema.json").read_text(encoding="utf-8")
    return dict(json.loads(text))


def from_json(text: str) -> Architecture:
    """The architecture that :meth:`Architecture.to_json` wrote, or that a person wrote by the schema.

    Raises InputError, one sentence with the place in the file, for anything else.
    """
    data = _parsed(text)
    _check_schema(data)
    leaves = {name: _leaf(f"leaves.{name}", spec) for name, spec in data["leaves"].items()}
    total = sum(size(spec.shape) for spec in leaves.values())
    if total > MOST_IN_ALL_LEAVES:
        _refuse("leaves", f"all leaves together have at most {MOST_IN_ALL_LEAVES:,} numbers", f"{total:,}")
    nodes = _nodes(data["nodes"], leaves)
    made = Architecture(int(data["seed"]), Graph([*map(Node, leaves), *nodes]), leaves, data.get("modes", {}))
    _compute(made)
    _check_modes(made)
    return made


def _refuse(place: str, rule: str, received: str, do: str = "mend it there") -> NoReturn:
    raise InputError(f"{place}: {rule}; received {_short(received)}; {do}.")


def _short(text: str, limit: int = 200) -> str:
    text = " ".join(text.split())
    return text if len(text) <= limit else text[: limit - 1] + "…"


# --- text, and the schema -------------------------------------------------------------------


def _parsed(text: str) -> Any:
    if len(text) > MOST_BYTES:
        _refuse(
            "the file",
            f"an architecture has at most {MOST_BYTES:,} characters",
            f"{len(text):,}",
            "make it smaller",
        )
    depth = most = 0
    for bracket in re.sub(r'"(?:[^"\\]|\\.)*"?', "", text):
        depth += (bracket in "[{") - (bracket in "]}")
        most = max(most, depth)
    if most > MOST_NESTING:
        _refuse(
            "the file",
            f"an architecture nests at most {MOST_NESTING} levels deep",
            f"{most} levels",
            "make it flat",
        )
    try:
        return json.loads(text, parse_constant=_constant, object_pairs_hook=_object)
    except json.JSONDecodeError as error:
        place = f"line {error.lineno}, column {error.colno}"
        _refuse(place, "an architecture is well-formed JSON", f"text that breaks there ({error.msg})")
    except InputError:
        raise
    except ValueError:  # Python's own limit on the digits of an integer
        _refuse("the file", "numbers are float64", "an integer of thousands of digits", "write a smaller one")


def _constant(constant: str) -> NoReturn:
    _refuse(
        "the file", 'JSON has infinities as the strings "inf" and "-inf"', f"a bare {constant}", "quote it"
    )


def _object(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    twice = (
        next((name for name in names if names.count(name) > 1), None)
        if len(set(names)) < len(names)
        else None
    )
    if twice is not None:
        _refuse(
            "the file", "each key of a JSON object stands once", f"{twice!r} twice", "leave one of them out"
        )
    return dict(pairs)


def _check_schema(data: Any) -> None:
    if not isinstance(data, dict) or data.get("format") != FORMAT:
        kind = (
            f'"format": {json.dumps(data.get("format"))}'
            if isinstance(data, dict)
            else f"a {type(data).__name__}"
        )
        _refuse("the file", f'an architecture is a JSON object with "format": "{FORMAT}"', kind, "give one")
    version = data.get("version")
    if version != VERSION or isinstance(version, bool):
        rule = f"this handgrad reads architectures of schema version {VERSION}"
        _refuse("version", rule, json.dumps(version), "write the file again with this handgrad")
    try:
        _validator()(data)
    except fastjsonschema.JsonSchemaValueException as error:
        place = _place(error.path[1:]) or "the file"
        rule = f"{_short(error.message.removeprefix(error.name or 'data').strip())}"
        if error.rule in ("anyOf", "pattern") and "description" in error.definition:
            rule = f"must be {error.definition['description']}"
        _refuse(
            place, f"handgrad/architectures/schema.json says that it {rule}", _short(_text(error.value), 80)
        )


def _text(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)


@cache
def _validator() -> Any:
    return fastjsonschema.compile(schema(), use_default=False)


def _place(path: Sequence[Any]) -> str:
    """nodes[3].args[0]."""
    return "".join(f"[{p}]" if str(p).isdigit() else f".{p}" for p in path).removeprefix(".")


# --- leaves ---------------------------------------------------------------------------------


def _leaf(place: str, data: Mapping[str, Any]) -> Spec:
    shape = tuple(map(int, data["shape"]))  # 3.0 is an integer in a schema
    spec = Spec(**{**{name: decoded(v) for name, v in data.items()}, "shape": shape})
    n = size(spec.shape)
    if n > MOST_IN_A_LEAF:
        _refuse(
            f"{place}.shape", f"a leaf has at most {MOST_IN_A_LEAF:,} numbers", f"{n:,}", "make it smaller"
        )
    if spec.kind in ("exactly", "labels") and len(spec.values) != n:
        _refuse(f"{place}.values", f"shape {list(spec.shape)} takes {n} values", f"{len(spec.values)}")
    if spec.kind == "labels" and not all(float(v).is_integer() and abs(v) < 2**53 for v in spec.values):
        _refuse(f"{place}.values", "labels are integers", f"{list(spec.values)}")
    if spec.kind == "integers" and not int(spec.low) < int(spec.high) and n:
        _refuse(place, "integers are drawn from low to below high", f"low {spec.low}, high {spec.high}")
    if spec.kind == "places" and not n <= spec.high <= MOST_IN_A_LEAF:
        _refuse(
            f"{place}.high",
            f"{n} places, no two alike, need a high from {n} to {MOST_IN_A_LEAF:,}",
            f"{spec.high}",
        )
    if spec.kind == "uniform" and spec.low > spec.high:
        _refuse(place, "uniform numbers are drawn from low to high", f"low {spec.low}, high {spec.high}")
    if spec.kind == "normal" and spec.high < 0:
        _refuse(f"{place}.high", "the deviation of normal numbers is not negative", f"{spec.high}")
    if spec.kind == "simplex" and not -len(spec.shape) <= spec.low < len(spec.shape):
        _refuse(f"{place}.low", f"it is an axis of shape {list(spec.shape)}", f"{spec.low}")
    return spec


def decoded(value: Any) -> Any:
    """JSON has lists where options have tuples, {"slice": [...]}, and strings for infinities and "..."."""
    if isinstance(value, list):
        return tuple(map(decoded, value))
    if isinstance(value, dict):
        return slice(*(None if n is None else int(n) for n in value["slice"]))
    return _STRINGS.get(value, value) if isinstance(value, str) else value


# --- nodes ----------------------------------------------------------------------------------


def _nodes(data: Sequence[Mapping[str, Any]], leaves: Mapping[str, Spec]) -> list[Node]:
    made: list[Node] = []
    edges, names = set(leaves), set(leaves)
    later = {node["name"]: i for i, node in reversed(list(enumerate(data)))}
    for i, given in enumerate(data):
        place, layer = f"nodes[{i}]", given["layer"]
        if layer not in registry:
            near = difflib.get_close_matches(layer, registry, n=3)
            hint = f"did you mean {' or '.join(near)}?" if near else "`handgrad layers` lists them all."
            raise InputError(
                f"{place}.layer: a layer must have a registered derivation; received {layer!r}; {hint}"
            )
        derivation = registry[layer]
        if given["name"] in names:
            _refuse(
                f"{place}.name",
                "each node and leaf has a name of its own",
                repr(given["name"]),
                "choose another",
            )
        for j, edge in enumerate(given["args"]):
            if edge is not None and edge not in edges:
                _refuse(f"{place}.args[{j}]", *_no_edge(edge, later, i))
        n, takes = len(given["args"]), len(derivation.inputs)
        if not derivation.variadic and n > takes:
            _refuse(f"{place}.args", f"{layer} takes at most {takes}: {', '.join(derivation.inputs)}", f"{n}")
        for j, name in enumerate(derivation.inputs):
            absent = j >= n or given["args"][j] is None
            if absent and name not in optional_inputs(derivation) and not derivation.variadic:
                _refuse(f"{place}.args[{j}]", f"{layer} needs {name}", "none", "name its edge")
        for option in given.get("options", {}):
            if option not in derivation.options:
                known = ", ".join(derivation.options) or "none"
                _refuse(f"{place}.options", f"the options of {layer} are {known}", repr(option))
        node = Node(
            given["name"],
            layer,
            tuple(given["args"]),
            {k: decoded(v) for k, v in given.get("options", {}).items()},
        )
        made.append(node)
        names.add(node.name)
        edges.update(node.edges)
    return made


def _no_edge(edge: str, later: Mapping[str, int], i: int) -> tuple[str, str, str]:
    where = later.get(edge.split(".")[0])
    if where is not None and where >= i:
        rule = "an argument is computed before its node, so that there is no cycle"
        return rule, f"{edge!r}, which is nodes[{where}]", "put that node before, or take another argument"
    return (
        "an argument is a leaf, a node before, or an output of one (node.output)",
        repr(edge),
        "name one that exists",
    )


# --- computing it once ----------------------------------------------------------------------


def _compute(made: Architecture) -> None:
    """Raises where a layer refuses what it is given, or a value could be too large."""
    values: dict[str, Any] = {}
    for name, spec in made.leaves.items():
        try:
            values[name] = drawn(made.seed, name, spec)
        except (ValueError, OverflowError, IndexError) as error:
            _refuse(f"leaves.{name}", "a leaf's numbers can be drawn", f"{spec.kind}: {error}")
    for i, node in enumerate(made.graph.functions):
        args = [None if edge is None else values[edge] for edge in node.args]
        bound = largest_value([tuple(x.shape) for x in args if x is not None], node.options)
        if bound > MOST_IN_A_VALUE:
            rule = f"{node.layer} may need at most {MOST_IN_A_VALUE:,} numbers for a value"
            _refuse(f"nodes[{i}]", rule, f"shapes and options that allow {bound:,}", "make them smaller")
        try:
            with np.errstate(all="ignore"), warnings.catch_warnings():
                warnings.simplefilter("ignore", RuntimeWarning)  # the mean of nothing is not a number
                outputs, _ = node.derivation.apply(args, node.options)
        except Exception as error:
            shapes = ", ".join("none" if x is None else str(tuple(x.shape)) for x in args)
            reason = _short(str(error), 300) or type(error).__name__
            raise InputError(
                f"nodes[{i}]: {node.layer} refuses what it is given (shapes {shapes}): {reason}"
            ) from None
        values.update(zip(node.edges, outputs, strict=True))


def largest_value(shapes: Sequence[Shape], options: Mapping[str, Any]) -> int:
    """How many numbers a value of a layer may have, from above, before anything is computed.

    Every axis of an output is an axis of an input, broadcast, summed over or paired with another, and longer
    by what options ask for: n + p by padding, s n by a stride or a factor, k n by windows, at most k p.
    """
    ndim = max(map(len, shapes), default=0)
    aligned = [max((s[-k] for s in shapes if len(s) >= k), default=1) for k in range(1, ndim + 1)]
    lengths = {n for shape in shapes for n in shape}
    joint: int = math.prod(n ** max(shape.count(n) for shape in shapes) for n in lengths if n > 1)
    paired = max(map(size, shapes), default=1) * max(lengths, default=1)
    whole, asked = 1, []
    for name, value in options.items():
        numbers = [_asked(v, "factor" in name) for v in value] if isinstance(value, tuple) else []
        if name.endswith("shape"):  # of an output, or of an input
            whole = max(whole, math.prod(max(n, 1) for n in numbers))
        elif "index" not in name:
            asked.append(sorted(numbers or [_asked(value, "factor" in name)] * 3, reverse=True))
    longer = 1
    for of_axis in zip_longest(*asked, fillvalue=0):
        largest, second, *_ = (*sorted(of_axis, reverse=True), 0, 0)
        longer *= 1 + sum(of_axis) + largest * second
    return max(max(math.prod(aligned), joint, whole, 1) * longer, paired)


def _asked(value: Any, real: bool) -> int:
    """A number that may make an axis longer: an integer, or a factor."""
    if isinstance(value, tuple):
        return max((_asked(v, real) for v in value), default=0)
    if isinstance(value, bool) or not isinstance(value, int | float if real else int):
        return 0
    return max(0, math.ceil(value)) if math.isfinite(value) else 0


# --- modes ----------------------------------------------------------------------------------


def _check_modes(made: Architecture) -> None:
    modes, nodes = made.modes, [node.name for node in made.graph.functions]
    floating = [name for name, spec in made.leaves.items() if spec.kind in FLOATING]
    for mode, names, what in (
        ("casts", nodes, "nodes"),
        ("in_place", nodes, "nodes"),
        ("layouts", made.leaves, "leaves"),
        ("frozen", floating, "floating leaves"),
        ("cotangents", made.ends, "ends of the graph"),
    ):
        for name in modes.get(mode, ()):
            if name not in names:
                _refuse(f"modes.{mode}", f"it names {what}", repr(name), "name one that exists")
    if "autocast" in modes:
        if modes.get("dtype") != "float32":
            _refuse(
                "modes.autocast",
                'autocast asks for "dtype": "float32"',
                json.dumps(modes.get("dtype", "float64")),
            )
        region = modes["autocast"]["nodes"]
        first = nodes.index(region[0]) if region[0] in nodes else 0
        if region != nodes[first : first + len(region)]:
            _refuse(
                "modes.autocast.nodes", "the region is one run of nodes, in their order", ", ".join(region)
            )
