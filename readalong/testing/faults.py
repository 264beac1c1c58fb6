"""Faults in mid-stream."""

from collections.abc import Iterator

from readalong.testing.behaviours import Behaviour
from readalong.testing.chunks import FaultAction, Frame, azure_filter_frame
from readalong.testing.errors import error_body
from readalong.testing.profile import Profile

MALFORMED = b'data: {"id":"chatcmpl-broken","choices":[{"index":0,"delta":{"content":" half a ch\n\n'
ERROR = (
    b"data: "
    + error_body("The server had an error while processing your request. Sorry about that!", "server_error")
    + b"\n\n"
)
NOT_SSE = b"<!doctype html><title>Welcome</title><p>This is the page of a proxy, not a model.</p>\n"

_ACTIONS = {
    Behaviour.STALL: FaultAction.STALL,
    Behaviour.CUT: FaultAction.CUT,
    Behaviour.RESET: FaultAction.RESET,
    Behaviour.CLOSE_EARLY: FaultAction.END,
}
_COMMENT = b": keep-alive\r\n\r\n"
_COMMENT_EVERY = 5
_WRITE_SIZES = (1, 1, 7, 1, 2, 40, 3, 1, 90, 5)


def inject_faults(frames: Iterator[Frame], profile: Profile) -> Iterator[Frame]:
    """Yields the frames with the profile's faults, after `profile.after` tokens or before the finish reason."""
    faults = list(_faults(profile))
    stream = _insert(frames, faults, profile.after) if faults else frames
    return _crlf(stream) if profile.has(Behaviour.CRLF) else stream


def split_frame(data: bytes) -> Iterator[bytes]:
    """Yields the bytes in odd writes, some of one byte. Every character of several bytes is cut."""
    start, turn, end = 0, 0, len(data)
    while start < end:
        stop = min(start + _WRITE_SIZES[turn % len(_WRITE_SIZES)], end)
        for position in range(start + 1, stop):
            if data[position] & 0xC0 == 0x80:
                stop = position
                break
        yield data[start:stop]
        start, turn = stop, turn + 1


def _faults(profile: Profile) -> Iterator[Frame]:
    if profile.has(Behaviour.AZURE):
        yield Frame(azure_filter_frame(profile.after))
    if profile.has(Behaviour.MALFORMED):
        yield Frame(MALFORMED)
    if profile.has(Behaviour.ERROR):
        yield Frame(ERROR, action=FaultAction.END)
    for behaviour, action in _ACTIONS.items():
        if profile.has(behaviour):
            yield Frame(b"", action=action)


def _insert(frames: Iterator[Frame], faults: list[Frame], after: int) -> Iterator[Frame]:
    sent = 0
    for frame in frames:
        if faults and (frame.closing or (frame.tokens and sent >= after)):
            yield from faults
            faults = []
        sent += frame.tokens
        yield frame


def _crlf(frames: Iterator[Frame]) -> Iterator[Frame]:
    for turn, frame in enumerate(frames):
        # JSON escapes its newlines, so each newline in a frame ends a line.
        data = frame.data.replace(b"\n", b"\r\n")
        yield frame._replace(data=_COMMENT + data if turn % _COMMENT_EVERY == 0 else data)
