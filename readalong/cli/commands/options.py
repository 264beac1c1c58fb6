"""Options that several commands share."""

from __future__ import annotations

from typing import Annotated

import typer

from readalong.cli.completion import complete_ended, complete_job, complete_running

_ID = "An id, or its beginning if no other id begins so."

Url = Annotated[str, typer.Option(envvar="READALONG_URL", help="The API.")]
Job = Annotated[str, typer.Argument(help=_ID, show_default=False, autocompletion=complete_job)]
Jobs = Annotated[list[str], typer.Argument(help=_ID, show_default=False, autocompletion=complete_job, metavar="JOB...")]
LiveJobs = Annotated[
    list[str], typer.Argument(help=_ID, show_default=False, autocompletion=complete_running, metavar="JOB...")
]
EndedJobs = Annotated[
    list[str], typer.Argument(help=_ID, show_default=False, autocompletion=complete_ended, metavar="JOB...")
]
AsJson = Annotated[bool, typer.Option("--json", help="As JSON.")]
Host = Annotated[str, typer.Option(help="Address to listen on.")]
Processes = Annotated[int, typer.Option(min=1, max=256, help="API processes.")]
GiveUp = Annotated[float, typer.Option(min=0, help="Seconds without a connection after which to give up.")]
