"""The bodies of responses in other APIs' forms, as openapi.json describes them: open objects, with the fields that each
has. Those APIs describe the rest."""

from __future__ import annotations

from typing import Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel

from readalong.api.event_schemas import StreamMessage
from readalong.api.problems import OpenAIError
from readalong.api.schemas import FunctionCall, JobError, Metadata, ToolCall
from readalong.api.thread_schemas import ThreadItem
from readalong.core.states import Status

_ID: Final = "Jd0tTVQyOzKzFsmaAPFSxw"
_CREATED: Final = 1_795_386_000


def _example(**fields: Any) -> ConfigDict:
    return ConfigDict(extra="allow", json_schema_extra={"examples": [fields]})


class ChatStreamLine(BaseModel):
    """One line of a plain stream: a piece of text, or beside an empty text one more field."""

    model_config = _example(content="An ordered")

    content: str
    reasoning: str | None = None
    refusal: str | None = None
    tool_call: ToolCall | None = None
    function_call: FunctionCall | None = None
    choice: ChatStreamChoice | None = None
    waiting: ChatStreamNotice | None = None
    restarted: ChatStreamNotice | None = None
    cancelled: ChatStreamCancelled | None = None
    error: ChatStreamError | None = None


class ChatStreamChoice(BaseModel):
    """A piece of a choice besides the first."""

    index: int
    content: str | None = None
    reasoning: str | None = None
    refusal: str | None = None


class ChatStreamNotice(RootModel[dict[str, Any]]):
    """The fields of the event of this name."""


class ChatStreamCancelled(BaseModel):
    """Who cancelled the job."""

    by: str


class ChatStreamError(JobError):
    """Why the job failed, or why the stream ends before the job."""

    job_id: str | None = Field(None, description="The job, if it goes on.")


class CompletionState(BaseModel):
    """The state of a completion's job."""

    status: Status
    error: JobError | None
    job: str = Field(description="The path of the job.")


class ChatCompletionChoice(BaseModel):
    """OpenAI's choice."""

    model_config = ConfigDict(extra="allow")

    index: int
    message: CompletionMessage
    finish_reason: str | None = Field(description="Null while the job runs.")


class CompletionMessage(RootModel[dict[str, Any]]):
    """OpenAI's message."""


