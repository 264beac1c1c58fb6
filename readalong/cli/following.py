"""`readalong jobs --follow`: the newest jobs, and a line for each change."""

from __future__ import annotations

from typing import Any, Final

import typer
from rich.text import Text

from readalong.cli.api_client import ApiClient
from readalong.cli.changes import Change, Changes
from readalong.cli.exit_codes import INTERRUPTED
from readalong.cli.job_streams import Streams
from readalong.cli.json_fields import text
from readalong.cli.render.jobs_table import JobLines
from readalong.cli.render.terminal import Terminal
from readalong.cli.sanitize import harmless_json

#: What a line tells of a job: a second line for the same would be no change.
_SHOWN: Final = ("status", "attempt")
#: Jobs whose newest line is remembered, so that a reconnect does not repeat it.
_REMEMBERED: Final = 10_000


class JobFeed:
    """Prints jobs as lines, each state of a job once."""

    def __init__(self, terminal: Terminal, as_json: bool) -> None:
        self._terminal = terminal
        self._as_json = as_json
        self._lines = JobLines(terminal.width)
        self._known: dict[str, tuple[Any, ...]] = {}
        self._begun = False

    def header(self) -> None:
        """Prints the header, once."""
        if not self._as_json and not self._begun:
            self._terminal.lines([self._lines.header()])
        self._begun = True

    def job(self, job: dict[str, Any]) -> None:
        """Prints a job, unless its line would be the same as before."""
        job_id, state = str(job.get("id")), tuple(job.get(name) for name in _SHOWN)
        if self._known.pop(job_id, None) != state:
            self._print(job, self._lines.line(job))
        self._known[job_id] = state
        if len(self._known) > _REMEMBERED:
            del self._known[next(iter(self._known))]

    def erased(self, job_id: object) -> None:
        self._known.pop(str(job_id), None)
        self._print({"id": job_id, "erased": True}, Text(f"{text(job_id)}  erased", style="dim"))

    def _print(self, value: dict[str, Any], line: Text) -> None:
        if self._as_json:
            typer.echo(harmless_json(value))
        else:
            self._terminal.lines([line])


def follow_jobs(
    url: str, filters: dict[str, str], limit: int, give_up: float, terminal: Terminal, *, as_json: bool
) -> int:
    """Prints the newest jobs, the newest last, and each change. Ctrl-C ends it. Raises CliError."""
    feed = JobFeed(terminal, as_json)
    streams: Streams[Change] = Streams()
    try:
        with ApiClient(url) as client:
            changes = Changes(client, filters, give_up=give_up, notify=lambda line: streams.note("changes", line))
            streams.start("changes", changes.read())
            while True:
                item = streams.next()
                if item is None:
                    continue
                if item.note is not None:
                    typer.echo(item.note, err=True)
                if item.error is not None:
                    raise item.error
                if item.event is not None:
                    _show(item.event, feed, client, filters, limit)
    except KeyboardInterrupt:
        return INTERRUPTED


def _show(change: Change, feed: JobFeed, client: ApiClient, filters: dict[str, str], limit: int) -> None:
    match change.kind:
        case "connected":
            # What changed before this connection is in the list alone.
            found = [job for page in client.pages(limit, **filters) for job in page]
            feed.header()
            for job in reversed(found):
                feed.job(job)
        case "job":
            feed.job(change.data)
        case "erased":
            feed.erased(change.data.get("id"))
