"""`readalong watch` and `readalong ask`."""

from __future__ import annotations

import io
import sys
from typing import Any

from readalong.cli.client import Client
from readalong.cli.follow import Follower
from readalong.cli.plain import one_line
from readalong.cli.problem import Problem
from readalong.cli.show import CANCELLED, DONE, FAILED, INTERRUPTED, Show
from readalong.core.position import Position

_CODES = {"done": DONE, "failed": FAILED, "cancelled": CANCELLED}


def watch(url: str, job_id: str, after: Position, give_up: float) -> int:
    """Shows a job's events until its end; answers the exit code. Raises Problem."""
    with Client(url) as client:
        return _follow(client, job_id, after, give_up)


def ask(url: str, question: str, model: str | None, give_up: float) -> int:
    """Submits a question and shows the answer's events; answers the exit code. Raises Problem."""
    body: dict[str, Any] = {"messages": [{"role": "user", "content": question}]}
    if model is not None:
        body["model"] = model
    with Client(url) as client:
        job_id = client.post("/v1/jobs", body).get("id")
        if not isinstance(job_id, str):
            raise Problem(f"{client.url} does not answer like a readalong API: a job without an id")
        return _follow(client, job_id, Position(0), give_up, name_it=True)


def _follow(client: Client, job_id: str, after: Position, give_up: float, *, name_it: bool = False) -> int:
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A character that the terminal's encoding lacks must not end the watching.
        sys.stdout.reconfigure(errors="replace")
    show = Show()
    if name_it:
        show.note(f"job {one_line(job_id)}")
    follower = Follower(client, job_id, after, give_up=give_up, tell=show.note)
    try:
        for seen in follower.events():
            code = show.event(seen)
            if code is not None:
                return code
        return _ended_before(client, job_id, follower.position, show)
    except KeyboardInterrupt:
        show.note(f"stopped watching; the job goes on. Further: watch {job_id} --after {follower.position}")
        return INTERRUPTED
    except Problem:
        show.note("")
        raise


def _ended_before(client: Client, job_id: str, position: Position, show: Show) -> int:
    status = str(client.get(client.job_path(job_id)).get("status"))
    show.note(f"{status}; there is nothing after event {position}")
    return _CODES.get(status, FAILED)
