"""One answer of the model, from the bytes of its event stream to events (pure)."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, Final

from readalong.core.errors import ModelError
from readalong.core.events import NewEvent
from readalong.core.sse import Decoder, Message, MessageTooLong
from readalong.worker.model.chunk_accumulator import ChunkAccumulator
from readalong.worker.model.error_messages import reported
from readalong.worker.model.lenient_json import malformed, parse_leniently
from readalong.worker.model.limits import MOST_LINES, AnswerTooLarge, Limits

#: Longest line that is a field of an event besides its data, such as its name.
_LONGEST_FIELD: Final = 1024
_DONE: Final = frozenset({b"[DONE]", b'"[DONE]"'})
#: Events that keep a connection open and say nothing.
_KEEP_ALIVES: Final = frozenset({"ping", "keepalive", "keep-alive", "heartbeat"})


class Answer:
    """`feed` takes each piece of the body and `close` its end; then `done` and `failure` tell whether that was all."""

    def __init__(self, chunks: ChunkAccumulator, *, limits: Limits = Limits()) -> None:  # noqa: B008 (it is frozen)
        self._chunks = chunks
        self._decoder = _Lines(max_line=limits.line, max_message=limits.line, max_lines=MOST_LINES)
        #: Whether a piece may be a frame of its own, which the decoder need not see.
        self._between = False
        self._left = limits.response
        self._response = limits.response
        #: The model has said that it is done.
        self.done = False
        #: Why there will be no more; what came before it in the same piece was said.
        self.failure: ModelError | None = None

    def feed(self, piece: bytes) -> list[NewEvent]:
        """The events of a piece of the body, wherever it is cut."""
        self._left -= len(piece)
        if self._left < 0:
            self._stop(AnswerTooLarge(f"{self._response} bytes, its comments and envelopes among them"))
            return []
        if self._between and (said := self._chunks.add_frame(piece)):
            return said
        try:
            messages = self._decoder.feed(piece)
        except MessageTooLong as error:
            self._stop(AnswerTooLarge(error.what))
            return []
        self._between = self._decoder.between
        return self._read(messages)

    def close(self) -> list[NewEvent]:
        """The events of what the body ended in without an end of its own. Afterwards an answer whose end never came is
        `done` or has a `failure`."""
        drafts: list[NewEvent] = []
        try:
            drafts = self._read(self._decoder.close())
        except MessageTooLong as error:
            self._stop(AnswerTooLarge(error.what))
        cut = self.failure is not None and self.failure.code == "model_malformed"
        if not self.done and (cut or self.failure is None):
            self.done = self._chunks.finished
            self.failure = None if self.done else self._ended_early()
        return drafts

    def _read(self, messages: Iterable[Message]) -> list[NewEvent]:
        drafts: list[NewEvent] = []
        for event, data, _ in messages:
            if data == b"[DONE]":
                self._end()
                break
            try:
                drafts += self._chunks.add(data) if event == "message" else self._named(event, data)
            except ModelError as error:
                drafts += self._odd(event, data, error)
            if self.done or self.failure is not None:
                break
        return drafts

    def _end(self) -> None:
        """The model says that it is done; without a choice it has not even begun."""
        if self._chunks.begun:
            self.done = True
        elif odd := self._chunks.odd:
            self.failure = malformed("without a choice", odd)
        else:
            self.failure = ModelError("model_malformed", "The model said nothing and was done.", retryable=True)

    def _ended_early(self) -> ModelError:
        odd = self._chunks.odd
        if odd and not self._chunks.begun and b'"choices"' not in odd:
            return malformed("without a choice", odd)
        return ModelError("model_cut", "The model's stream ended before its answer did.", retryable=True)

    def _stop(self, error: ModelError) -> None:
        """Nothing more is read; if all was said before, nothing is missing."""
        if self._chunks.finished:
            self.done = True
        else:
            self.failure = error

    def _named(self, event: str, data: bytes) -> list[NewEvent]:
        if event in _KEEP_ALIVES:
            return []
        if event == "error" and b'"choices"' not in data:
            raise reported(_value(data))
        return self._chunks.add(data)

    def _odd(self, event: str, data: bytes, error: ModelError) -> list[NewEvent]:
        """What becomes of a message that is no chunk, or that carries an error."""
        bare = data.strip()
        if isinstance(error, AnswerTooLarge):
            self._stop(error)
            return error.drafts
        if error.code != "model_malformed":
            self.failure = error
        elif bare in _DONE:
            self._end()
        elif b"\n" in bare:
            # Some servers send one line a message without the empty lines between.
            return self._read(Message(event, line, "") for line in bare.split(b"\n"))
        elif bare and (event == "message" or bare.startswith(b"{")):
            self._stop(error)
        return []


class _Lines(Decoder):
    """Server-sent events with the lines of their own that some servers put between them."""

    def _field(self, line: bytes) -> Message | None:
        if line.startswith((b"{", b"[")):
            return Message("message", line, "")
        if line.startswith(b"error:"):
            return Message("error", line[6:].strip(), "")
        if len(line) > _LONGEST_FIELD and not line.startswith(b"data"):
            return None
        return super()._field(line)


def _value(data: bytes) -> Any:
    """What an event named `error` holds: JSON, or text."""
    try:
        return parse_leniently(data)
    except ModelError:
        return data.decode(errors="replace")
