"""The counters of the server and its last requests and streams, for `/stats`."""

import time
from collections import OrderedDict, deque
from enum import StrEnum
from typing import Any

import orjson

from readalong.testing.chunks import Frame
from readalong.testing.journal import Journal
from readalong.testing.limits import KEPT_BODY_BYTES, KEPT_CHARACTERS, KEPT_OPEN_TOKENS, KEPT_TOKENS

KEPT = 100
"""Requests, and streams, that are remembered."""


class State(StrEnum):
    """The state of a stream."""

    OPEN = "open"
    FINISHED = "finished"
    """Sent completely."""
    GONE = "gone"
    """The client closed the connection."""
    BROKEN = "broken"
    """The server ended it early: a requested fault, or a shutdown."""


class Stream:
    """One stream: its text so far, and its end."""

    __slots__ = ("_stats", "ended_at", "id", "model", "opened_at", "state", "texts", "tokens")

    def __init__(self, stats: "Stats", answer_id: str, model: str) -> None:
        self._stats = stats
        self.id = answer_id
        self.model = model
        self.state = State.OPEN
        self.opened_at = time.time()
        self.ended_at: float | None = None
        self.tokens = 0
        self.texts: list[str] = []

    def sent(self, frame: Frame) -> None:
        """Counts a frame that has been written."""
        if frame.tokens:
            self.tokens += frame.tokens
            self._stats.tokens += frame.tokens
            if len(self.texts) < KEPT_TOKENS and self._stats.open_texts < KEPT_OPEN_TOKENS:
                self.texts.append(frame.text)
                self._stats.open_texts += 1

    def end(self, state: State) -> None:
        """Records the end. A second end is ignored."""
        if self.state is not State.OPEN:
            return
        self.state = state
        self.ended_at = time.time()
        self._stats.ended[state] += 1
        text = "".join(self.texts)
        if self._stats.journal is not None:
            self._stats.journal.closed(self.id, state, self.tokens, text)
        self._stats.open_texts -= len(self.texts)
        self.texts = [text]
        self._stats.keep(self)

    @property
    def characters(self) -> int:
        """The length of the text of an ended stream."""
        return len(self.texts[0])

    def snapshot(self) -> dict[str, object]:
        return {
            "state": self.state,
            "model": self.model,
            "tokens": self.tokens,
            "text": "".join(self.texts),
            "opened_at": self.opened_at,
            "ended_at": self.ended_at,
        }


class Stats:
    """Counters since the start, and the last requests and streams."""

    def __init__(self, journal: Journal | None = None) -> None:
        self.journal = journal
        self.opened = 0
        self.answers = 0
        """Answers that were not streamed."""
        self.refused = 0
        """Error responses."""
        self.tokens = 0
        self.ended = {State.FINISHED: 0, State.GONE: 0, State.BROKEN: 0}
        self._requests: deque[dict[str, object]] = deque(maxlen=KEPT)
        self.open_texts = 0
        """Tokens of open streams whose text is kept."""
        self._kept_characters = 0
        self._streams: OrderedDict[str, Stream] = OrderedDict()

    def request(self, answer_id: str, path: str, headers: list[str], raw: bytes, body: object) -> None:
        """Records a request. `body` is None if `raw` is not JSON.

        The body is kept as bytes, since parsed JSON takes many times as much. The values of the headers may be secret.
        """
        kept = body is not None and len(raw) <= KEPT_BODY_BYTES
        self._requests.append(
            {
                "id": answer_id,
                "at": time.time(),
                "path": path,
                "headers": headers,
                "bytes": len(raw),
                "body": orjson.Fragment(raw) if kept else None,
            }
        )

    def open(self, answer_id: str, model: str) -> Stream:
        """Counts a new stream. Forgets the oldest one when there are too many."""
        stream = Stream(self, answer_id, model)
        self.opened += 1
        self._streams[answer_id] = stream
        if len(self._streams) > KEPT:
            self._forget()
        return stream

    def keep(self, stream: Stream) -> None:
        """Keeps the text of an ended stream. Forgets the oldest streams when the texts are too long."""
        if stream.id not in self._streams:
            return
        self._kept_characters += stream.characters
        while self._kept_characters > KEPT_CHARACTERS and len(self._streams) > 1:
            self._forget()

    def _forget(self) -> None:
        _, oldest = self._streams.popitem(last=False)
        if oldest.state is not State.OPEN:
            self._kept_characters -= oldest.characters

    def snapshot(self) -> dict[str, Any]:
        """Returns the body of `/stats`. `opened` is the sum of `open`, `finished`, `gone` and `broken`."""
        return {
            "open": self.opened - sum(self.ended.values()),
            "opened": self.opened,
            **{state.value: count for state, count in self.ended.items()},
            "answers": self.answers,
            "refused": self.refused,
            "tokens": self.tokens,
            "requests": list(self._requests),
            "streams": {answer_id: stream.snapshot() for answer_id, stream in self._streams.items()},
        }
