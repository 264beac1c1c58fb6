"""`readalong watch` and `readalong ask`: followers whose events are rendered."""

from __future__ import annotations

import io
import sys
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Protocol
from uuid import uuid4

import typer
from rich.console import Console

from readalong.cli.api_client import ApiClient
from readalong.cli.exit_codes import INTERRUPTED, of_status, worst
from readalong.cli.follower import Follower, ReceivedEvent
from readalong.cli.interrupts import code_of, signals_interrupt
from readalong.cli.job_streams import Item, Streams
from readalong.cli.queue_place import QueuePlace
from readalong.cli.render.event_renderer import EventRenderer
from readalong.cli.render.json_events import JsonEvents
from readalong.cli.render.patience import patience
from readalong.cli.render.prefix_writer import PrefixWriter
from readalong.cli.sanitize import one_line
from readalong.core.position import Position

#: Seconds without an event after which a job that waits is looked for in the queue, and again.
_LOOK_SECONDS: Final = 1.0
#: Seconds that `ask` waits for the end of the job that Ctrl-C cancels.
_CANCEL_SECONDS: Final = 15.0


class Renderer(Protocol):
    """Shows the events of a job."""

    def render(self, event: ReceivedEvent) -> int | None: ...

    def note(self, line: str, style: str = ...) -> None: ...

    def end_line(self) -> None: ...


@dataclass
class Watched:
    """A job that is watched. `close` writes what the renderer holds back."""

    follower: Follower
    renderer: Renderer
    close: Callable[[], None]


class Watching:
    """Shows the events of jobs until the end of each. `before` is called before anything is shown."""

    def __init__(self, client: ApiClient, give_up: float, before: Callable[[], None] = lambda: None) -> None:
        self._client = client
        self._give_up = give_up
        self._before = before
        self._streams: Streams[ReceivedEvent] = Streams()
        self._open: list[str] = []
        self._codes: list[int] = []
        #: The watched jobs, by id.
        self.jobs: dict[str, Watched] = {}

    @property
    def is_over(self) -> bool:
        return not self._open

    @property
    def code(self) -> int:
        """The exit code of the jobs that have ended."""
        return worst(self._codes)

    def add(self, job_id: str, after: Position, renderer: Renderer, close: Callable[[], None] = lambda: None) -> None:
        """Begins to watch a job."""
        notify = partial(self._streams.note, job_id)
        follower = Follower(self._client, job_id, after, give_up=self._give_up, notify=notify)
        self.jobs[job_id] = Watched(follower, renderer, close)
        self._open.append(job_id)
        self._streams.start(job_id, follower.events())

    def next(self, timeout: float | None = None) -> Item[ReceivedEvent] | None:
        """Shows what comes next, and returns it; None after `timeout` seconds. Raises the CliError of an only job."""
        item = self._streams.next(timeout)
        if item is not None and item.name in self._open:
            self._before()
            self._show(item, self.jobs[item.name])
        return item

    def _show(self, item: Item[ReceivedEvent], watched: Watched) -> None:
        if item.note is not None:
            watched.renderer.note(item.note)
            return
        code = self._end(item, watched) if item.event is None else watched.renderer.render(item.event)
        if code is not None:
            watched.close()
            self._codes.append(code)
            self._open.remove(item.name)

    def _end(self, item: Item[ReceivedEvent], watched: Watched) -> int:
        """Reports a stream that ended without a terminal event: an error, or no event after the position."""
        if item.error is not None:
            watched.renderer.end_line()
            if len(self.jobs) == 1:
                raise item.error
            watched.renderer.note(item.error.message, "red")
            return item.error.code
        status = str(self._client.get(self._client.job_path(item.name)).get("status"))
        watched.renderer.note(f"{status}; no events after {watched.follower.position}")
        return of_status(status)


