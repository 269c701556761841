"""The command line. One module a command, imported when it is called; each only calls the library."""

from __future__ import annotations

import io
import sys
from importlib import import_module
from typing import Any

import click

import handgrad
from handgrad._errors import HandgradError

COMMANDS = ("crossval", "fuzz", "check", "lecture", "graph", "train", "layers", "compare", "bench")


class _Commands(click.Group):
    """Commands by name: ``handgrad NAME`` is ``handgrad.cli.NAME.command``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in COMMANDS:
            return None
        command: click.Command = import_module(f"handgrad.cli.{cmd_name}").command
        return command

    def invoke(self, ctx: click.Context) -> Any:
        for stream in (sys.stdout, sys.stderr):  # mathematics is printed in whatever letters there are
            if isinstance(stream, io.TextIOWrapper):
                stream.reconfigure(errors="replace")
        try:
            return super().invoke(ctx)
        except HandgradError as error:  # bad input: one line, no traceback
            raise _BadInput(" ".join(str(error).split())) from None
        except MemoryError as error:
            raise _BadInput(
                f"the numbers must fit into memory; {error or 'they do not'}; use smaller sizes."
            ) from None
        except BrokenPipeError:
            raise  # the reader has seen enough: click's own business
        except OSError as error:
            reason = error.strerror or str(error)
            raise _BadInput(f"output must be writable; {reason}; write elsewhere, or make room.") from None
        except KeyboardInterrupt:
            click.echo("interrupted", err=True)
            ctx.exit(130)


class _BadInput(click.ClickException):
    exit_code = 2


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(handgrad.__version__, prog_name="handgrad")
def main() -> None:
    """Hand-derived backpropagation, cross-validated.

    Exit status: 0 fine, 1 a mismatch or regression, 2 bad usage or input.
    """


def require_torch(what: str) -> None:
    """One clear sentence where a command needs PyTorch and it is not installed."""
    try:
        import_module("torch")
    except ModuleNotFoundError:
        raise _BadInput(
            f"{what} compares with PyTorch; received a Python without it; install it, by pip install torch."
        ) from None


def terminal(stream: Any = sys.stderr) -> bool:
    """Whether a person is looking: progress bars and colour are for them alone."""
    return bool(stream.isatty())
