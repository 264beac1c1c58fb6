"""`readalong watch` and `readalong ask`: a follower whose events are rendered."""

from __future__ import annotations

import io
import sys
from typing import Any

from readalong.cli.client import Client
from readalong.cli.errors import CliError
from readalong.cli.follower import Follower
from readalong.cli.render.event_renderer import CANCELLED, DONE, FAILED, INTERRUPTED, EventRenderer
from readalong.cli.sanitize import one_line
from readalong.core.position import Position

_EXIT_CODES = {"done": DONE, "failed": FAILED, "cancelled": CANCELLED}


def watch_job(url: str, job_id: str, after: Position, give_up: float) -> int:
    """Shows a job's events until its end. Returns the exit code. Raises CliError."""
    with Client(url) as client:
        return _watch(client, EventRenderer(), job_id, after, give_up)


def submit_and_watch(url: str, question: str, model: str | None, give_up: float) -> int:
    """Submits a question and shows the answer's events. Returns the exit code. Raises CliError."""
    body: dict[str, Any] = {"messages": [{"role": "user", "content": question}]}
    if model is not None:
        body["model"] = model
    with Client(url) as client:
        job_id = client.post("/v1/jobs", body).get("id")
        if not isinstance(job_id, str):
            raise CliError(f"{client.url} does not answer like a readalong API: a job without an id")
        renderer = EventRenderer()
        renderer.note(f"job {one_line(job_id)}")
        return _watch(client, renderer, job_id, Position(0), give_up)


def _watch(client: Client, renderer: EventRenderer, job_id: str, after: Position, give_up: float) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A character that the terminal's encoding lacks must not end the watching.
        sys.stdout.reconfigure(errors="replace")
    follower = Follower(client, job_id, after, give_up=give_up, notify=renderer.note)
    try:
        for event in follower.events():
            code = renderer.render(event)
            if code is not None:
                return code
        return _report_end(client, job_id, follower.position, renderer)
    except KeyboardInterrupt:
        renderer.note(f"stopped watching; the job goes on. To resume: watch {job_id} --after {follower.position}")
        return INTERRUPTED
    except CliError:
        renderer.end_line()
        raise


def _report_end(client: Client, job_id: str, position: Position, renderer: EventRenderer) -> int:
    """Reports a job that has no event after the position. Returns the exit code of its status."""
    status = str(client.get(client.job_path(job_id)).get("status"))
    renderer.note(f"{status}; no events after {position}")
    return _EXIT_CODES.get(status, FAILED)
