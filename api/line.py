"""The connection under a response, handed to the application in the scope's extensions."""

from __future__ import annotations

from asyncio import Transport
from typing import NamedTuple

from uvicorn.protocols.http.flow_control import FlowControl


class Line(NamedTuple):
    """What a watcher needs to write to its client without a coroutine.

    Once `http.response.start` is sent, chunks of the body may be written to the transport as they are, while
    `flow.write_paused` is not set. The end of the response is ASGI's, and so is waiting for a full buffer.
    """

    transport: Transport
    flow: FlowControl
