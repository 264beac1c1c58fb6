"""The seam between an attempt and what answers it."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from typing import Any, Protocol, TypeAlias

from readalong.core.events import NewEvent
from readalong.worker.model.chunk_accumulator import ChunkAccumulator

#: The events of one read; the bytes that they were read from; and whether the answer is complete with them. A batch
#: without events is a sign of life. After a complete one, iterating further only cleans up, and may be broken off.
#: (A named tuple takes several times as long to make, for each token.)
Batch: TypeAlias = tuple[list[NewEvent], int, bool]


class Provider(Protocol):
    """Answers requests, for all attempts of a process at the same time.

    Atomic: the events of a batch are appended to the log in one step.
    Ordered: batches are appended in the order in which they are yielded.
    Repeatable: a call is not. The same request comes again when a call fails before its first event, and with a new
    attempt when a worker is lost. Then the events of the call before are void.
    """

    def stream(
        self, request: dict[str, Any], chunks: ChunkAccumulator
    ) -> AbstractAsyncContextManager[AsyncIterator[Batch]]:
        """Calls the model. The block yields batches up to a complete one, and `chunks` adds them up.

        Entering the block waits until the model answers. Leaving it, also by a cancellation, ends the model's work.
        Entering and iterating raise ModelError, whose code says why the call failed; its message may hold secrets.
        """
        ...

    async def close(self) -> bool:
        """Lets go of all connections, when no call is open any more.

        Returns False if something does not end. The process then exits without it.
        """
        ...
