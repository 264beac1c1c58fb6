"""What the server counts and remembers, for `/stats`."""

import time
from collections import OrderedDict, deque
from enum import StrEnum
from typing import Any

import orjson

from readalong.testing.chunks import Frame
from readalong.testing.journal import Journal
from readalong.testing.limits import KEPT_BODY_BYTES, KEPT_CHARACTERS, KEPT_OPEN_PIECES, KEPT_PIECES

KEPT = 100
"""How many requests and how many streams are remembered."""


class State(StrEnum):
    """Where a stream stands."""

    OPEN = "open"
    FINISHED = "finished"
    """Sent whole."""
    GONE = "gone"
    """The client went away first."""
    BROKEN = "broken"
    """Ended early by the server: a fault that was asked for, or a shutdown."""


class Stream:
    """One stream: what was sent so far, and how it ended."""

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

    def sent(self, piece: Frame) -> None:
        """Count a piece that has been written."""
        if piece.tokens:
            self.tokens += piece.tokens
            self._stats.tokens += piece.tokens
            if len(self.texts) < KEPT_PIECES and self._stats.open_pieces < KEPT_OPEN_PIECES:
                self.texts.append(piece.text)
                self._stats.open_pieces += 1

    def end(self, state: State) -> None:
        """Note how it ended; the first end stands."""
        if self.state is not State.OPEN:
            return
        self.state = state
        self.ended_at = time.time()
        self._stats.ended[state] += 1
        text = "".join(self.texts)
        if self._stats.journal is not None:
            self._stats.journal.closed(self.id, state, self.tokens, text)
        self._stats.open_pieces -= len(self.texts)
        self.texts = [text]
        self._stats.keep(self)

    @property
    def characters(self) -> int:
        """Of a stream that has ended."""
        return len(self.texts[0])

    def shown(self) -> dict[str, object]:
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
        """Answers given whole, without a stream."""
        self.refused = 0
        """Requests answered with an error."""
        self.tokens = 0
        self.ended = {State.FINISHED: 0, State.GONE: 0, State.BROKEN: 0}
        self._requests: deque[dict[str, object]] = deque(maxlen=KEPT)
        self.open_pieces = 0
        """Pieces whose text is kept, of streams that are open."""
        self._kept_characters = 0
        self._streams: OrderedDict[str, Stream] = OrderedDict()

    def request(self, answer_id: str, path: str, headers: list[str], raw: bytes, body: object) -> None:
        """Remember a request, its body as it came (`body`: parsed, None if it is no JSON): parsed, it takes many times
        as much. Of its headers only the names, since their values may be secret."""
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
        """Count a new stream, and forget the oldest when there are too many."""
        stream = Stream(self, answer_id, model)
        self.opened += 1
        self._streams[answer_id] = stream
        if len(self._streams) > KEPT:
            self._forget()
        return stream

    def keep(self, stream: Stream) -> None:
        """Keep the text of a stream that has ended, if it is remembered, and forget the oldest when it is too much."""
        if stream.id not in self._streams:
            return
        self._kept_characters += stream.characters
        while self._kept_characters > KEPT_CHARACTERS and len(self._streams) > 1:
            self._forget()

    def _forget(self) -> None:
        _, oldest = self._streams.popitem(last=False)
        if oldest.state is not State.OPEN:
            self._kept_characters -= oldest.characters

    def shown(self) -> dict[str, Any]:
        """What `/stats` answers. `opened` is always the sum of `open`, `finished`, `gone` and `broken`."""
        return {
            "open": self.opened - sum(self.ended.values()),
            "opened": self.opened,
            **{state.value: count for state, count in self.ended.items()},
            "answers": self.answers,
            "refused": self.refused,
            "tokens": self.tokens,
            "requests": list(self._requests),
            "streams": {answer_id: stream.shown() for answer_id, stream in self._streams.items()},
        }
