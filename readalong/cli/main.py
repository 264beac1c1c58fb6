"""The console command `readalong`: one function a command.

What a command needs is imported inside it: `readalong --help` must not wait for an HTTP server it does not start.
"""

from __future__ import annotations

import logging
import os
import sys
from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from readalong import __version__
from readalong.cli.plain import harmless_json, one_line
from readalong.cli.problem import Problem
from readalong.core.sanitize import harmless

if TYPE_CHECKING:
    from collections.abc import Callable

    from readalong.core.settings import Settings

#: What a shell says of a program that SIGPIPE has ended.
CLOSED_PIPE = 141
DEFAULT_URL = "http://127.0.0.1:8000"
# An id may begin with a minus, and must not be taken for an option then.
_IDS = {"ignore_unknown_options": True}

Url = Annotated[str, typer.Option(envvar="READALONG_URL", help="The API.")]
Job = Annotated[str, typer.Argument(help="The job's id.", show_default=False)]
Host = Annotated[str, typer.Option(help="Address to listen on.")]
Processes = Annotated[int, typer.Option(min=1, max=256, help="API processes.")]
GiveUp = Annotated[float, typer.Option(min=0, help="Seconds without a connection after which to give up.")]


class _Commands(TyperGroup):
    """Turns errors that are meant for a person into one line on stderr and an exit code."""

    def invoke(self, ctx: Any) -> Any:
        from readalong.core.errors import BadSettings, ReadalongError  # noqa: PLC0415

        try:
            return super().invoke(ctx)
        except Problem as problem:
            typer.echo(f"readalong: {harmless(problem.message)}", err=True)
            raise typer.Exit(problem.code) from None
        except BadSettings as error:
            typer.echo(f"readalong: {one_line(error.message, 2000)}", err=True)
            raise typer.Exit(2) from None
        except ReadalongError as error:
            typer.echo(f"readalong: {one_line(error.message, 2000)}", err=True)
            raise typer.Exit(1) from None
        except BrokenPipeError:
            # `readalong jobs | head`: what is still buffered would be an error at the exit of the interpreter.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
            raise typer.Exit(CLOSED_PIPE) from None


app = typer.Typer(
    cls=_Commands,
    no_args_is_help=True,
    add_completion=False,
    # Rich's tracebacks show local variables, keys and passwords among them.
    pretty_exceptions_enable=False,
    help="One generation, many readers: chat jobs queued, streamed, watched and cancelled.",
)


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
    """What every command takes: `--version` has ended the program by now."""


@app.command()
def demo(
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port of the API; 0: any free one.")] = 8000,
    host: Host = "127.0.0.1",
    workers: Annotated[int, typer.Option(min=1, max=64, help="Worker processes.")] = 1,
    processes: Processes = 1,
    verbose: Annotated[bool, typer.Option("--verbose", help="Show what the processes log.")] = False,
) -> None:
    """Start everything on this machine: Redis, worker, API and a model. Ctrl-C ends it all.

    The Redis is an embedded Valkey that keeps nothing, or READALONG_REDIS_URL.
    The model is the built-in one, or what OPENAI or AZURE variables name.

    Exit codes: 0 ended by a signal, 1 something failed, 2 bad settings, 130 ended by a second Ctrl-C.
    """
    settings = _settings()
    import asyncio  # noqa: PLC0415

    from readalong.cli.demo import Demo, DemoOptions  # noqa: PLC0415
    from readalong.cli.terminal import Terminal  # noqa: PLC0415

    consoles = Terminal(highlight=False), Terminal(stderr=True, highlight=False)
    code = asyncio.run(Demo(settings, DemoOptions(host, port, workers, processes, verbose), *consoles).run())
    raise typer.Exit(code)


@app.command()
def api(
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen on.")] = 8000,
    processes: Processes = 1,
) -> None:
    """Serve the HTTP API and the page."""
    settings = _logged_settings()
    from readalong.api.server import run  # noqa: PLC0415

    raise typer.Exit(_logged(settings, lambda: run(settings, host=host, port=port, processes=processes)))


@app.command()
def worker() -> None:
    """Run jobs: stream them from the model into Redis. SIGTERM drains, a second one ends at once."""
    settings = _logged_settings()
    from readalong.worker.main import run  # noqa: PLC0415

    raise typer.Exit(_logged(settings, lambda: run(settings)))


@app.command()
def model(
    host: Host = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65_535, help="Port to listen on; 0: any free one.")] = 8001,
) -> None:
    """Serve the demo model alone: an OpenAI-compatible server that says how its words travel."""
    from readalong.testing.__main__ import main  # noqa: PLC0415

    raise typer.Exit(main(["--host", host, "--port", str(port)]))


