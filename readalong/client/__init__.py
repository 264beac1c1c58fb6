"""The Python client: stream, cancel and resume generations.

    from readalong.client import Client

    with Client("http://127.0.0.1:8000") as client:
        for text in client.stream_chat("How did this get here?"):
            print(text, end="")

# Layout

    client          the methods; async_client has the same ones in an event loop, and so for all others
    stream          a generation: its text, its cancel
    watch           a job's events, over as many connections as it takes
    calls           single requests, with their retries
    direct_client   the same streams straight from a model
    watch_protocol  what both kinds share, without I/O: the reading of a log
    retry           when and where a call is tried again
    requests        the calls as data, and what their responses mean
    events          what callers get: events, transcript, progress, job, errors
"""

from readalong.client.async_client import AsyncClient
from readalong.client.async_direct_client import AsyncDirectClient
from readalong.client.async_stream import AsyncStream
from readalong.client.async_watch import AsyncWatch
from readalong.client.client import Client
from readalong.client.direct_client import DirectClient
from readalong.client.errors import (
    ApiConnectionError,
    ApiError,
    ClientError,
    GenerationFailed,
    GenerationRestarted,
    MisuseError,
    ProtocolError,
)
from readalong.client.events import (
    Cancelled,
    Content,
    Done,
    End,
    Event,
    Failed,
    FunctionCall,
    Other,
    Queued,
    Reasoning,
    Refusal,
    Restarted,
    Started,
    ToolCall,
    ToolCallDelta,
    Waiting,
)
from readalong.client.job import Job
from readalong.client.progress import Progress
from readalong.client.stream import Stream
from readalong.client.transcript import PartialToolCall, Transcript
from readalong.client.transport import ClientOptions
from readalong.client.watch import Watch

__all__ = [
    "ApiConnectionError",
    "ApiError",
    "AsyncClient",
    "AsyncDirectClient",
    "AsyncStream",
    "AsyncWatch",
    "Cancelled",
    "Client",
    "ClientError",
    "ClientOptions",
    "Content",
    "DirectClient",
    "Done",
    "End",
    "Event",
    "Failed",
    "FunctionCall",
    "GenerationFailed",
    "GenerationRestarted",
    "Job",
    "MisuseError",
    "Other",
    "PartialToolCall",
    "Progress",
    "ProtocolError",
    "Queued",
    "Reasoning",
    "Refusal",
    "Restarted",
    "Started",
    "Stream",
    "ToolCall",
    "ToolCallDelta",
    "Transcript",
    "Waiting",
    "Watch",
]
