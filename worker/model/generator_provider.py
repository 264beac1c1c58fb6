"""Adapts the user's async generator of text or events to a provider.

Items become chunks in OpenAI's form, so that the same limits and the same accumulator apply.
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
from readalong.worker.model.chunks.accumulator import ChunkAccumulator
from readalong.worker.model.generator_task import GeneratorAborted, GeneratorTask
from readalong.worker.model.limits import AnswerTooLarge, Limits
from readalong.worker.model.provider import Batch

logger = logging.getLogger(__name__)

#: Seconds that a generator may take to close. Then its job goes on without waiting for it.
_CLOSE_TIMEOUT: Final = 2.0
#: A valid code of the user's own ModelError.
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
    """Calls `function(request)` for each call, and reads the async generator that it returns."""

    def __init__(self, name: str, function: Callable[[dict[str, Any]], Any], settings: Settings) -> None:
        self._name = name
        self._function = function
        self._limits = Limits.from_settings(settings)
        #: Tasks of generators that were closed and have not ended.
        self._closing: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def stream(self, request: dict[str, Any], chunks: ChunkAccumulator) -> AsyncIterator[AsyncIterator[Batch]]:
        """Implements `Provider.stream`."""
        # A copy: the generator's changes must not reach a later call.
        copy = orjson.loads(orjson.dumps(request))
        reader = GeneratorTask(lambda: _as_generator(self._name, self._function(copy)), name=f"provider {self._name}")
        try:
            async with aclosing(self._batches(reader, chunks)) as batches:
                yield batches
        finally:
            await self._close(reader)

    async def close(self) -> bool:
        """Implements `Provider.close`. Cancels once more the generators that have not ended."""
        for task in self._closing:
            task.cancel()
        if self._closing:
            await asyncio.wait(self._closing, timeout=_CLOSE_TIMEOUT)
        return not self._closing

    async def _batches(self, reader: GeneratorTask, chunks: ChunkAccumulator) -> AsyncGenerator[Batch, None]:
        total = 0
        done = False
        while not done:
            events: list[NewEvent] = []
            size = 0
            failure: ModelError | None = None
            try:
                items = await reader.take()
                done = not items
                for item in items:
                    data, done = self._chunk(item)
                    size += len(data)
                    events += self._add(chunks, data, total + size)
                    if done:
                        break
            except AnswerTooLarge as error:
                events += error.events
                failure = error
            except MemoryError:
                raise
            except Exception as error:
                failure = self._failure(error)
            total += size
            if done and not chunks.finished:
                events += chunks.add(_choice({}, "stop"))
            yield events, size, done
            if failure is not None:
                raise failure

    def _add(self, chunks: ChunkAccumulator, data: bytes, total: int) -> list[NewEvent]:
        if len(data) > self._limits.line:
            raise AnswerTooLarge(f"{self._limits.line} bytes in one event")
        if total > self._limits.response:
            raise AnswerTooLarge(f"{self._limits.response} bytes")
        return chunks.add(data)

    def _chunk(self, item: Any) -> tuple[bytes, bool]:
        """Returns an item as a chunk in OpenAI's form, and whether it completes the answer."""
        if isinstance(item, str):
            return _choice({"content": _valid(item)}), False
        if not isinstance(item, dict):
            raise self._malformed(f"a value of type {type(item).__name__}: it is neither text nor an event")
        kind = item.get("type")
        fields = _FIELDS.get(kind) if isinstance(kind, str) else None
        if fields is None:
            raise self._malformed(f"an event whose type is not one of {', '.join(_FIELDS)}")
        given = {name: value for name, value in item.items() if name != "type" and value is not None}
        for name, value in given.items():
            if not isinstance(value, fields.get(name, ())) or isinstance(value, bool):
                raise self._malformed(f"an event `{kind}` whose field `{str(name)[:80]}` is unknown or of a wrong type")
        try:
            return _event(str(kind), given), kind == "done"
        except orjson.JSONEncodeError:
            raise self._malformed(f"an event `{kind}` that is not JSON") from None

    def _failure(self, error: Exception) -> ModelError:
        """Returns the error of a generator that raised. Only a ModelError's text is in it; others are logged."""
        if isinstance(error, ModelError):
            code = error.code if _CODE.fullmatch(str(error.code)) else "model_error"
            # Without `refuses`: a provider's error must not hold up the jobs of other models.
            return ModelError(
                code,
                str(error.message),
                retryable=bool(error.retryable),
                retry_after=error.retry_after,
                status=error.status,
                away=error.away,
                connected=error.connected,
            )
        logger.error("provider %s raised", self._name, exc_info=error)
        name = error.args[0] if isinstance(error, GeneratorAborted) else type(error).__name__
        return ModelError("model_error", f"The provider raised {name}.", retryable=True)

    def _malformed(self, what: str) -> ModelError:
        return _malformed(self._name, f"yielded {what}")

    async def _close(self, reader: GeneratorTask) -> None:
        """Closes the generator, and waits a moment for its end."""
        task = reader.task
        if task.done():
            return
        reader.close()
        self._closing.add(task)
        task.add_done_callback(self._closing.discard)
        await asyncio.wait([task], timeout=_CLOSE_TIMEOUT)
        if not task.done():
            logger.error("provider %s does not end when it is closed; its job goes on without it", self._name)


def _malformed(name: str, what: str) -> ModelError:
    logger.error("provider %s %s", name, what)
    return ModelError("model_malformed", f"The provider {what}.", retryable=False)


def _as_generator(name: str, made: Any) -> AsyncGenerator[Any, None]:
    """Returns what the function made. Raises ModelError unless it is an async generator."""
    if inspect.iscoroutine(made):
        made.close()  # otherwise Python warns that it was never awaited
    if not hasattr(made, "__anext__") or not hasattr(made, "aclose"):
        raise _malformed(name, f"returned a value of type {type(made).__name__}: it is not an async generator")
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
    """Returns the text with U+FFFD for half a surrogate pair, which UTF-8 cannot encode."""
    return text if text.isascii() else text.encode("utf-16", "surrogatepass").decode("utf-16", "replace")
