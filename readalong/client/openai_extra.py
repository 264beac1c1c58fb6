"""What a client without a server needs of the openai package, which the extra `server` brings."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from typing import Any, Final

import httpx2

from readalong.client.chunk_events import ChunkEvents
from readalong.client.errors import MisuseError
from readalong.client.events import Event
from readalong.client.requests import Messages, chat_messages, encoded

#: readalong's own parameters: no model gets them.
_OWN: Final = ("on_worker_lost", "deadline", "cancel_on_disconnect", "thread", "thread_policy", "metadata")
#: Codes by status, as those of a failed job.
_CODES: Final = {
    400: "model_bad_request",
    401: "model_unauthorized",
    403: "model_unauthorized",
    404: "model_not_found",
    413: "model_bad_request",
    422: "model_bad_request",
    429: "model_rate_limited",
}
#: What reading a model's stream may raise besides the package's own errors.
CUT: Final = (httpx2.TransportError, httpx2.StreamError, OSError)


def require_openai() -> None:
    """Raises ImportError, which says what to install, if there is no openai package."""
    try:
        import openai  # noqa: F401, PLC0415
    except ModuleNotFoundError as error:
        raise ImportError("A direct stream needs the openai package: pip install 'readalong[server]'") from error


def is_azure() -> bool:
    """Returns whether the environment names a model of Azure."""
    return "AZURE_OPENAI_ENDPOINT" in os.environ


def arguments(messages: Messages, model: str | None, parameters: Mapping[str, Any]) -> dict[str, Any]:
    """Returns the arguments of `chat.completions.create`. Raises MisuseError if no model is named, or for what is
    no JSON."""
    model = model or os.environ.get("READALONG_MODEL")
    if not model:
        raise MisuseError("A direct stream needs the name of a model: model=… or READALONG_MODEL.")
    body = {name: value for name, value in parameters.items() if name not in _OWN and value is not None}
    body.setdefault("stream_options", {"include_usage": True})
    said = chat_messages(messages)
    encoded({"messages": [message for message in said if isinstance(message, Mapping)], **body})
    return {"model": model, "messages": said, "stream": True, "extra_body": body}


def end(events: ChunkEvents, error: Exception | None, *, begun: bool) -> Iterator[Event]:
    """Yields what follows the model's stream: the whole calls and `done`, or `failed`. `begun`: it responded."""
    if error is not None:
        yield _failure(events, error, begun=begun)
    elif not events.finished:
        yield events.failed("model_cut", "The model closed the stream early.", retryable=True)
    else:
        yield from events.done()


def _failure(events: ChunkEvents, error: Exception, *, begun: bool) -> Event:
    """Returns the `failed` event for an error of the openai package or of the connection."""
    import openai  # noqa: PLC0415

    if isinstance(error, openai.APIStatusError):
        status = error.status_code
        return events.failed(_CODES.get(status, "model_error"), error.message, retryable=status >= 500 or status == 429)
    if isinstance(error, openai.APITimeoutError):
        return events.failed("model_timeout", "The model did not answer in time.", retryable=True)
    if begun and isinstance(error, (openai.APIConnectionError, *CUT)):
        return events.failed("model_cut", "The model closed the stream early.", retryable=True)
    if isinstance(error, openai.APIConnectionError):
        return events.failed("model_unreachable", "There is no connection to the model.", retryable=True)
    return events.failed("model_error", str(error), retryable=False)
