"""The Typer app of the console command `readalong`.

A command imports what it needs when it runs: `readalong --help` must not wait for an HTTP server.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from readalong import __version__
from readalong.cli.commands.api import api
from readalong.cli.commands.ask import ask
from readalong.cli.commands.cancel import cancel
from readalong.cli.commands.demo import demo
from readalong.cli.commands.doctor import doctor
from readalong.cli.commands.erase import erase
from readalong.cli.commands.jobs import jobs
from readalong.cli.commands.model import model
from readalong.cli.commands.retry import retry
from readalong.cli.commands.settings import settings
from readalong.cli.commands.show import show
from readalong.cli.commands.status import status
from readalong.cli.commands.top import top
from readalong.cli.commands.watch import watch
from readalong.cli.commands.worker import worker
from readalong.cli.commands.workers import workers
from readalong.cli.errors import CliError
from readalong.cli.exit_codes import CLOSED_PIPE, FAILED, MISUSE
from readalong.cli.sanitize import one_line
from readalong.core.errors import BadSettings, ReadalongError
from readalong.core.sanitize import harmless

# An id may begin with a minus, and must not be taken for an option then.
_IDS = {"ignore_unknown_options": True}
_BY_ID = (watch, show, cancel, retry, erase)


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
            raise typer.Exit(MISUSE if isinstance(error, BadSettings) else FAILED) from None
        except BrokenPipeError:
            # `readalong jobs | head`: the interpreter would fail to flush its buffer at the exit.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(CLOSED_PIPE) from None


app = typer.Typer(
    cls=CommandGroup,
    no_args_is_help=True,
    # Rich's tracebacks show local variables, keys and passwords among them.
    pretty_exceptions_enable=False,
    help="One generation, many readers: chat jobs queued, streamed, watched and cancelled.",
)
_PANELS: dict[str, tuple[Callable[..., None], ...]] = {
    "Jobs": (ask, watch, jobs, show, cancel, retry, erase),
    "Operating": (status, workers, top, doctor),
    "Servers": (demo, api, worker, model, settings),
}
for panel, commands in _PANELS.items():
    for command in commands:
        app.command(rich_help_panel=panel, context_settings=_IDS if command in _BY_ID else {})(command)


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
