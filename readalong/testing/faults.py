"""What goes wrong in the middle of a stream: a well-behaved stream of pieces, and where it is bent."""

from collections.abc import Iterator

from readalong.testing.behaviours import Behaviour, Profile
from readalong.testing.chunks import FaultAction, Frame, azure_filter
from readalong.testing.refusals import error_body

MALFORMED = b'data: {"id":"chatcmpl-broken","choices":[{"index":0,"delta":{"content":" half a ch\n\n'
ERROR = (
    b"data: "
    + error_body("The server had an error while processing your request. Sorry about that!", "server_error")
    + b"\n\n"
)
NOT_SSE = b"<!doctype html><title>Welcome</title><p>This is the page of a proxy, not a model.</p>\n"

_ACTS = {
    Behaviour.STALL: FaultAction.STALL,
    Behaviour.CUT: FaultAction.CUT,
    Behaviour.RESET: FaultAction.RESET,
    Behaviour.CLOSE_EARLY: FaultAction.END,
}
_COMMENT = b": keep-alive\r\n\r\n"
_COMMENT_EVERY = 5
_SHARDS = (1, 1, 7, 1, 2, 40, 3, 1, 90, 5)


def inject_faults(pieces: Iterator[Frame], manner: Profile) -> Iterator[Frame]:
    """The pieces with the manner's faults, which strike after `manner.after` tokens or before the finish."""
    stream = _struck(pieces, manner)
    return _crlf(stream) if manner.has(Behaviour.CRLF) else stream


def shards(frame: bytes) -> Iterator[bytes]:
    """A frame in odd pieces, some of one byte, and cut within every character of more than one byte."""
    start, turn, end = 0, 0, len(frame)
    while start < end:
        stop = min(start + _SHARDS[turn % len(_SHARDS)], end)
        for place in range(start + 1, stop):
            if frame[place] & 0xC0 == 0x80:
                stop = place
                break
        yield frame[start:stop]
        start, turn = stop, turn + 1


def _struck(pieces: Iterator[Frame], manner: Profile) -> Iterator[Frame]:
    faults = list(_faults(manner))
    if not faults:
        return pieces
    return _insert(pieces, faults, manner.after)


def _faults(manner: Profile) -> Iterator[Frame]:
    if manner.has(Behaviour.AZURE):
        yield Frame(azure_filter(manner.after))
    if manner.has(Behaviour.MALFORMED):
        yield Frame(MALFORMED)
    if manner.has(Behaviour.ERROR):
        yield Frame(ERROR, act=FaultAction.END)
    for behaviour, act in _ACTS.items():
        if manner.has(behaviour):
            yield Frame(b"", act=act)


def _insert(pieces: Iterator[Frame], faults: list[Frame], after: int) -> Iterator[Frame]:
    sent = 0
    for piece in pieces:
        if faults and (piece.closing or (piece.tokens and sent >= after)):
            yield from faults
            faults = []
        sent += piece.tokens
        yield piece


def _crlf(pieces: Iterator[Frame]) -> Iterator[Frame]:
    for turn, piece in enumerate(pieces):
        # JSON escapes its newlines, so every bare one in a frame ends a line.
        frame = piece.frame.replace(b"\n", b"\r\n")
        yield piece._replace(frame=_COMMENT + frame if turn % _COMMENT_EVERY == 0 else frame)
