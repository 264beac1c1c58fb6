"""Whether a proxy holds back what is streamed."""

from __future__ import annotations

from contextlib import closing
from typing import Final

import httpx2

from readalong.cli.api_client import ApiClient
from readalong.cli.client import error_response, unreachable
from readalong.cli.doctor.check import Check

_PATH: Final = "/v1/changes"
_ACTION: Final = (
    "let the proxy pass event streams on at once; nginx: proxy_buffering off, and no "
    "proxy_ignore_headers X-Accel-Buffering (docs/operations.md)"
)


def check_streaming(client: ApiClient, seconds: float) -> Check:
    """Opens a stream whose first event the API sends at once and which has no end."""
    try:
        with closing(client.open_stream(_PATH, {}, seconds)) as response:
            if not response.is_success:
                response.read()
                return Check("streaming", "skipped", error_response(client.url, response).message)
            first = next(response.iter_raw(), b"")
    except httpx2.ReadTimeout:
        detail = f"nothing of a stream came for {seconds:g} s: a proxy in front of the API buffers it"
        return Check("streaming", "critical", detail, _ACTION)
    except httpx2.TransportError as error:
        return Check("streaming", "critical", unreachable(client.url, error).message, "look at the proxy's error log")
    if not first:
        return Check("streaming", "critical", "the stream ended at once", "look at the proxy's time-outs")
    return Check("streaming", "ok", "what the API sends arrives at once")
