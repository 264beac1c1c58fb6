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
    name, text = "Last-Event-ID", (request.headers.get("last-event-id") or "").strip(" \t") or None
    for each in (*_HEADER_PARAMETERS, "after"):
        if text:
            break
        name, text = each, request.query_params.get(each)
    if name == "after" and text == LATEST:
        return None
    return _parse(name, text) if text else Position(0)


def _parse(name: str, text: str) -> Position:
    """`name`: the header or parameter, for the error. Raises InvalidRequest."""
    try:
        return Position.parse(text)
    except ValueError:
        message = f"{name} must be the id of an event, or its number."
        raise InvalidRequest(message, code="invalid_position", field=name) from None
