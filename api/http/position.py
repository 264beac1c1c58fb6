"""The position from which a client watches."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request

from readalong.core.errors import InvalidRequest
from readalong.core.position import Position

#: `after=latest`: from now on.
LATEST: Final = "latest"
#: Query parameters in place of the header, for clients that cannot set one: those of event-source-polyfill, of Mercure
#: and of Mercure's first version.
_HEADER_PARAMETERS: Final = ("lastEventId", "lastEventID", "Last-Event-ID")
#: Digits of the number of a frame within an event.
_MAX_DIGITS: Final = 9

#: The same for OpenAPI.
PARAMETERS: Final = [
    {"name": name, "in": place, "required": False, "schema": {"type": "string"}, "description": text}
    for name, place, text in (
        ("Last-Event-ID", "header", "Position; wins over the query."),
        ("lastEventId", "query", "As the header, also as `lastEventID`; wins over `after`."),
        ("after", "query", "Position: the id of the last event seen; 0 from the start, `latest` from now on."),
    )
]


def position_of(request: Request) -> Position | None:
    """Returns the position of the last event that the client has seen; None: from now on.

    The header wins, then a polyfill's parameter: a reconnecting client adds either to a URL that still has its first
    `after`. Raises InvalidRequest.
    """
    name, text = _last_event_id(request)
    if not text:
        name, text = "after", request.query_params.get("after")
    if name == "after" and text == LATEST:
        return None
    return _parse(name, text) if text else Position(0)


def frame_position_of(request: Request) -> tuple[Position, str | None]:
    """Returns the position of a client of a format whose events have several frames, and the id of the frame that it
    has seen last, if that has one of its own: `<position>.<number>`. Raises InvalidRequest."""
    name, text = _last_event_id(request)
    if not text:
        return Position(0), None
    before, dot, number = text.partition(".")
    if dot and not (number.isascii() and number.isdigit() and len(number) <= _MAX_DIGITS):
        raise _wrong(name)
    return _parse(name, before), text if dot else None


def _last_event_id(request: Request) -> tuple[str, str | None]:
    """Returns what the client sends, and the name of the header or parameter."""
    name, text = "Last-Event-ID", (request.headers.get("last-event-id") or "").strip(" \t") or None
    for each in _HEADER_PARAMETERS:
        if text:
            break
        name, text = each, request.query_params.get(each)
    return name, text


def _parse(name: str, text: str) -> Position:
    """`name`: the header or parameter, for the error. Raises InvalidRequest."""
    try:
        return Position.parse(text)
    except ValueError:
        raise _wrong(name) from None


def _wrong(name: str) -> InvalidRequest:
    message = f"{name} must be the id of an event, or its number."
    return InvalidRequest(message, code="invalid_position", field=name)
