"""A provider of the user's own: an async generator of text or events.

What it yields becomes chunks in OpenAI's form, so that the same limits apply and the same accumulator reads it.
"""

from __future__ import annotations

import asyncio
import inspect
import logging
import re
from collections.abc import AsyncGenerator, AsyncIterator, Callable
from contextlib import aclosing, asynccontextmanager
from typing import Any, Final

import orjson

from readalong.core.errors import ModelError
from readalong.core.events import TEXT, NewEvent
from readalong.core.settings import Settings
from readalong.worker.model.chunk_accumulator import ChunkAccumulator
from readalong.worker.model.limits import AnswerTooLarge, Limits
from readalong.worker.model.provider import Batch
from readalong.worker.model.pump import Broken, Pump

logger = logging.getLogger(__name__)

#: Seconds that a generator may take to end once it is closed; then it is left to itself, and its job goes on.
_CLOSE_WITHIN: Final = 2.0
#: What a code of a provider's own ModelError looks like.
_CODE: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
#: The fields of each type of event, besides `type`, with the types of their values.
_FIELDS: Final[dict[str, dict[str, type]]] = {
    "content": {"content": str, "choice": int},
    "reasoning": {"content": str, "choice": int},
    "refusal": {"content": str, "choice": int},
    "tool_call_delta": {"index": int, "id": str, "name": str, "arguments": str, "choice": int},
    "done": {"finish_reason": str, "usage": dict},
}


class GeneratorProvider:
    """Calls `function(request)` for each call, and iterates over the async generator that it returns."""

    def __init__(self, name: str, function: Callable[[dict[str, Any]], Any], settings: Settings) -> None:
        self._name = name
        self._function = function
        self._limits = Limits.of(settings)
        #: Tasks of generators that have not ended since they were closed.
        self._leaving: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def stream(self, request: dict[str, Any], chunks: ChunkAccumulator) -> AsyncIterator[AsyncIterator[Batch]]:
        """`Provider.stream`."""
        # The request is parsed anew: what the generator does to it reaches no later call.
        copy = orjson.loads(orjson.dumps(request))
        pump = Pump(lambda: _generator(self._name, self._function(copy)), name=f"provider {self._name}")
        try:
            async with aclosing(self._batches(pump, chunks)) as batches:
                yield batches
        finally:
            await self._let_go(pump)

    async def close(self) -> bool:
        """`Provider.close`. Cancels once more what has not ended."""
        for task in self._leaving:
            task.cancel()
        if self._leaving:
            await asyncio.wait(self._leaving, timeout=_CLOSE_WITHIN)
        return not self._leaving

    async def _batches(self, pump: Pump, chunks: ChunkAccumulator) -> AsyncGenerator[Batch, None]:
        total = 0
        done = False
        while not done:
            drafts: list[NewEvent] = []
            size = 0
            failure: ModelError | None = None
            try:
                items = await pump.take()
                done = not items
                for item in items:
                    data, done = self._chunk(item)
                    size += len(data)
                    drafts += self._add(chunks, data, total + size)
                    if done:
                        break
            except AnswerTooLarge as error:
                drafts += error.drafts
                failure = error
            except MemoryError:
                raise
            except Exception as error:
                failure = self._failure(error)
            total += size
            if done and not chunks.finished:
                drafts += chunks.add(_choice({}, "stop"))
            yield drafts, size, done
            if failure is not None:
                raise failure

    def _add(self, chunks: ChunkAccumulator, data: bytes, total: int) -> list[NewEvent]:
        if len(data) > self._limits.line:
            raise AnswerTooLarge(f"{self._limits.line} bytes in one event")
        if total > self._limits.response:
            raise AnswerTooLarge(f"{self._limits.response} bytes")
        return chunks.add(data)

    def _chunk(self, item: Any) -> tuple[bytes, bool]:
        """What was yielded as a chunk in OpenAI's form, and whether it says that all has been said."""
        if isinstance(item, str):
            return _choice({"content": _valid(item)}), False
        if not isinstance(item, dict):
            raise self._malformed(f"a value of type {type(item).__name__}: it is neither text nor an event")
        kind = item.get("type")
        fields = _FIELDS.get(kind) if isinstance(kind, str) else None
        if fields is None:
            raise self._malformed(f"an event whose type is none of {', '.join(_FIELDS)}")
        given = {name: value for name, value in item.items() if name != "type" and value is not None}
        for name, value in given.items():
            if not isinstance(value, fields.get(name, ())) or isinstance(value, bool):
                raise self._malformed(f"an event `{kind}` whose field `{str(name)[:80]}` is unknown or of a wrong type")
        try:
            return _event(str(kind), given), kind == "done"
        except orjson.JSONEncodeError:
            raise self._malformed(f"an event `{kind}` that is no JSON") from None

    def _failure(self, error: Exception) -> ModelError:
        """Why the generator failed. The text of an exception that is no ModelError is only in the log."""
        if isinstance(error, ModelError):
            code = error.code if _CODE.fullmatch(str(error.code)) else "model_error"
            # It may not say that the model server refuses this worker: other models are none of its business.
            return ModelError(
                code,
                str(error.message),
                retryable=bool(error.retryable),
                retry_after=error.retry_after,
                status=error.status,
                away=error.away,
            )
        logger.error("provider %s raised", self._name, exc_info=error)
        name = error.args[0] if isinstance(error, Broken) else type(error).__name__
        return ModelError("model_error", f"The provider raised {name}.", retryable=True)

    def _malformed(self, what: str) -> ModelError:
        return _malformed(self._name, f"yielded {what}")

    async def _let_go(self, pump: Pump) -> None:
        """Closes the generator, and waits a moment for its end."""
        task = pump.task
        if task.done():
            return
        pump.close()
        self._leaving.add(task)
        task.add_done_callback(self._leaving.discard)
        await asyncio.wait([task], timeout=_CLOSE_WITHIN)
        if not task.done():
            logger.error("provider %s does not end when it is closed; it is left to itself", self._name)


def _malformed(name: str, what: str) -> ModelError:
    logger.error("provider %s %s", name, what)
    return ModelError("model_malformed", f"The provider {what}.", retryable=False)


def _generator(name: str, made: Any) -> AsyncGenerator[Any, None]:
    """What the function returned. Raises ModelError if it is no async generator."""
    if inspect.iscoroutine(made):
        made.close()  # otherwise Python warns that it was never awaited
    if not hasattr(made, "__anext__") or not hasattr(made, "aclose"):
        raise _malformed(name, f"returned a value of type {type(made).__name__}: it is no async generator")
    generator: AsyncGenerator[Any, None] = made
    return generator


def _event(kind: str, given: dict[str, Any]) -> bytes:
    if kind == "done":
        return _choice({}, given.get("finish_reason") or "stop", usage=given.get("usage"))
    choice = given.pop("choice", 0)
    if kind in TEXT:
        return _choice({kind: _valid(given.get("content", ""))}, choice=choice)
    function = {name: _valid(given[name]) for name in ("name", "arguments") if name in given}
    call = {name: given[name] for name in ("index", "id") if name in given}
    return _choice({"tool_calls": [{**call, "type": "function", "function": function}]}, choice=choice)


def _choice(delta: dict[str, Any], finish: str | None = None, *, choice: int = 0, **more: Any) -> bytes:
    return orjson.dumps({"choices": [{"index": choice, "delta": delta, "finish_reason": finish}], **more})


def _valid(text: str) -> str:
    """The text with U+FFFD for half a surrogate pair, which no UTF-8 can hold."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
