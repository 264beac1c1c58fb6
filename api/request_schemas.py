"""The bodies of requests, as openapi.json describes them. What a route reads is checked where it is read."""

from __future__ import annotations

from typing import Annotated, Any, Final, Literal

from pydantic import BaseModel, ConfigDict, Field, RootModel, create_model

from readalong.api.schemas import Metadata
from readalong.api.submission import chat_request
from readalong.core.options import LONGEST_GRACE
from readalong.store.threads import MAX_NAME_LENGTH, ThreadPolicy

_QUESTION: Final = "What is a log?"
_ASKED: Final[dict[str, Any]] = {"messages": [{"role": "user", "content": _QUESTION}]}
_PARTS: Final = {"id": "m1", "role": "user", "parts": [{"type": "text", "text": _QUESTION}]}


class ChatMessage(RootModel[dict[str, Any]]):
    """A message of chat completions. Its content passes through to the model unchanged."""


def _open(**example: Any) -> ConfigDict:
    """Returns an object that takes further fields."""
    return ConfigDict(extra="allow", json_schema_extra={"examples": [example]})


def _closed(**example: Any) -> ConfigDict:
    return ConfigDict(extra="forbid", json_schema_extra={"examples": [example]})


def _same(model: type[BaseModel], *names: str) -> dict[str, Any]:
    """Returns fields of a model, with their descriptions and limits."""
    return {name: (model.model_fields[name].annotation, model.model_fields[name]) for name in names}


_SUBMITTED: Final = chat_request.ChatRequest.model_fields
_COMMON: Final[dict[str, Any]] = {
    "messages": (
        list[ChatMessage],
        Field(
            min_length=1,
            max_length=chat_request.MAX_MESSAGES,
            description=_SUBMITTED["messages"].description,
        ),
    ),
    "metadata": (Metadata | None, Field(None, description=_SUBMITTED["metadata"].description)),
    **_same(chat_request.ChatRequest, "model", "n", "stream_options"),
}


class JobOptions(BaseModel):
    """Options of the job, which the model does not get."""

    model_config = _closed(on_worker_lost="fail")

    on_worker_lost: Literal["retry", "fail"] | None = Field(None, description=_SUBMITTED["on_worker_lost"].description)
    deadline: Annotated[float, Field(gt=0, le=31_536_000)] | None = Field(
        None, description=_SUBMITTED["deadline"].description
    )
    cancel_on_disconnect: bool | Annotated[float, Field(ge=0, le=LONGEST_GRACE)] | None = Field(
        None, description=_SUBMITTED["cancel_on_disconnect"].description
    )


class TurnOptions(JobOptions):
    """Options of the job and of its turn in the thread, which the model does not get."""

    model_config = _closed(thread_policy="reject")

    thread_policy: ThreadPolicy | None = Field(None, description="What is done if another turn of the thread runs.")


ChatRequest: Final = create_model(
    "ChatRequest",
    __config__=_open(**_ASKED, model="demo", metadata={"user": "ada"}),
    __doc__=chat_request.ChatRequest.__doc__,
    **_COMMON,
    # Not the checked ones: pydantic writes the limits of a strict number in words that JSON Schema does not know.
    **_same(JobOptions, *JobOptions.model_fields),
    **_same(chat_request.ChatRequest, "thread", "thread_policy", "stream"),
)
ChatCompletionRequest: Final = create_model(
    "ChatCompletionRequest",
    __config__=_open(**_ASKED, model="demo"),
    __doc__="OpenAI's parameters; those that are not listed here pass through to the model unchanged.",
    **_COMMON,
    stream=(bool | None, Field(None, description="The answer comes in chunks.")),
    readalong=(JobOptions | None, Field(None)),
)


class MetadataUpdate(BaseModel):
    """New metadata, in place of the old."""

    model_config = _closed(metadata={"user": "ada"})

    metadata: Metadata | None


class ResponseRequest(BaseModel):
    """OpenAI's parameters of a response. Those that cannot be honoured are refused by name (docs/compatibility.md)."""

    model_config = _open(model="demo", input=_QUESTION, background=True)

    input: str | list[Any] | None = Field(None, description="A text, or OpenAI's items.")
    model: str | None = Field(None, description="The model; by default the server's.")
    background: bool | None = Field(None, description="The call returns at once; the response goes on without it.")
    stream: bool | None = Field(None, description="The response comes as events.")
    store: bool | None = Field(None, description="`false`: other calls do not find it.")
    previous_response_id: str | None = Field(None, description="The response that this one follows.")
    conversation: str | Any = Field(None, description="The conversation that it belongs to: its id, or an object.")
    metadata: Metadata | None = None
    readalong: TurnOptions | None = None


class ConversationRequest(BaseModel):
    """A new conversation."""

    model_config = _closed(metadata={"topic": "logs"})

    items: list[Any] | None = Field(None, max_length=20, description="OpenAI's items.")
    metadata: Metadata | None = None


class ConversationItemsRequest(BaseModel):
    """Items for a conversation."""

    model_config = _closed(items=[{"type": "message", "role": "user", "content": _QUESTION}])

    items: list[Any] = Field(max_length=20, description="OpenAI's items.")


class UiMessage(RootModel[dict[str, Any]]):
    """A message of the AI SDK (`UIMessage`): its `role` and its `parts`."""


class UiChatRequest(BaseModel):
    """What `useChat` sends: all `messages`, or the newest `message` alone. All fields that are not listed are
    parameters for the model."""

    model_config = _open(id="chat-1", messages=[_PARTS], trigger="submit-message")

    id: str | None = Field(None, max_length=MAX_NAME_LENGTH, description="The chat's id: the thread of this name.")
    messages: list[UiMessage] | None = None
    message: UiMessage | None = None
    trigger: Literal["submit-message", "regenerate-message"] | None = None
    system: str | None = Field(None, description="Instructions, before all messages; no part of the chat.")
    readalong: TurnOptions | None = None


class UiStopRequest(BaseModel):
    """Which answer is meant."""

    model_config = _open(activeStreamId="msg_Jd0tTVQyOzKzFsmaAPFSxw")

    activeStreamId: str | None = Field(None, description="An answer; another one that runs is not cancelled.")


class AgUiObject(RootModel[dict[str, Any]]):
    """An object of AG-UI's."""


class RunAgentInput(BaseModel):
    """AG-UI's RunAgentInput. The parameters for the model are in `forwardedProps`, and `readalong` beside them has
    options of this API's own."""

    model_config = _closed(
        threadId="trip", runId="run-1", messages=[{"id": "m1", "role": "user", "content": _QUESTION}]
    )

    threadId: str = Field(min_length=1, max_length=MAX_NAME_LENGTH)
    runId: str = Field(min_length=1, max_length=250, description="A repeat of the same run is that run.")
    parentRunId: str | None = None
    protocolVersion: str | None = Field(None, description="1.0, or another version that begins with 1.")
    messages: list[AgUiObject] = Field(min_length=1, max_length=chat_request.MAX_MESSAGES)
    tools: list[AgUiObject] | None = None
    context: list[AgUiObject] | None = None
    state: Any = Field(None, description="Null or empty: a run has no shared state here.")
    resume: Any = Field(None, description="Null or empty: no run is interrupted here.")
    forwardedProps: AgUiObject | None = None
