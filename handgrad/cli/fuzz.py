"""``handgrad fuzz``: random architectures, hand against autograd."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn

from handgrad.cli import require_torch, terminal
from handgrad.report._console import line, rendered, table

if TYPE_CHECKING:
    from torch_ext.fuzz.campaign import State
    from torch_ext.fuzz.groups import Group

_LARGEST = 10**7  # bytes of a file with an architecture
_SHOWN = 3  # causes that the progress display names


@click.command()
@click.option("--count", type=click.IntRange(1), help="How many architectures.  [default: 500, or --time]")
@click.option("--time", "seconds", type=click.FloatRange(0, min_open=True), help="For so many seconds.")
@click.option(
    "--seed", default=0, show_default=True, type=click.IntRange(0, 2**31), help="Fixes every random number."
)
@click.option(
    "--jobs", default=-1, show_default="one for each core", type=click.IntRange(-1), help="Worker processes."
)
@click.option(
    "--engine", default="loky", show_default=True, type=click.Choice(["loky", "dask", "ray"]),
    help="joblib's back end: processes of this machine, or a cluster.",
)  # fmt: skip
@click.option(
    "--scheduler",
    default="",
    metavar="ADDRESS",
    help="A running dask or ray cluster, such as tcp://10.0.0.1:8786.",
)
@click.option("--only", "layers", multiple=True, metavar="LAYER", help="Only this layer; may be repeated.")
@click.option(
    "--resume", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
    help="Go on with the run of this journal, with its seed and layers.",
)  # fmt: skip
@click.option(
    "--arch", metavar="FILE", type=click.Path(path_type=Path, dir_okay=False),
    help="Compare this one architecture (JSON, - is standard input) instead.",
)  # fmt: skip
@click.option(
    "--report", "folder", default=Path("reports/fuzz"), show_default=True, metavar="DIR",
    type=click.Path(path_type=Path, file_okay=False),
    help="Where journal.jsonl, results.jsonl, report.json and findings/ are written.",
)  # fmt: skip
@click.option(
    "--limit", default=60.0, show_default=True, type=click.FloatRange(1), help="Seconds for one architecture."
)
@click.option("--json", "as_json", is_flag=True, help="Print the report as JSON instead of text.")
def command(
    count: int | None,
    seconds: float | None,
    seed: int,
    jobs: int,
    engine: str,
    scheduler: str,
    layers: tuple[str, ...],
    resume: Path | None,
    arch: Path | None,
    folder: Path,
    limit: float,
    as_json: bool,
) -> None:
    """Random architectures, hand against autograd: what differs is shrunk, diagnosed and kept.

    Outputs and all gradients are compared, and by draw double backward, forward mode, vmap, torch.compile,
    checkpoints, lower precisions and more. Where hand and PyTorch differ, a numerical truth says who is
    wrong. Each failure is shrunk to the smallest architecture that fails in the same way, and saved as a
    script that runs by itself. Exits 1 where a derivation is wrong or a difference is not explained.

    Results are written as they come: after Ctrl-C, --resume goes on.

    \b
    Example: handgrad fuzz --count 2000 --seed 1
             handgrad fuzz --time 600 --only layer_norm --only linear
             handgrad fuzz --resume reports/fuzz/journal.jsonl --count 5000
             handgrad fuzz --engine dask --scheduler tcp://10.0.0.1:8786
             handgrad fuzz --arch network.json
    """
    require_torch("fuzz")
    _require_sense(count, seconds, engine, scheduler, resume, arch, layers)
    from torch_ext.fuzz import campaign
    from torch_ext.fuzz.engine import Engine

    who = Engine(engine, jobs or -1, scheduler, limit)
    with _display(count) as (progress, said):
        if arch is not None:
            from handgrad.architectures import from_json

            made = from_json(_text(arch))
            plan, state = campaign.Plan(made.seed, 1), campaign.one(made)
        else:
            made = None
            number = count if count is not None or seconds is not None else 500
            plan = campaign.Plan(seed, number, seconds, layers or None)
            try:
                plan, state = campaign.fuzz(plan, who, folder, resume, progress)
            except KeyboardInterrupt:
                again = resume or folder / "journal.jsonl"
                click.echo(f"go on with: handgrad fuzz --resume {again}", err=True)
                raise
        groups = campaign.explained(state, plan, folder, given=made, progress=said)
    report = campaign.summary(state, plan, groups, who)
    campaign.write_report(report, folder)
    click.echo(
        json.dumps(report, ensure_ascii=False, indent=1) if as_json else _summary(report, groups), nl=as_json
    )
    click.echo(f"reports: {folder}/report.json, results.jsonl, findings/", err=True)
    sys.exit(0 if report["passed"] else 1)


def _require_sense(
    count: int | None,
    seconds: float | None,
    engine: str,
    scheduler: str,
    resume: Path | None,
    arch: Path | None,
    layers: tuple[str, ...],
) -> None:
    if arch is not None and (resume is not None or layers or count is not None or seconds is not None):
        raise click.UsageError(
            "--arch is one architecture: it goes with none of --count, --time, --only, --resume."
        )
    if resume is not None and layers:
        raise click.UsageError(
            "--resume goes on with the journal's own layers; received --only; leave it out."
        )
    if scheduler and engine == "loky":
        raise click.UsageError(
            "--scheduler is for a cluster; received --engine loky; use --engine dask or ray."
        )


def _text(path: Path) -> str:
    from handgrad._errors import InputError

    try:
        if str(path) == "-":
            return sys.stdin.read(_LARGEST)
        with path.open(encoding="utf-8") as file:
            return file.read(_LARGEST)
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(
            f"--arch names a JSON file; received {path}, which cannot be read ({type(error).__name__}); "
            "name another."
        ) from None


@contextmanager
def _display(count: int | None) -> Iterator[tuple[Callable[[State], None], Callable[[str], None]]]:
    """Live: how many, how fast, how much is covered, what fails."""
    columns = (
        TextColumn("fuzzing"),
        BarColumn(bar_width=20),
        MofNCompleteColumn(),
        TimeElapsedColumn(),
        TextColumn("{task.description}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True, disable=not terminal()) as bar:
        task = bar.add_task("starting", total=count)

        def progress(state: State) -> None:
            failing = ", ".join(f"{n} × {what}" for what, n in state.failures.most_common(_SHOWN))
            seen = len({layer for layer, _, _ in state.coverage.triples})
            text = f"{state.rate:.0f}/s · {seen} layers · {failing or 'no failure'}"
            bar.update(task, completed=len(state.outcomes), description=text)

        yield progress, lambda name: bar.update(task, description=f"shrinking {name}")


def _summary(report: dict[str, Any], groups: list[Group]) -> str:
    covered = report["coverage"]
    time = report["time"]
    head = (
        f"{report['architectures']:,} architectures, {report['nodes']:,} layers; "
        f"{time['rate']:g} a second on {time['workers']} workers ({time['engine']})"
    )
    seen = (
        f"covered: {covered['layers']['drawn']} of {covered['layers']['of']} layers, "
        f"{100 * covered['options']['share']:.1f} % of {covered['options']['of']} options, "
        f"{covered['triples']:,} neighbours"
    )
    ways = "compared: " + ", ".join(f"{way.replace('_', ' ')} {n:,}" for way, n in report["ways"].items())
    parts: list[Any] = [line(head, "bold"), line(seen), line(ways)]
    if groups:
        rows = [[str(g.count), g.failure.layer or "-", *_words(g), str(g.seeds[0])] for g in groups]
        parts.append(table(["times", "layer", "what", "who is wrong", "seed"], rows, ["times", "seed"]))
    wrong = sum(not g.failure.explained for g in groups)
    verdict = "no mismatch" if not groups else f"{wrong} causes to look at, {len(groups) - wrong} explained"
    parts.append(line(verdict, "bold green" if not wrong else "bold red"))
    return rendered(parts, None, None)


def _words(group: Group) -> tuple[str, str]:
    from torch_ext.fuzz.outcome import VERDICTS

    f = group.failure
    what = f"{f.way.replace('_', ' ')}: {group.diagnosis.message if group.diagnosis else f.message}"
    why = f" ({f.why})" if f.explained and f.why else ""
    return what[:160], f"{VERDICTS[f.verdict]}{why}"[:120]
