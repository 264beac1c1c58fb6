"""Parses one response body, an SSE stream, into events (pure)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from readalong.core.errors import ModelError
from readalong.core.events import NewEvent
from readalong.core.sse import Decoder, Message, MessageTooLong
from readalong.worker.model.chunks.accumulator import ChunkAccumulator
from readalong.worker.model.chunks.error_messages import reported_error
from readalong.worker.model.chunks.lenient_json import malformed_chunk, parse_leniently
from readalong.worker.model.limits import MAX_LINES, AnswerTooLarge, Limits

#: Longest line that is not data, such as the name of an event.
_MAX_FIELD_LINE: Final = 1024
_DONE: Final = frozenset({b"[DONE]", b'"[DONE]"'})
#: Names of events that keep a connection open and say nothing.
KEEP_ALIVES: Final = frozenset({"ping", "keepalive", "keep-alive", "heartbeat"})


class AnswerParser:
    """`feed` takes each piece of the body, `close` its end. Then `done` and `failure` say whether it was complete."""

    def __init__(self, chunks: ChunkAccumulator, *, limits: Limits = Limits()) -> None:  # noqa: B008 (it is frozen)
        self._chunks = chunks
        self._decoder = _LenientDecoder(max_line=limits.line, max_message=limits.line, max_lines=MAX_LINES)
        #: The decoder is between two messages: a piece may be a whole frame, which need not be decoded.
        self._between = False
        self._max_bytes = limits.response
        self._bytes_left = limits.response
        #: The answer is complete.
        self.done = False
        #: Why the answer ends here. The events before it are valid.
        self.failure: ModelError | None = None

    def feed(self, piece: bytes) -> list[NewEvent]:
        """Returns the events of a piece of the body. Pieces may be cut anywhere."""
        self._bytes_left -= len(piece)
        if self._bytes_left < 0:
            self._stop(AnswerTooLarge(f"{self._max_bytes} bytes, its comments and envelopes among them"))
            return []
        if self._between and (events := self._chunks.add_frame(piece)):
            return events
        try:
            messages = self._decoder.feed(piece)
        except MessageTooLong as error:
            self._stop(AnswerTooLarge(error.what))
            return []
        self._between = self._decoder.between
        return self._read(messages)

    def close(self) -> list[NewEvent]:
        """Returns the events of a last message without an end. Afterwards either `done` or `failure` is set."""
        events: list[NewEvent] = []
        try:
            events = self._read(self._decoder.close())
        except MessageTooLong as error:
            self._stop(AnswerTooLarge(error.what))
        cut = self.failure is not None and self.failure.code == "model_malformed"
        if not self.done and (cut or self.failure is None):
            self.done = self._chunks.finished
            self.failure = None if self.done else self._incomplete()
        return events

    def _read(self, messages: Iterable[Message]) -> list[NewEvent]:
        events: list[NewEvent] = []
        for name, data, _ in messages:
            if data == b"[DONE]":
                self._end()
                break
            try:
                events += self._add(name, data)
            except ModelError as error:
                events += self._handle(name, data, error)
            if self.done or self.failure is not None:
                break
        return events

    def _end(self) -> None:
        """Handles the model's own end. An answer without a choice is a failure."""
        if self._chunks.has_choices:
            self.done = True
        elif chunk := self._chunks.non_choice_chunk:
            self.failure = malformed_chunk("without a choice", chunk)
        else:
            self.failure = ModelError("model_malformed", "The model's answer is empty.", retryable=True)

    def _incomplete(self) -> ModelError:
        chunk = self._chunks.non_choice_chunk
        if chunk and not self._chunks.has_choices and b'"choices"' not in chunk:
            return malformed_chunk("without a choice", chunk)
        return ModelError("model_cut", "The model closed the stream early.", retryable=True)

    def _stop(self, error: ModelError) -> None:
        """Ends the answer here. If all choices are finished, nothing is missing."""
        if self._chunks.finished:
            self.done = True
        else:
            self.failure = error

    def _add(self, name: str, data: bytes) -> list[NewEvent]:
        """Returns the events of one message. Raises ModelError."""
        if name == "message":
            return self._chunks.add(data)
        if name in KEEP_ALIVES:
            return []
        if name == "error" and b'"choices"' not in data:
            raise reported_error(_json_or_text(data))
        return self._chunks.add(data)

    def _handle(self, name: str, data: bytes, error: ModelError) -> list[NewEvent]:
        """Handles a message that is no chunk, is too large or carries an error. Returns its events."""
        bare = data.strip()
        if isinstance(error, AnswerTooLarge):
            self._stop(error)
            return error.events
        if error.code != "model_malformed":
            self.failure = error
        elif bare in _DONE:
            self._end()
        elif b"\n" in bare:
            # Some servers send a message a line, without the empty lines between.
            return self._read(Message(name, line, "") for line in bare.split(b"\n"))
        elif bare and (name == "message" or bare.startswith(b"{")):
            self._stop(error)
        return []


class _LenientDecoder(Decoder):
    """Decodes SSE, and the lines of other forms that some servers put into it."""

    def _field(self, line: bytes) -> Message | None:
        if line.startswith((b"{", b"[")):
            return Message("message", line, "")
        if line.startswith(b"error:"):
            return Message("error", line[6:].strip(), "")
        if len(line) > _MAX_FIELD_LINE and not line.startswith(b"data"):
            return None
        return super()._field(line)


def _json_or_text(data: bytes) -> Any:
    """Returns the content of an event named `error`."""
    try:
        return parse_leniently(data)
    except ModelError:
        return data.decode(errors="replace")