def watch_jobs(url: str, beginnings: list[str], after: Position, give_up: float, *, as_json: bool = False) -> int:
    """Shows the events of jobs until the end of each. Returns the exit code. Raises CliError."""
    _replace_unknown_characters()
    with ApiClient.asking(url) as client:
        jobs = client.find_jobs(beginnings)
    with ApiClient(url) as client:
        watching = Watching(client, give_up)
        try:
            for job_id in jobs:
                watching.add(job_id, after, *_renderer(job_id, jobs, as_json))
            while not watching.is_over:
                watching.next()
        except KeyboardInterrupt:
            if len(jobs) > 1 and sys.stderr.isatty():
                typer.echo(err=True)  # the terminal has shown ^C on this line
            for job_id, watched in watching.jobs.items():
                watched.close()
                watched.renderer.note(
                    f"stopped watching; the job goes on. To resume: watch {job_id} --after {watched.follower.position}"
                )
            return INTERRUPTED
        return watching.code


def submit_and_watch(url: str, body: dict[str, Any], give_up: float, *, as_json: bool = False) -> int:
    """Submits a job and shows its events. Ctrl-C, SIGTERM, SIGHUP and a closed pipe cancel it.

    Returns the exit code. Raises CliError.
    """
    _replace_unknown_characters()
    key = uuid4().hex
    with signals_interrupt(), ApiClient(url) as client, QueuePlace(client) as place:
        watching = Watching(client, give_up, place.pause)
        job: dict[str, Any] | None = None
        try:
            with patience(f"submitting to {client.url}"):
                job = client.submit(body, key)
            _watch_own(job, watching, place, as_json)
            return watching.code
        except KeyboardInterrupt as interrupt:
            place.pause()
            # The API may have a job whose response is missing: the same key finds it.
            _cancel(client, (job or client.submit(body, key))["id"], watching)
            return code_of(interrupt)
        except BrokenPipeError:
            if job is not None:
                client.post(client.job_path(job["id"]) + "/cancel")
            raise


def _watch_own(job: dict[str, Any], watching: Watching, place: QueuePlace, as_json: bool) -> None:
    """Shows the events of a new job, and where it waits."""
    renderer: Renderer = JsonEvents(job["id"]) if as_json else EventRenderer()
    if not as_json:
        renderer.note(f"job {one_line(job['id'])}")
    watching.add(job["id"], Position(0), renderer)
    while not watching.is_over:
        item = watching.next(_LOOK_SECONDS if place.waits else None)
        if item is None:
            place.look(job.get("created_at"), renderer.note)
        elif item.event is not None:
            place.see(item.event)


def _cancel(client: ApiClient, job_id: str, watching: Watching) -> None:
    """Cancels the job and shows its end."""
    end = f"it may go on: readalong cancel {job_id}"
    try:
        client.post(client.job_path(job_id) + "/cancel")
        end = "the cancel is kept; the worker ends the job"
        for watched in watching.jobs.values():
            watched.renderer.note("cancelling; another Ctrl-C does not wait for the end", "yellow")
        while not watching.is_over and watching.next(_CANCEL_SECONDS) is not None:
            pass
    except KeyboardInterrupt:
        for watched in watching.jobs.values():
            watched.renderer.end_line()
    if not watching.is_over:
        typer.echo(end, err=True)


def _renderer(job_id: str, jobs: list[str], as_json: bool) -> tuple[Renderer, Callable[[], None]]:
    """Returns the renderer of one of these jobs, and what closes it."""
    if as_json:
        return JsonEvents(job_id), lambda: None
    if len(jobs) == 1:
        return EventRenderer(), lambda: None
    prefix = f"{job_id[: _distinct(jobs)]} "
    terminal = Console()
    out = PrefixWriter(sys.stdout, prefix, terminal.width if sys.stdout.isatty() else None)
    err = PrefixWriter(sys.stderr, prefix)
    notes = Console(file=err, highlight=False, width=max(20, Console(stderr=True).width - len(prefix)))

    def close() -> None:
        out.end()
        err.end()

    return EventRenderer(out, notes), close


def _distinct(jobs: list[str]) -> int:
    """Returns the shortest length, of six or more, at which the beginnings of the ids differ."""
    return next((length for length in range(6, 22) if len({job[:length] for job in jobs}) == len(jobs)), 22)


def _replace_unknown_characters() -> None:
    if isinstance(sys.stdout, io.TextIOWrapper):
        # A character that the terminal's encoding lacks must not end the watching.
        sys.stdout.reconfigure(errors="replace")
