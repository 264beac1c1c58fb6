"""Loads the settings of a command."""

from __future__ import annotations

import logging
import os
from typing import TYPE_CHECKING

import typer

from readalong.cli.sanitize import one_line
from readalong.cli.server_extra import require_server_extra

if TYPE_CHECKING:
    from collections.abc import Callable

    from readalong.core.settings import Settings


def load_settings() -> Settings:
    """Returns the settings of a command for a reader. Warnings go to stderr. Raises CliError and BadSettings."""
    require_server_extra()
    from readalong.core.misspelt import misspelt  # noqa: PLC0415
    from readalong.core.settings import load  # noqa: PLC0415

    settings = load()
    for line in misspelt(os.environ):
        typer.echo(f"readalong: {one_line(line, 2000)}", err=True)
    return settings


def load_server_settings() -> Settings:
    """Returns the settings of a server and sets up its log. Raises CliError and BadSettings."""
    require_server_extra()
    from readalong.core.misspelt import misspelt  # noqa: PLC0415
    from readalong.core.settings import load  # noqa: PLC0415
    from readalong.process import logs  # noqa: PLC0415

    settings = load()
    logs.set_up(settings)
    for line in misspelt(os.environ):
        logging.getLogger("readalong.core.settings").warning(line)
    return settings


def run_server(settings: Settings, run: Callable[[], int]) -> int:
    """Runs a server and returns its exit code. With a JSON log, the error that ends it is a line of that log."""
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
