"""Streams straight from a model, without a server, for notebooks and tests."""

from __future__ import annotations

import threading
from collections.abc import Generator
from typing import TYPE_CHECKING, Any, Self

import httpx2

from readalong.client.chunk_events import ChunkEvents
from readalong.client.errors import MisuseError
from readalong.client.events import Event
from readalong.client.openai_extra import CUT, arguments, end, is_azure, require_openai
from readalong.client.requests import Messages
from readalong.client.stream import Stream
from readalong.client.text_reader import OnRestart
from readalong.client.transport import shut_down

if TYPE_CHECKING:
    import openai


class DirectClient:
    """OpenAI, Azure or any compatible server, by the openai package: the same streams and events, and no queue.

    `client`: one of the openai package; else the environment's: OPENAI_BASE_URL and OPENAI_API_KEY, or Azure's
    variables. Raises ImportError without the package.
    """

    def __init__(self, client: openai.OpenAI | None = None) -> None:
        require_openai()
        import openai  # noqa: PLC0415

        self._closed = False
        self._owns_client = client is None
        self._client = client or (openai.AzureOpenAI() if is_azure() else openai.OpenAI())

    def stream_chat(
        self, messages: Messages, *, model: str | None = None, on_restart: OnRestart | None = None, **parameters: Any
    ) -> Stream:
        """Returns the stream of a generation. `model`: else READALONG_MODEL. `parameters`: OpenAI's. It never
        restarts."""
        if self._closed:
            raise MisuseError("This client is closed.")
        return Stream(DirectGeneration(self._client, arguments(messages, model, parameters)), on_restart)

    def close(self) -> None:
        """Closes the connections, unless the openai client is yours."""
        self._closed = True
        if self._owns_client:
            self._client.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class DirectGeneration:
    """One call of the model."""

    job_id = None

    def __init__(self, client: openai.OpenAI, arguments: dict[str, Any]) -> None:
        self._client = client
        self._arguments = arguments
        self._response: httpx2.Response | None = None
        self._cancelled = threading.Event()
        self._interrupted = threading.Event()

    def events(self) -> Generator[Event, None, None]:
        import openai  # noqa: PLC0415

        events = ChunkEvents(self._arguments["model"])
        yield from events.begin()
        if self._cancelled.is_set():
            yield events.cancelled()
            return
        trouble: Exception | None = None
        try:
            with self._client.chat.completions.create(**self._arguments) as stream:
                self._response = stream.response
                # Given up before there was a connection to shut down: it is not read at all.
                for chunk in () if self._interrupted.is_set() else stream:
                    yield from events.read(chunk.to_dict())
                    if self._interrupted.is_set():
                        break
        except (openai.OpenAIError, *CUT) as error:
            trouble = error
        if self._cancelled.is_set():
            yield events.cancelled()
        elif not self._interrupted.is_set():
            yield from end(events, trouble, begun=self._response is not None)

    def cancel(self) -> None:
        self._cancelled.set()
        self.interrupt()

    def interrupt(self) -> None:
        self._interrupted.set()
        if self._response is not None:
            shut_down(self._response)
