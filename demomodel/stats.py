"""What the server counts and remembers, for `/stats`."""

import time
from collections import OrderedDict, deque
from enum import StrEnum
from typing import Any

from demomodel.chunks import Piece
from demomodel.journal import Journal

KEPT = 100
"""How many requests and how many streams are remembered."""

KEPT_BODY_BYTES = 256 * 1024
"""A longer request body is not kept."""

KEPT_PIECES = 50_000
"""Of an endless stream only the text of so many tokens is kept."""


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

    def sent(self, piece: Piece) -> None:
        """Count a piece that has been written."""
        if piece.tokens:
            self.tokens += piece.tokens
            self._stats.tokens += piece.tokens
            if len(self.texts) < KEPT_PIECES:
                self.texts.append(piece.text)

    def end(self, state: State) -> None:
        """Note how it ended; the first end stands."""
        if self.state is not State.OPEN:
            return
        self.state = state
        self.ended_at = time.time()
        self._stats.ended[state] += 1
        if self._stats.journal is not None:
            self._stats.journal.closed(self.id, state, self.tokens, "".join(self.texts))

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
        self._streams: OrderedDict[str, Stream] = OrderedDict()

    def request(self, answer_id: str, path: str, headers: list[str], size: int, body: object) -> None:
        """Remember a request; of its headers only the names, since their values may be secret."""
        self._requests.append(
            {
                "id": answer_id,
                "at": time.time(),
                "path": path,
                "headers": headers,
                "bytes": size,
                "body": body if size <= KEPT_BODY_BYTES else None,
            }
        )

    def open(self, answer_id: str, model: str) -> Stream:
        """Count a new stream, and forget the oldest when there are too many."""
        stream = Stream(self, answer_id, model)
        self.opened += 1
        self._streams[answer_id] = stream
        if len(self._streams) > KEPT:
            self._streams.popitem(last=False)
        return stream

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