class ChatCompletion(BaseModel):
    """OpenAI's chat completion."""

    model_config = _example(
        id=f"chatcmpl-{_ID}",
        object="chat.completion",
        created=_CREATED,
        model="demo",
        choices=[
            {
                "index": 0,
                "message": {"role": "assistant", "content": "An ordered list of events.", "refusal": None},
                "logprobs": None,
                "finish_reason": "stop",
            }
        ],
        usage={"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11},
        metadata={},
        readalong={"status": "done", "error": None, "job": f"/v1/jobs/{_ID}"},
    )

    id: str
    object: Literal["chat.completion"]
    created: int = Field(description="Seconds since the epoch.")
    model: str
    choices: list[ChatCompletionChoice]
    usage: Any
    metadata: Metadata
    readalong: CompletionState


class ChatCompletionChunk(BaseModel):
    """OpenAI's chunk of a chat completion."""

    model_config = _example(
        id=f"chatcmpl-{_ID}",
        object="chat.completion.chunk",
        created=_CREATED,
        model="demo",
        choices=[{"index": 0, "delta": {"content": "An"}, "logprobs": None, "finish_reason": None}],
    )

    id: str
    object: Literal["chat.completion.chunk"]
    created: int
    model: str
    choices: list[Any]


class ChatCompletionStreamItem(RootModel[ChatCompletionChunk | OpenAIError]):
    """A chunk, or the error that ends the stream."""


class ChatCompletionList(BaseModel):
    """A page of chat completions."""

    model_config = _example(object="list", data=[], first_id=None, last_id=None, has_more=False)

    object: Literal["list"]
    data: list[ChatCompletion]
    first_id: str | None
    last_id: str | None
    has_more: bool


class CompletionMessageList(BaseModel):
    """A page of the messages of a completion's request."""

    model_config = _example(object="list", data=[], first_id=None, last_id=None, has_more=False)

    object: Literal["list"]
    data: list[CompletionMessage]
    first_id: str | None
    last_id: str | None
    has_more: bool


class ChatCompletionDeleted(BaseModel):
    """A completion is erased."""

    model_config = _example(object="chat.completion.deleted", id=f"chatcmpl-{_ID}", deleted=True)

    object: Literal["chat.completion.deleted"]
    id: str
    deleted: Literal[True]


class Model(BaseModel):
    """OpenAI's model."""

    model_config = _example(id="demo", object="model", created=0, owned_by="readalong")

    id: str
    object: Literal["model"]
    created: int
    owned_by: str


class ModelList(BaseModel):
    """The models that the operator lists."""

    model_config = _example(
        object="list", data=[{"id": "demo", "object": "model", "created": 0, "owned_by": "readalong"}]
    )

    object: Literal["list"]
    data: list[Model]


class ResponseObject(BaseModel):
    """OpenAI's Response object."""

    model_config = _example(
        id=f"resp_{_ID}",
        object="response",
        created_at=_CREATED,
        status="completed",
        model="demo",
        output=[],
        usage=None,
    )

    id: str
    object: Literal["response"]
    created_at: int = Field(description="Seconds since the epoch.")
    status: Literal["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]
    model: str
    output: list[ThreadItem]
    usage: Any


class ResponseEvent(BaseModel):
    """OpenAI's event of a response."""

    model_config = _example(type="response.output_text.delta", sequence_number=5, delta="An")

    type: str
    sequence_number: int


class ResponseDeleted(BaseModel):
    """A response is erased."""

    model_config = _example(id=f"resp_{_ID}", object="response.deleted", deleted=True)

    id: str
    object: Literal["response.deleted"]
    deleted: Literal[True]


class ItemList(BaseModel):
    """A page of items."""

    model_config = _example(object="list", data=[], first_id="", last_id="", has_more=False)

    object: Literal["list"]
    data: list[ThreadItem]
    first_id: str | None
    last_id: str | None
    has_more: bool


class Conversation(BaseModel):
    """OpenAI's conversation, which is a thread."""

    model_config = _example(id="conv_1", object="conversation", created_at=_CREATED, metadata={})

    id: str
    object: Literal["conversation"]
    created_at: int = Field(description="Seconds since the epoch.")
    metadata: Metadata


class ConversationDeleted(BaseModel):
    """A conversation is erased."""

    model_config = _example(id="conv_1", object="conversation.deleted", deleted=True)

    id: str
    object: Literal["conversation.deleted"]
    deleted: Literal[True]


class UiMessageChunk(BaseModel):
    """A chunk of the AI SDK's UI message stream. The last line is `[DONE]`."""

    model_config = _example(type="text-delta", id="t0", delta="An")

    type: str


class UiStopped(BaseModel):
    """The answer is cancelled, or none runs."""

    model_config = _example(success=True)

    success: Literal[True]


class AgUiEvent(BaseModel):
    """An event of AG-UI."""

    model_config = _example(type="TEXT_MESSAGE_CONTENT", messageId="m2", delta="An")

    type: str


class StreamMessages(RootModel[list[StreamMessage]]):
    """Events of a job as messages of a Durable Stream."""

    model_config = ConfigDict(
        json_schema_extra={"examples": [[{"id": 3, "type": "content", "content": "An"}]]},
    )


class StreamControl(BaseModel):
    """Where a Durable Stream goes on."""

    model_config = _example(streamNextOffset="0000000000000003-9f3c21", streamCursor="3348264", upToDate=True)

    streamNextOffset: str
    streamCursor: str | None = None
    upToDate: bool | None = None
    streamClosed: bool | None = None


class StreamFrame(RootModel[StreamMessages | StreamControl]):
    """The data of an event `data` or `control`."""
