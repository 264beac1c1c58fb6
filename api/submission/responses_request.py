"""A request of the Responses API to a request of chat completions (pure).

Each parameter is translated, or refused by its name. None is ignored.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, NamedTuple

from readalong.api.submission import openai_mistakes as check
from readalong.api.submission.chat_request import MAX_KEY_LENGTH, MAX_PAIRS, MAX_VALUE_LENGTH
from readalong.api.submission.responses_items import read_input
from readalong.api.submission.responses_tools import read_tool_choice, read_tools
from readalong.api.wire.openai_responses.response_object import echo_of
from readalong.core.options import OPTION_FIELDS
from readalong.core.thread_entries import Entry, compose
from readalong.store.threads import ThreadPolicy

#: Parameters of chat completions that have another name in the Responses API.
_MOVED: Final = {
    "messages": "input",
    "max_tokens": "max_output_tokens",
    "max_completion_tokens": "max_output_tokens",
    "response_format": "text.format",
    "reasoning_effort": "reasoning.effort",
    "verbosity": "text.verbosity",
    "functions": "tools",
    "function_call": "tool_choice",
}
#: Parameters that chat completions have under the same name.
_PASSED: Final = ("prompt_cache_key", "prompt_cache_retention", "safety_identifier", "service_tier", "user")
_PASSED_OBJECTS: Final = ("prompt_cache_options",)
#: Known parameters that a model of chat completions cannot honour.
_REFUSED: Final = ("access_programs", "context_management", "image", "moderation", "prompt")
_READ: Final = frozenset(
    {
        *("background", "background_options", "conversation", "include", "input", "instructions", "max_output_tokens"),
        *("max_tool_calls", "metadata", "model", "parallel_tool_calls", "previous_response_id", "readalong"),
        *("reasoning", "store", "stream", "stream_options", "temperature", "text", "tool_choice", "tools"),
        *("top_logprobs", "top_p", "truncation", *_PASSED, *_PASSED_OBJECTS),
    }
)
_LOGPROBS: Final = "message.output_text.logprobs"
_ENCRYPTED: Final = "reasoning.encrypted_content"
#: Of these only log probabilities change what the model does. Images and the text of reasoning are always there, and
#: no hosted tool runs that could have results.
INCLUDES: Final = (
    "file_search_call.results",
    "web_search_call.results",
    "web_search_call.action.sources",
    "message.input_image.image_url",
    "computer_call_output.output.image_url",
    "code_interpreter_call.outputs",
    _ENCRYPTED,
    _LOGPROBS,
)
_POLICIES: Final[tuple[ThreadPolicy, ...]] = ("reject", "enqueue", "interrupt", "rollback")
_SUMMARIES: Final = ("auto", "concise", "detailed")
_VERBOSITIES: Final = ("low", "medium", "high")


class ResponsesRequest(NamedTuple):
    """`chat`: the body of the request to the model; its first `leading` messages are no part of the thread. `entries`:
    what the input adds to the thread. `echo`: what the response repeats of the request."""

    chat: dict[str, Any]
    leading: int
    entries: list[Entry]
    echo: bytes
    background: bool
    stream: bool
    store: bool
    previous_response_id: str | None
    conversation: str | None
    thread_policy: ThreadPolicy


def translate(
    body: dict[str, Any], known: dict[str, dict[str, Any]] | None = None, *, native: bool = False
) -> ResponsesRequest:
    """Returns the request. `known`: the items that the input names by their ids. `native`: the model is asked by the
    Responses API itself, so that what chat completions cannot say reaches it. Raises InvalidRequest."""
    _check_names(body)
    background, store = check.flag(body, "background", "background", False), check.flag(body, "store", "store", True)
    stream = check.flag(body, "stream", "stream", False)
    if background and not store:
        raise check.unsupported("background", "with 'store' set to false: a background response must be stored")
    previous, conversation = check.text(body, "previous_response_id", "previous_response_id"), conversation_of(body)
    if previous is not None and conversation is not None:
        raise check.exclusive("conversation", "previous_response_id")
    if body.get("input") is None and previous is None and conversation is None:
        raise check.missing("input")
    entries = [] if body.get("input") is None else read_input(body["input"], known or {}, native=native)
    if not entries and previous is None and conversation is None:
        raise check.mistake("Invalid 'input': empty array. Expected at least one item.", "empty_array", "input")
    _check_the_rest(body, background=background, stream=stream)
    instructions = check.text(body, "instructions", "instructions")
    first = [] if instructions is None else [{"role": "system", "content": instructions}]
    if not (entries or first):
        raise check.missing("input")
    chat: dict[str, Any] = {"messages": [*first, *compose(entries, items=native)]}
    echo: dict[str, Any] = {
        "background": background,
        "store": store,
        "instructions": instructions,
        "previous_response_id": previous,
        "conversation": None if conversation is None else {"id": conversation},
    }
    for read in _READERS:
        read(body, chat, echo)
    if native:
        _add_native(body, chat, echo)
    return ResponsesRequest(
        chat,
        len(first),
        entries,
        echo_of({name: value for name, value in echo.items() if value is not None}),
        background,
        stream,
        store,
        previous,
        conversation,
        _thread_policy(body),
    )


def _check_names(body: dict[str, Any]) -> None:
    for name, value in body.items():
        if name in _MOVED:
            raise check.moved(name, _MOVED[name])
        if name in _REFUSED and value is not None:
            raise check.unsupported(name, "is not supported: the model speaks chat completions")
        if name not in _READ and name not in _REFUSED:
            raise check.unknown(name)


def _thread_policy(body: dict[str, Any]) -> ThreadPolicy:
    options = check.mapping(body, "readalong", "readalong")
    policy = check.choice(options, "thread_policy", "readalong.thread_policy", _POLICIES)
    return next((each for each in _POLICIES if each == policy), "reject")


def conversation_of(body: dict[str, Any]) -> str | None:
    """Returns the id of the conversation. Raises InvalidRequest."""
    given = body.get("conversation")
    if isinstance(given, dict):
        return check.needed(given, "id", "conversation.id")
    if given is not None and not isinstance(given, str):
        raise check.wrong_type("conversation", "one of an object or a string", given)
    return given


def _check_the_rest(body: dict[str, Any], *, background: bool, stream: bool) -> None:
    """Checks what changes nothing for the model. Raises InvalidRequest for what cannot be honoured."""
    if check.choice(body, "truncation", "truncation", ("auto", "disabled")) == "auto":
        raise check.unsupported("truncation", "with the value 'auto': the API does not know the model's window")
    options = check.mapping(body, "background_options", "background_options")
    for name, value in options.items():
        if value is not None and (name, value) != ("completion_window", "soonest"):
            raise check.unsupported(f"background_options.{name}")
    for name, value in check.mapping(body, "stream_options", "stream_options").items():
        if name != "include_obfuscation":
            raise check.unknown(f"stream_options.{name}")
        if check.flag({name: value}, name, f"stream_options.{name}", False):
            raise check.unsupported(f"stream_options.{name}", "is not supported: the events have no padding")


def _read_plain(body: dict[str, Any], chat: dict[str, Any], echo: dict[str, Any]) -> None:
    if (model := check.text(body, "model", "model")) is not None:
        chat["model"] = model
    for name in _PASSED:
        if (value := check.text(body, name, name)) is not None:
            chat[name] = echo[name] = value
    for name in _PASSED_OBJECTS:
        if fields := check.mapping(body, name, name):
            chat[name] = fields
    for name, most in (("temperature", 2), ("top_p", 1)):
        if (number := check.decimal(body, name, name, 0, most)) is not None:
            chat[name] = echo[name] = number
    if (tokens := check.integer(body, "max_output_tokens", "max_output_tokens", 1)) is not None:
        chat["max_completion_tokens"] = echo["max_output_tokens"] = tokens
    # It bounds calls of hosted tools, and there are none.
    echo["max_tool_calls"] = check.integer(body, "max_tool_calls", "max_tool_calls", 1)


def _read_tools(body: dict[str, Any], chat: dict[str, Any], echo: dict[str, Any]) -> None:
    parallel = check.flag(body, "parallel_tool_calls", "parallel_tool_calls", True)
    echo["parallel_tool_calls"] = parallel
    tools = read_tools(body.get("tools"))
    choice = read_tool_choice(body.get("tool_choice"))
    echo["tools"], echo["tool_choice"] = body.get("tools") or [], body.get("tool_choice")
    if tools:
        chat["tools"] = tools
        # OpenAI refuses these two without tools.
        if body.get("parallel_tool_calls") is not None:
            chat["parallel_tool_calls"] = parallel
        if choice is not None:
            chat["tool_choice"] = choice
    elif choice not in (None, "none", "auto"):
        raise check.mistake("Tool choice 'tool_choice' requires 'tools'.", "invalid_value", "tool_choice")


def _read_text(body: dict[str, Any], chat: dict[str, Any], echo: dict[str, Any]) -> None:
    config = check.mapping(body, "text", "text")
    for name in config:
        if name not in ("format", "verbosity"):
            raise check.unknown(f"text.{name}")
    if verbosity := check.choice(config, "verbosity", "text.verbosity", _VERBOSITIES):
        chat["verbosity"] = verbosity
    given = check.mapping(config, "format", "text.format")
    kind = check.needed(given, "type", "text.format.type") if given else "text"
    if kind == "json_schema":
        check.needed(given, "name", "text.format.name")
        if not check.mapping(given, "schema", "text.format.schema"):
            raise check.missing("text.format.schema")
        schema = {name: value for name, value in given.items() if name != "type" and value is not None}
        chat["response_format"] = {"type": kind, "json_schema": schema}
    elif kind == "json_object":
        chat["response_format"] = {"type": kind}
    elif kind != "text":
        raise check.wrong_value("text.format.type", kind, ("json_object", "json_schema", "text"))
    echo["text"] = {**config, "format": given or {"type": "text"}}


def _read_reasoning(body: dict[str, Any], chat: dict[str, Any], echo: dict[str, Any]) -> None:
    config = check.mapping(body, "reasoning", "reasoning")
    for name, value in config.items():
        if name not in ("effort", "summary", "generate_summary") and value is not None:
            raise check.unsupported(f"reasoning.{name}", "is not supported: the model speaks chat completions")
    if effort := check.text(config, "effort", "reasoning.effort"):
        chat["reasoning_effort"] = effort
    summary = check.choice(config, "summary", "reasoning.summary", _SUMMARIES)
    summary = summary or check.choice(config, "generate_summary", "reasoning.generate_summary", _SUMMARIES)
    echo["reasoning"] = {"effort": effort, "summary": summary}


def _read_logprobs(body: dict[str, Any], chat: dict[str, Any], echo: dict[str, Any]) -> None:
    include = body.get("include") or []
    if not isinstance(include, list):
        raise check.wrong_type("include", "an array of strings", include)
    for number, value in enumerate(include):
        if value not in INCLUDES:
            raise check.wrong_value(f"include[{number}]", value, INCLUDES)
    top = check.integer(body, "top_logprobs", "top_logprobs", 0, 20)
    if _LOGPROBS in include or top:
        chat["logprobs"] = True
    if top:
        chat["top_logprobs"] = echo["top_logprobs"] = top


def _add_native(body: dict[str, Any], chat: dict[str, Any], echo: dict[str, Any]) -> None:
    """Adds what chat completions do not have, under its own name."""
    if summary := echo["reasoning"]["summary"]:
        chat["reasoning"] = {"summary": summary}
    if _ENCRYPTED in (body.get("include") or []):
        chat["include"] = [_ENCRYPTED]


def _read_metadata(body: dict[str, Any], chat: dict[str, Any], echo: dict[str, Any]) -> None:
    metadata = check.mapping(body, "metadata", "metadata")
    if len(metadata) > MAX_PAIRS:
        message = (
            f"Invalid 'metadata': too many properties. Expected an object with at most {MAX_PAIRS} properties, "
            f"but got an object with {len(metadata)} properties instead."
        )
        raise check.mistake(message, "object_above_max_properties", "metadata")
    for key, value in metadata.items():
        if not isinstance(value, str):
            raise check.wrong_type(f"metadata.{key}", "a string", value)
        for text, most, what in ((key, MAX_KEY_LENGTH, "key"), (value, MAX_VALUE_LENGTH, "value")):
            if len(text) > most:
                message = f"Invalid 'metadata': {what} too long. Expected a string with maximum length {most}."
                raise check.mistake(message, "string_above_max_length", "metadata")
    if metadata:
        chat["metadata"] = metadata
    echo["metadata"] = metadata


def _read_options(body: dict[str, Any], chat: dict[str, Any], echo: dict[str, Any]) -> None:
    for name, value in check.mapping(body, "readalong", "readalong").items():
        if name in OPTION_FIELDS:
            chat[name] = value
        elif name != "thread_policy":
            raise check.unknown(f"readalong.{name}")
    if echo["background"] and chat.get("cancel_on_disconnect") is None:
        # Whatever the settings say of other jobs: OpenAI's clients leave a background response alone.
        chat["cancel_on_disconnect"] = False


_READERS: Final[tuple[Callable[[dict[str, Any], dict[str, Any], dict[str, Any]], None], ...]] = (
    _read_plain,
    _read_tools,
    _read_text,
    _read_reasoning,
    _read_logprobs,
    _read_metadata,
    _read_options,
)
