"""`readalong doctor`."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import Annotated

import typer

from readalong.cli.commands.options import AsJson, Url
from readalong.cli.completion import DEFAULT_URL, complete_model
from readalong.cli.sanitize import harmless_json


def doctor(
    url: Url = DEFAULT_URL,
    model: Annotated[
        str | None,
        typer.Option(help="The model to try; else the API's own.", show_default=False, autocompletion=complete_model),
    ] = None,
    job: Annotated[bool, typer.Option("--job/--no-job", help="Try the model with two small jobs.")] = True,
    timeout: Annotated[float, typer.Option(min=1, help="Seconds that the model has for an answer.")] = 60,
    as_json: AsJson = False,
) -> None:
    """Try what must work: API, Redis, workers, clocks, proxies, the model and its cancel. Say what to do.

    Exit codes: 0 all is well, 10 a warning, 11 something critical, 130 Ctrl-C.
    """
    from readalong.cli import exit_codes  # noqa: PLC0415
    from readalong.cli.doctor.examination import Examination  # noqa: PLC0415
    from readalong.cli.doctor.lines import check_lines  # noqa: PLC0415
    from readalong.cli.render.terminal import Terminal  # noqa: PLC0415

    terminal = Terminal.for_tables()
    checks = []
    try:
        for check in Examination(url, model, timeout, with_jobs=job, doing=_trying).checks():
            checks.append(check)
            if not as_json:
                terminal.lines(check_lines(check, terminal.width))
    except KeyboardInterrupt:
        raise typer.Exit(exit_codes.INTERRUPTED) from None
    code = exit_codes.of_severities([check.result for check in checks])
    if as_json:
        typer.echo(harmless_json({"ok": not code, "checks": [check.as_json() for check in checks]}, indent=True))
    raise typer.Exit(code)


def _trying(what: str) -> AbstractContextManager[None]:
    from readalong.cli.render.patience import patience  # noqa: PLC0415

    return patience(f"trying {what}")
