"""``handgrad graph``: a computational graph with its forward values and gradients."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from handgrad._errors import InputError, require
from handgrad.drawing import to_svg, to_terminal, trace
from handgrad.expressions import Expr, Name, parse, parse_formula
from handgrad.formulas import build, did_you_mean, leaves, literal
from handgrad.graph import Graph, Step, Values
from handgrad.report import write_atomically
from handgrad.worked import Calculation, Sheet, load, shipped


@click.command()
@click.argument("example", nargs=-1, metavar="EXAMPLE")
@click.option(
    "--set", "settings", multiple=True, metavar="NAME=VALUE", help="An input of a formula; may be repeated."
)
@click.option(
    "--svg", type=click.Path(path_type=Path, dir_okay=False), help="Write the drawing as SVG to this file."
)
@click.option(
    "--trace", "tracing", is_flag=True, help="Print each step: local derivative x incoming = outgoing."
)
@click.option("--json", "as_json", is_flag=True, help="Print nodes, values, gradients and steps as JSON.")
@click.option("--list", "listing", is_flag=True, help="List the examples that come with handgrad.")
def command(
    example: tuple[str, ...],
    settings: tuple[str, ...],
    svg: Path | None,
    tracing: bool,
    as_json: bool,
    listing: bool,
) -> None:
    """Draw a computational graph: values above, gradients below each edge.

    EXAMPLE is the name of a shipped example, a TOML file of one's own, or formulas in order. Without
    --set, formulas are drawn without numbers.

    \b
    Example: handgrad graph two-layer-perceptron --trace
             handgrad graph "f = (x + y) * z" --set x=-2 --set y=5 --set z=-4
             handgrad graph "z = W @ x" "L = sum(square(z))" --set "W=[1, 2; 3, 4]" --set "x=[1; 2]"
    """
    if listing:
        _list(as_json)
        return
    require(
        bool(example), "graph draws an example, a TOML file or formulas", "none", "see handgrad graph --list"
    )
    formulas = [text for text in example if text not in shipped() and not text.endswith(".toml")]
    if not formulas:
        require(len(example) == 1, "graph draws one example at a time", ", ".join(example), "choose one")
        require(
            not settings,
            "--set gives the inputs of a formula",
            settings and settings[0],
            "edit the TOML file",
        )
        sheet = load(example[0])
        require(
            bool(sheet.model),
            "graph draws an example that has a model",
            repr(example[0]),
            "choose another from handgrad graph --list",
        )
    else:
        sheet = _from_formulas(example, settings)
    known = bool(sheet.inputs) or not any(True for _, e in sheet.model for _ in leaves(e))
    require(
        known or not (tracing or as_json),
        "--trace and --json need the inputs' values",
        "formulas without --set",
        "add --set NAME=VALUE for each",
    )
    drawing: tuple[Graph, Values, Values, list[Step]]
    if known:
        calculation = Calculation(sheet)
        drawing = calculation.drawing
    else:
        inputs = dict.fromkeys(str(leaf) for _, e in sheet.model for leaf in leaves(e))
        graph, constants = build(sheet.model, [i for i in inputs if i not in dict(sheet.model)])
        drawing = (graph, constants, {}, [])
    if svg:
        write_atomically(svg, to_svg(*drawing))
    if as_json:
        click.echo(json.dumps(_plain(sheet, calculation), ensure_ascii=False, indent=1))
        if svg:
            click.echo(f"Written to {svg}", err=True)
        return
    if sheet.title:
        click.echo(sheet.title + "\n")
    screen = Console(file=sys.stdout)
    width = screen.width if screen.is_terminal else 100
    click.echo(to_terminal(*drawing, width=width), nl=False)
    if known and not drawing[2]:
        click.echo(f"No gradients: {sheet.target} is not one number. End the model with a loss or a sum.")
    if tracing:
        click.echo(
            "\n".join(trace(calculation.forward, sheet.target, calculation.steps, calculation.gradients))
        )
    if svg:
        click.echo(f"Written to {svg}")


def _list(as_json: bool) -> None:
    sheets = {name: load(name) for name in shipped()}
    if as_json:
        click.echo(
            json.dumps({name: sheet.title for name, sheet in sheets.items()}, ensure_ascii=False, indent=1)
        )
        return
    width = max(map(len, sheets))
    for name, sheet in sheets.items():
        click.echo(f"{name.ljust(width)}  {sheet.title}{'' if sheet.model else ' (no graph)'}")


def _from_formulas(texts: tuple[str, ...], settings: tuple[str, ...]) -> Sheet:
    """A sheet of formulas, and of inputs given by ``--set``."""
    model: list[tuple[str, Expr]] = []
    for text in texts:
        if not any(c in text for c in "=+-*/@^(") and not text.isdecimal():
            near = did_you_mean(text, shipped(), "")
            raise InputError(
                f"graph draws an example, a TOML file or formulas; received {text!r}; "
                f"{f'{near} See' if near else 'see'} handgrad graph --list."
            )
        left, right = parse_formula(text)
        require(
            left is None or isinstance(left, Name),
            "a formula here has a name on its left",
            repr(text),
            "write it as f = ...",
        )
        model.append((str(left) if left else f"f{len(model) + 1}" if len(texts) > 1 else "f", right))
    inputs = {}
    defined = {name for name, _ in model}
    wanted = [str(leaf) for _, e in model for leaf in leaves(e) if str(leaf) not in defined]
    for setting in settings:
        name, equals, value = setting.partition("=")
        name = name.strip()
        require(bool(equals), "--set takes NAME=VALUE", repr(setting), "write --set x=-2")
        require(
            name in wanted,
            f"--set gives the formula's inputs, {', '.join(dict.fromkeys(wanted)) or 'none'}",
            repr(name),
            did_you_mean(name, wanted, f"leave out --set {name}"),
        )
        require(name not in inputs, "each input is set once", repr(name), "leave out one of the two")
        inputs[name] = literal(parse(value))
    if settings:
        missing = [name for name in dict.fromkeys(wanted) if name not in inputs]
        require(
            not missing,
            "each input of a formula needs a value",
            f"none for {', '.join(missing)}",
            f"add --set {missing[0] if missing else ''}=VALUE",
        )
    return Sheet(file="formula", title="", inputs=inputs, model=tuple(model), target=model[-1][0])


def _plain(sheet: Sheet, calculation: Calculation) -> dict[str, Any]:
    graph, values, gradients, steps = calculation.drawing
    nodes = [
        {
            "name": node.name,
            "layer": node.layer,
            "args": list(node.args),
            "options": dict(node.options),
            "value": values[node.name].tolist(),
            "gradient": gradients[node.name].tolist() if node.name in gradients else None,
        }
        for node in graph.nodes.values()
    ]
    passes = [
        {
            "node": s.node.name,
            "edge": s.edge,
            "incoming": _list_of(s.incoming[0]),
            "outgoing": s.outgoing.tolist(),
        }
        for s in steps
    ]
    return {"title": sheet.title, "target": sheet.target, "nodes": nodes, "steps": passes}


def _list_of(value: Any) -> Any:
    return None if value is None else value.tolist()