@app.command(context_settings=_IDS)
def watch(
    job: Job,
    after: Annotated[str, typer.Option(help="Show only events after this id, or number.")] = "0",
    url: Url = DEFAULT_URL,
    give_up: GiveUp = 60,
) -> None:
    """Watch a job: its text on stdout, everything else on stderr; comes back by itself when the connection breaks.

    Exit codes: 0 done, 1 failed or not to be had, 2 cancelled, 130 Ctrl-C (which ends the watching, never the job).
    """
    from readalong.cli.watch import watch as run  # noqa: PLC0415
    from readalong.core.position import Position  # noqa: PLC0415

    try:
        position = Position.parse(after)
    except ValueError as error:
        raise typer.BadParameter(str(error), param_hint="--after") from None
    raise typer.Exit(run(url, job, position, give_up))


@app.command()
def ask(
    question: Annotated[str, typer.Argument(help="What to ask.", show_default=False)],
    model: Annotated[str | None, typer.Option(help="The model; else the API's own.", show_default=False)] = None,
    url: Url = DEFAULT_URL,
    give_up: GiveUp = 60,
) -> None:
    """Submit a question and watch the answer. Exit codes as of `watch`."""
    from readalong.cli.watch import ask as run  # noqa: PLC0415

    raise typer.Exit(run(url, question, model, give_up))


@app.command(context_settings=_IDS)
def cancel(job: Job, url: Url = DEFAULT_URL) -> None:
    """Cancel a job and print its status; an ended job keeps its end."""
    from readalong.cli.client import Client  # noqa: PLC0415

    with Client(url) as client:
        status = client.post(client.job_path(job) + "/cancel").get("status")
    typer.echo(one_line(str(status)))
    if status == "running":
        typer.echo("the cancel is kept; the worker ends the job", err=True)


@app.command()
def jobs(
    status: Annotated[str | None, typer.Option(help="Only these: queued, running, done, failed, cancelled.")] = None,
    limit: Annotated[int, typer.Option(min=1, max=100_000, help="At most so many.")] = 20,
    url: Url = DEFAULT_URL,
    as_json: Annotated[bool, typer.Option("--json", help="As JSON, one job a line.")] = False,
) -> None:
    """List jobs, the newest first."""
    from readalong.cli.client import Client  # noqa: PLC0415
    from readalong.cli.listing import fetch, table  # noqa: PLC0415

    with Client(url) as client:
        found = fetch(client, status, limit)
    if as_json:
        for job in found:
            typer.echo(harmless_json(job))
    elif found:
        _console().print(table(found))
    else:
        typer.echo("no jobs", err=True)


@app.command()
def settings(
    as_json: Annotated[bool, typer.Option("--json", help="As JSON.")] = False,
) -> None:
    """Show every setting: variable, value, default, and what it means. Passwords and keys are not shown."""
    loaded = _settings()
    from readalong.cli import variables  # noqa: PLC0415

    if as_json:
        typer.echo(harmless_json(variables.as_json(loaded), indent=True))
    else:
        _console().print(variables.as_table(loaded))


def _settings() -> Settings:
    """For a command that a person reads."""
    from readalong.core.settings import load, misspelt  # noqa: PLC0415

    settings = load()
    for line in misspelt(os.environ):
        typer.echo(f"readalong: {one_line(line, 2000)}", err=True)
    return settings


def _logged_settings() -> Settings:
    """For a command that logs."""
    from readalong.core.settings import load, misspelt  # noqa: PLC0415
    from readalong.process import logs  # noqa: PLC0415

    settings = load()
    logs.set_up(settings)
    for line in misspelt(os.environ):
        logging.getLogger("readalong.core.settings").warning(line)
    return settings


def _logged(settings: Settings, run: Callable[[], int]) -> int:
    """The exit code of a process that logs. What ends it is a line of its log where those are JSON."""
    from readalong.core.errors import BadSettings, ReadalongError  # noqa: PLC0415

    if settings.log_format == "text":
        return run()
    try:
        return run()
    except ReadalongError as error:
        logging.getLogger("readalong").critical(error.message, extra={"code": error.code})
        return 2 if isinstance(error, BadSettings) else 1
    except Exception:
        logging.getLogger("readalong").critical("the process broke", exc_info=True)
        return 1


def _console() -> Any:
    """As wide as the terminal; in a pipe, which has no width, wide enough that nothing is cut."""
    from readalong.cli.terminal import Terminal  # noqa: PLC0415

    wide = None if sys.stdout.isatty() or "COLUMNS" in os.environ else 1000
    return Terminal(highlight=False, width=wide)
