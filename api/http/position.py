"""The position from which a client watches, as it says it."""

from __future__ import annotations

from typing import Final

from starlette.requests import Request

from readalong.core.errors import InvalidRequest
from readalong.core.position import Position

#: `after=latest`: from now on.
LATEST: Final = "latest"
#: Query parameters that stand for the header, where a client cannot set one: those of event-source-polyfill, of Mercure
#: and of its first version.
_LIKE_THE_HEADER: Final = ("lastEventId", "lastEventID", "Last-Event-ID")

#: The same, for OpenAPI.
PARAMETERS: Final = [
    {"name": name, "in": place, "required": False, "schema": {"type": "string"}, "description": text}
    for name, place, text in (
        ("Last-Event-ID", "header", "Position; wins over the query."),
        ("lastEventId", "query", "As the header, also as `lastEventID`; wins over `after`."),
        ("after", "query", "Position: the id of the last event seen; 0 from the start, `latest` from now on."),
    )
]


def position_of(request: Request) -> Position | None:
    """The position of the last event that the client has seen; None: it wants what comes from now on.

    The header wins, then what a polyfill sends in its place: a client that comes back adds it to a URL that still has
    its first position. Raises InvalidRequest.
    """
    name, text = "Last-Event-ID", (request.headers.get("last-event-id") or "").strip(" \t") or None
    for each in (*_LIKE_THE_HEADER, "after"):
        if text:
            break
        name, text = each, request.query_params.get(each)
    if name == "after" and text == LATEST:
        return None
    return parse(name, text) if text else Position(0)


def parse(name: str, text: str) -> Position:
    """The position that a text names. Raises InvalidRequest, which calls it `name`."""
    try:
        return Position.parse(text)
    except ValueError:
        message = f"{name} must be the id of an event, or its number."
        raise InvalidRequest(message, code="invalid_position", field=name) from None
