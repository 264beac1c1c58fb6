"""Events as JSON, one a line."""

from __future__ import annotations

import typer

from readalong.cli.exit_codes import of_status
from readalong.cli.follower import ReceivedEvent
from readalong.cli.sanitize import harmless_json
from readalong.core.states import TERMINAL


class JsonEvents:
    """Writes each event of a job to stdout: `job`, `seq`, and the event's own fields with its `type`.

    Notes go to stderr, as lines.
    """

    def __init__(self, job_id: str) -> None:
        self._job_id = job_id

    def render(self, event: ReceivedEvent) -> int | None:
        """Writes one event. Returns the exit code if the event is the last."""
        typer.echo(harmless_json({**event.fields, "type": event.type, "job": self._job_id, "seq": event.seq}))
        return of_status(event.type) if event.type in TERMINAL else None

    def note(self, line: str, style: str = "") -> None:
        """Writes one line to stderr."""
        typer.echo(line, err=True)

    def end_line(self) -> None:
        """Does nothing: every line is whole."""
