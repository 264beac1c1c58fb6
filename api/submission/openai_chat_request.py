"""The body of `POST /v1/chat/completions`: OpenAI's, with our options in a field of their own."""

from __future__ import annotations

from typing import Any, Final, NamedTuple

import orjson

from readalong.api.http.request_body import unencodable
from readalong.core.errors import InvalidRequest
from readalong.core.options import OPTION_FIELDS

#: The field with our options. The model does not get it.
OPTIONS: Final = "readalong"


class ChatCall(NamedTuple):
    """How the client wants its answer, and the body of the job: as bytes and parsed."""

    raw: bytes
    body: dict[str, Any]
    stream: bool
    include_usage: bool

    @property
    def choices(self) -> int:
        """The choices that the request asks for. Only for a body that has been checked."""
        return self.body.get("n") or 1


def read_call(raw: bytes, body: dict[str, Any]) -> ChatCall:
    """Raises InvalidRequest, also for what this API cannot honour."""
    stream = body.get("stream")
    if not isinstance(stream, bool | None):
        raise InvalidRequest("stream must be a boolean.", field="stream", mistake="type")
    include_usage = _include_usage(body, bool(stream))
    if body.get(OPTIONS) is not None:
        body = _with_options(body)
        try:
            raw = orjson.dumps(body)
        except orjson.JSONEncodeError:
            raise unencodable(body) from None
    return ChatCall(raw, body, bool(stream), include_usage)


def _include_usage(body: dict[str, Any], stream: bool) -> bool:
    options = body.get("stream_options")
    if options is None:
        return False
    if not isinstance(options, dict):
        raise InvalidRequest("stream_options must be an object.", field="stream_options", mistake="type")
    if not stream:
        raise InvalidRequest("stream_options is only allowed when stream is true.", field="stream_options")
    if options.get("include_obfuscation"):
        raise InvalidRequest(
            "stream_options.include_obfuscation: chunks have no padding here.",
            field="stream_options.include_obfuscation",
            mistake="unsupported",
        )
    include_usage = options.get("include_usage")
    if not isinstance(include_usage, bool | None):
        field = "stream_options.include_usage"
        raise InvalidRequest(f"{field} must be a boolean.", field=field, mistake="type")
    return bool(include_usage)


def _with_options(body: dict[str, Any]) -> dict[str, Any]:
    """Returns the body with our options at the places where every submit has them."""
    options = body[OPTIONS]
    if not isinstance(options, dict):
        raise InvalidRequest(f"{OPTIONS} must be an object.", field=OPTIONS, mistake="type")
    for name in options:
        if name not in OPTION_FIELDS:
            field = f"{OPTIONS}.{name}"
            raise InvalidRequest(f"{field}: there is no such option.", field=field, mistake="unknown")
    return {**{name: value for name, value in body.items() if name != OPTIONS}, **options}
