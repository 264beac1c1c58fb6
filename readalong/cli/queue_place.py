"""Where in the queue a job waits."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, Self

from rich.status import Status
from rich.text import Text

from readalong.cli.api_client import ApiClient
from readalong.cli.errors import CliError
from readalong.cli.follower import ReceivedEvent
from readalong.cli.json_fields import mappings
from readalong.cli.render.terminal import Terminal

#: Jobs that are counted.
_MOST: Final = 200
#: Events after which a job waits no more, nor is its place of interest.
_STILL: Final = ("queued", "waiting")


class QueuePlace:
    """Tells the place of a job until it starts: on a terminal in one line that changes, else in a line a change."""

    def __init__(self, client: ApiClient) -> None:
        self._client = client
        self._place = ""
        self.waits = True
        console = Terminal(stderr=True, highlight=False)
        self._status: Status | None = console.status("") if console.is_terminal else None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.pause()

    def see(self, event: ReceivedEvent) -> None:
        """Takes in the job's next event."""
        self.waits = self.waits and event.type in _STILL

    def pause(self) -> None:
        """Makes room for a line of others."""
        if self._status is not None:
            self._status.stop()
        self._place = ""

    def look(self, created_at: object, note: Callable[[str], None]) -> None:
        """Finds the place of the job that was created then, and tells it if it has changed."""
        place = self._find(str(created_at))
        if place == self._place:
            return
        self._place = place
        if self._status is None:
            note(place)
        else:
            self._status.update(Text(place, style="dim"))
            self._status.start()

    def _find(self, created_at: str) -> str:
        try:
            answer = self._client.get("/v1/jobs", status="queued", created_before=created_at, limit=_MOST)
        except CliError:
            return "waiting"  # the stream tells of the trouble
        before = len(mappings(answer.get("jobs")))
        if answer.get("next") and before:
            return f"waiting: more than {before} jobs are before it in the queue"
        return f"waiting: place {before + 1} in the queue"
