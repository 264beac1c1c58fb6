"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

DEFAULT_URL = "http://127.0.0.1:8000"

Url = Annotated[str, typer.Option(envvar="READALONG_URL", help="The API.")]
Job = Annotated[str, typer.Argument(help="The job's id.", show_default=False)]
Host = Annotated[str, typer.Option(help="Address to listen on.")]
Processes = Annotated[int, typer.Option(min=1, max=256, help="API processes.")]
GiveUp = Annotated[float, typer.Option(min=0, help="Seconds without a connection after which to give up.")]
