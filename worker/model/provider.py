"""The seam between an attempt and a provider of answers."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeAlias

from readalong.core.events import NewEvent
from readalong.worker.model.chunks.accumulator import ChunkAccumulator

#: Events of one read, the number of bytes read, and whether the answer is now complete. A batch without events shows
#: that the model is alive. Iterating beyond the complete batch only cleans up, and may be left out. (Creating a named
#: tuple takes several times as long, for each token.)
Batch: TypeAlias = tuple[list[NewEvent], int, bool]


class Provider(Protocol):
    """Answers requests, for all attempts of a process at the same time. OpenAIProvider is the first one.

    An attempt adds what every provider gets: limits, redaction, patience, the gate and the breaker.

    Atomic: the events of a batch are appended to the log in one step.
    Ordered: batches are appended in the order in which they are yielded.
    Repeatable: a call is not. The same request comes again after a call that failed before its first event, and with a
    new attempt. The events of the earlier call are then discarded.
    """

    def stream(
        self, request: dict[str, Any], chunks: ChunkAccumulator
    ) -> AbstractAsyncContextManager[AsyncIterator[Batch]]:
        """Calls the model. Yields batches up to a complete one, and adds the answer up in `chunks`.

        Entering the block waits until the model answers. Leaving it, also by a cancellation, ends the model's work.
        Both entering and iterating raise ModelError. Its message may hold secrets.
        """
        ...

    async def close(self) -> bool:
        """Closes all connections. No call is open any more.

        Returns False if a part of the provider does not end. The process then exits without waiting.
        """
        ...
