"""``handgrad check``: a user's own function, ``autograd.Function`` or module."""

from __future__ import annotations

import importlib
import inspect
import json
import sys
from pathlib import Path
from typing import Any

import click

from handgrad._errors import InputError, require
from handgrad.checking.display import to_text
from handgrad.cli import require_torch

DTYPES = ("float64", "float32", "bfloat16", "float16", "complex128", "complex64")


@click.command()
@click.argument("target", metavar="MODULE:NAME")
@click.option(
    "--shape",
    "shapes",
    multiple=True,
    metavar="N,M,...",
    help="Shape of one random input, such as 5,3 (empty for a number); once for each argument.",
)
@click.option(
    "--dtype", default="float64", show_default=True, type=click.Choice(DTYPES), help="Of the random inputs."
)
@click.option(
    "--inputs",
    "source",
    metavar="FILE or NAME",
    help="File with the tuple of inputs, saved by torch.save; or a function beside the target that makes it.",
)
@click.option("--reference", metavar="MODULE:NAME", help="A callable whose autograd gradient is the truth.")
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0, 2**31), help="Fixes every random number."
)
@click.option("--second-order", is_flag=True, help="Also check second derivatives (double backward).")
@click.option("--forward-mode", is_flag=True, help="Also check forward mode (jvp).")
@click.option(
    "--transform",
    "transforms",
    multiple=True,
    metavar="NAME",
    help="Also compare with results under vmap, compile, grad or batched; once for each.",
)
@click.option(
    "--tolerance", default=1.0, show_default=True, type=float, help="Factor on what rounding explains."
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON.")
def command(
    target: str,
    shapes: tuple[str, ...],
    dtype: str,
    source: str | None,
    reference: str | None,
    seed: int,
    second_order: bool,
    forward_mode: bool,
    transforms: tuple[str, ...],
    tolerance: float,
    as_json: bool,
) -> None:
    """Check the gradient of a function of your own, and name the mistake where it is wrong.

    MODULE:NAME is a function on tensors, an autograd.Function, an nn.Module class (or a function that
    makes one), or a pair (forward, backward). The module is imported from the current folder or the path.
    Exits 1 where a gradient is wrong.

    \b
    Example: handgrad check mylayers:Swish --shape 5,3
             handgrad check mylayers:Swish --shape 5,3 --reference torch.nn.functional:silu
             handgrad check mylayers:MyLinear --inputs make_inputs --dtype float32
    """
    require_torch("check")
    from torch_ext import check

    sys.path.insert(0, "")
    found = _load(target, "target")
    owner = target.partition(":")[0]
    inputs = _from_source(source, owner) if source is not None else _random(shapes, dtype, seed)
    report = check(
        _callable(found),
        inputs,
        None if reference is None else _callable(_load(reference, "reference")),
        seed=seed,
        second_order=second_order,
        forward_mode=forward_mode,
        transforms=transforms,
        tolerance=tolerance,
    )
    click.echo(
        json.dumps(report.to_dict(), ensure_ascii=False, indent=1) if as_json else to_text(report).rstrip()
    )
    sys.exit(0 if report.passed else 1)


def _load(name: str, what: str) -> Any:
    module, _, attribute = name.partition(":")
    require(
        bool(module and attribute),
        f"a {what} is named MODULE:NAME",
        repr(name),
        "write for example mylayers:Swish",
    )
    try:
        value: Any = importlib.import_module(module)
        for part in attribute.split("."):
            value = getattr(value, part)
    except ModuleNotFoundError as error:
        raise InputError(
            f"the {what}'s module must be importable; received {module!r} ({error}); run in its folder, "
            "or install it."
        ) from None
    except AttributeError:
        raise InputError(
            f"the {what} must exist in its module; received {name!r}; correct the name."
        ) from None
    return value


def _callable(value: Any) -> Any:
    """``Function.apply`` of a Function class, an instance of a module class or of a factory's making."""
    import torch

    if isinstance(value, type) and issubclass(value, torch.autograd.Function):
        return value.apply
    if isinstance(value, type) and issubclass(value, torch.nn.Module):
        try:
            return value()
        except TypeError as error:
            raise InputError(
                f"a module class is made without arguments; received {value.__name__}, which needs some "
                f"({error}); name a function that returns the module."
            ) from None
    if inspect.isfunction(value) and not inspect.signature(value).parameters:
        return value()  # a factory: of a module, or of a pair
    return value


def _random(shapes: tuple[str, ...], dtype: str, seed: int) -> tuple[Any, ...]:
    import torch

    require(bool(shapes), "a check needs inputs", "none", "give --shape once for each argument, or --inputs")
    g = torch.Generator().manual_seed(seed)
    made = []
    for text in shapes:
        parts = [p for p in text.replace("x", ",").split(",") if p.strip()]
        require(
            all(p.strip().isdecimal() for p in parts),
            "a shape is whole numbers with commas between them",
            repr(text),
            "write for example --shape 5,3",
        )
        shape = [int(p) for p in parts]
        wide = torch.complex128 if dtype.startswith("complex") else torch.float64
        x = torch.randn(shape, generator=g, dtype=wide).to(getattr(torch, dtype))
        made.append(x.requires_grad_())
    return tuple(made)


def _from_source(source: str, owner: str) -> tuple[Any, ...]:
    import torch

    path = Path(source)
    if path.exists():
        try:
            inputs = torch.load(path, weights_only=True)
        except Exception as error:
            raise InputError(
                f"inputs are a file that torch.save wrote; received {source!r} ({type(error).__name__}); "
                "save a tuple of tensors."
            ) from None
    else:
        inputs = _load(f"{owner}:{source}", "function that makes the inputs")()
    require(
        isinstance(inputs, tuple | list),
        "inputs are a tuple",
        type(inputs).__name__,
        "return or save a tuple of them",
    )
    return tuple(inputs)
