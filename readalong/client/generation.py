"""Where the events of a stream come from: an API, or a model directly."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Generator
from typing import Protocol

from readalong.client.events import Event


class Generation(Protocol):
    """One generation, begun by the first event that is asked for."""

    @property
    def job_id(self) -> str | None:
        """The job's id, once it is known."""

    def events(self) -> Generator[Event, None, None]:
        """Yields the events. Closed before the end, it ends the generation, unless that is to go on."""
        ...

    def cancel(self) -> None:
        """Asks for the end, from any thread. The events go on to `cancelled`, or to another end that came first."""

    def interrupt(self) -> None:
        """Makes `events` end soon, from any thread."""


class AsyncGeneration(Protocol):
    """The same in an event loop."""

    @property
    def job_id(self) -> str | None: ...

    def events(self) -> AsyncGenerator[Event, None]: ...

    async def cancel(self) -> None: ...

    async def interrupt(self) -> None: ...
