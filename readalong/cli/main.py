"""The Typer app of the console command `readalong`.

A command imports what it needs when it runs: `readalong --help` must not wait for an HTTP server.
"""

from __future__ import annotations

import os
import sys
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from readalong import __version__
from readalong.cli.commands.api import api
from readalong.cli.commands.ask import ask
from readalong.cli.commands.cancel import cancel
from readalong.cli.commands.demo import demo
from readalong.cli.commands.jobs import jobs
from readalong.cli.commands.model import model
from readalong.cli.commands.settings import settings
from readalong.cli.commands.watch import watch
from readalong.cli.commands.worker import worker
from readalong.cli.errors import CliError
from readalong.cli.sanitize import one_line
from readalong.core.errors import BadSettings, ReadalongError
from readalong.core.sanitize import harmless

#: The exit code that a shell gives to a program that SIGPIPE has ended.
CLOSED_PIPE = 141
# An id may begin with a minus, and must not be taken for an option then.
_IDS = {"ignore_unknown_options": True}


class CommandGroup(TyperGroup):
    """Prints an expected error as one line on stderr and exits with its code."""

    def invoke(self, ctx: Any) -> Any:
        try:
            return super().invoke(ctx)
        except CliError as error:
            typer.echo(f"readalong: {harmless(error.message)}", err=True)
            raise typer.Exit(error.code) from None
        except ReadalongError as error:
            typer.echo(f"readalong: {one_line(error.message, 2000)}", err=True)
            raise typer.Exit(2 if isinstance(error, BadSettings) else 1) from None
        except BrokenPipeError:
            # `readalong jobs | head`: the interpreter would fail to flush its buffer at the exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(CLOSED_PIPE) from None


app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    add_completion=False,
    # Rich's tracebacks show local variables, keys and passwords among them.
    pretty_exceptions_enable=False,
    help="One generation, many readers: chat jobs queued, streamed, watched and cancelled.",
)
for command in (demo, api, worker, model):
    app.command()(command)
app.command(context_settings=_IDS)(watch)
app.command()(ask)
app.command(context_settings=_IDS)(cancel)
app.command()(jobs)
app.command()(settings)


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"readalong {__version__}")
        raise typer.Exit


@app.callback()
def common(
    version: Annotated[
        bool, typer.Option("--version", is_eager=True, callback=_version, help="Show the version and exit.")
    ] = False,
) -> None:
    """The options of the command itself."""
