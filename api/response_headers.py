"""The headers of responses, as openapi.json describes them. HTTP's own, such as `Cache-Control`, are left out."""

from __future__ import annotations

from typing import Any, Final

Headers = dict[str, Any]


def _header(name: str, description: str, *, always: bool = False, kind: str = "string", **schema: Any) -> Headers:
    """`always`: every response of this status has it."""
    more = {"required": True} if always else {}
    return {name: {"description": description, **more, "schema": {"type": kind, **schema}}}


LOCATION: Final = _header("Location", "The path of the job.", always=True, examples=["/v1/jobs/Jd0tTVQyOzKzFsmaAPFSxw"])
JOB_ID: Final = _header("X-Job-Id", "The job's id.", always=True, examples=["Jd0tTVQyOzKzFsmaAPFSxw"])
FAILED_JOB: Final = _header("X-Job-Id", "The job that failed.")
LINK: Final = _header("Link", "The paths of the job's events and of its cancel.", always=True)
REQUEST_ID: Final = _header("X-Request-Id", "The request's name; the log has it beside a bug.")
SHOULD_RETRY: Final = _header("X-Should-Retry", "For the SDKs.", enum=["true", "false"])
RETRY_AFTER: Final = _header("Retry-After", "Seconds.", kind="integer", examples=[1])
ACCEPT_ENCODING: Final = _header("Accept-Encoding", "The codings that a body may have.", examples=["gzip"])
AUTHENTICATE: Final = _header("WWW-Authenticate", "How to show who you are.", always=True, examples=["Bearer"])
#: Of a response that has waited.
WAITED: Final = {
    **_header("Preference-Applied", "How long the response would have waited.", examples=["wait=30"]),
    **_header("Vary", "`Prefer`, of a response that has waited."),
}
#: Of a response that names a job.
JOB: Final = {**LOCATION, **JOB_ID}
#: The same in OpenAI's APIs.
OPENAI_JOB: Final = {**JOB, **REQUEST_ID}
#: The same where a path gives a job or, if it does not stream, none.
OPENAI_STREAM: Final = {name: {**header, "required": False} for name, header in OPENAI_JOB.items()}

AI_SDK: Final = _header("X-Vercel-AI-UI-Message-Stream", "The version of the stream.", always=True, enum=["v1"])
#: Of a stream of the AI SDK's. One that tells that nothing runs names no job.
AI_SDK_JOB: Final = {
    **JOB,
    **AI_SDK,
    **_header("X-Workflow-Run-Id", "The job's id, for WorkflowChatTransport.", always=True),
}
AI_SDK_RESUMED: Final = {
    **{name: {**header, "required": False} for name, header in AI_SDK_JOB.items()},
    **AI_SDK,
    **_header("X-Workflow-Stream-Tail-Index", "With a negative `startIndex`: the number of the newest chunk."),
}

_FENCE: Final = {
    **_header("X-Content-Type-Options", "A message is no page.", always=True, enum=["nosniff"]),
    **_header("Cross-Origin-Resource-Policy", "A message is no script.", always=True, enum=["same-origin"]),
}
_CLOSED: Final = _header("Stream-Closed", "The job has ended, and nothing follows.", enum=["true"])
_OFFSET: Final = _header("Stream-Next-Offset", "The `offset` of the next read.", examples=["0000000000000005-9f3c21"])
_UP_TO_DATE: Final = _header("Stream-Up-To-Date", "Nothing follows now.", enum=["true"])
_CURSOR: Final = _header("Stream-Cursor", "The `cursor` of the next read.")
_ETAG: Final = _header("ETag", "Names the page, for `If-None-Match`.")
#: Of a read by the Durable Streams protocol: of a page, of nothing new, and of the stream's end.
STREAM_PAGE: Final = {**_FENCE, **_OFFSET, **_UP_TO_DATE, **_CLOSED, **_CURSOR, **_ETAG}

STREAM_SILENT: Final = {**_FENCE, **_OFFSET, **_UP_TO_DATE, **_CLOSED, **_CURSOR}
STREAM_END: Final = {
    **_FENCE,
    **_OFFSET,
    **_CLOSED,
    **_header("Stream-Expires-At", "When the job's retention is over, if it has ended."),
}
