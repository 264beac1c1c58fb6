"""`readalong erase`: finds jobs, asks, and erases one after the other."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, timedelta
from typing import Any, Final

import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from readalong.cli.api_client import ApiClient
from readalong.cli.errors import CliError
from readalong.cli.exit_codes import DONE, FAILED, INTERRUPTED, MISUSE, NOT_FOUND
from readalong.cli.render.metrics import moment, short
from readalong.cli.render.terminal import Terminal
from readalong.cli.sanitize import harmless_json
from readalong.core.states import TERMINAL

#: Jobs whose ids the question shows.
_SHOWN: Final = 5


def erase_jobs(url: str, beginnings: list[str], *, yes: bool, as_json: bool) -> int:
    """Erases these jobs. Returns the exit code. Raises CliError."""
    with ApiClient.asking(url) as client:
        jobs = [client.get(client.job_path(job_id)) for job_id in client.find_jobs(beginnings)] if not yes else []
        ids = [str(job.get("id")) for job in jobs] or client.find_jobs(beginnings)
    live = sum(job.get("status") not in TERMINAL for job in jobs)
    shown = ", ".join(ids[:_SHOWN]) + (f" and {len(ids) - _SHOWN} more" if len(ids) > _SHOWN else "")
    running = f"; {live} not ended yet, to be cancelled" if live else ""
    if not _agreed(f"erase {shown}{running}?", yes):
        return FAILED
    return _erase(url, ids, as_json)


def erase_ended(url: str, older_than: float, *, yes: bool, as_json: bool) -> int:
    """Erases the jobs that ended more than `older_than` seconds ago. Returns the exit code. Raises CliError."""
    console = Terminal(stderr=True, highlight=False)
    with ApiClient(url) as client:
        try:
            ids = _find_ended(client, older_than, console)
        except KeyboardInterrupt:
            return INTERRUPTED
    if not ids:
        typer.echo("no such jobs", err=True)
        return DONE
    old = f" that ended more than {short(older_than)} ago" if older_than else " that have ended"
    if not _agreed(f"erase {len(ids):,} {'job' if len(ids) == 1 else 'jobs'}{old}?", yes):
        return FAILED
    return _erase(url, ids, as_json)


def _find_ended(client: ApiClient, older_than: float, console: Terminal) -> list[str]:
    """Returns the ids, the oldest last. Shows how many were found."""
    # Redis' clock gave the times of the jobs: an age by ours could be wrong by hours.
    until = _now(client) - timedelta(seconds=older_than)
    found: dict[str, None] = {}
    with console.status("looking for jobs that have ended") as status:
        for state in sorted(TERMINAL):
            for page in client.pages(status=state, created_before=until.isoformat()):
                found |= dict.fromkeys(str(job.get("id")) for job in page if _ended_before(job, until))
                status.update(f"looking for jobs that have ended: {len(found):,} so far")
    return list(found)


def _now(client: ApiClient) -> datetime:
    """Returns Redis' time, or ours where the API does not tell this caller the status."""
    try:
        told = moment(client.get("/v1/status").get("now"))
    except CliError:
        told = None
    return told or datetime.now(UTC)


def _ended_before(job: dict[str, Any], until: datetime) -> bool:
    ended = moment(job.get("ended_at"))
    return ended is not None and ended <= until


def _agreed(question: str, yes: bool) -> bool:
    """Asks at the terminal. Raises CliError where there is no terminal to ask at."""
    if yes:
        return True
    if not sys.stdin.isatty():
        raise CliError(f"{question} Give --yes: there is no terminal to ask at", code=MISUSE)
    return typer.confirm(question, err=True)


def _erase(url: str, ids: list[str], as_json: bool) -> int:
    """Erases one after the other, with a bar on a terminal. Ctrl-C ends it between two jobs."""
    console = Terminal(stderr=True, highlight=False)
    erased = 0
    code = DONE
    try:
        with ApiClient(url) as client, _progress(console) as progress:
            for job_id in progress.track(ids):
                try:
                    client.delete(client.job_path(job_id))
                except CliError as error:
                    if error.code != NOT_FOUND:
                        raise
                    code = NOT_FOUND if len(ids) == 1 else code
                    continue  # another one was faster
                erased += 1
                if as_json:
                    typer.echo(harmless_json({"id": job_id, "erased": True}))
    except KeyboardInterrupt:
        code = INTERRUPTED
    finally:
        typer.echo(f"erased {erased:,} of {len(ids):,}", err=True)
    return code


def _progress(console: Terminal) -> Progress:
    columns = (TextColumn("erasing"), BarColumn(), MofNCompleteColumn(), TimeRemainingColumn())
    return Progress(*columns, console=console, transient=True, disable=not console.is_terminal)
