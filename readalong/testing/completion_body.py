"""The answer as one JSON body."""

from itertools import islice
from typing import Any

import orjson

from readalong.testing.behaviours import Behaviour
from readalong.testing.chat_request import ChatRequest
from readalong.testing.chunks import FINGERPRINT, logprobs_object, usage_object
from readalong.testing.errors import bad_request
from readalong.testing.limits import ENDLESS_BODY_TOKENS, MAX_BODY_CHARACTERS, MAX_LOGPROBS
from readalong.testing.reply import Choice, Reply
from readalong.testing.tool_calls import ToolCall


def completion_body(request: ChatRequest, reply: Reply, answer_id: str, created: int) -> bytes:
    """Returns the body of a `chat.completion`.

    Raises ApiError(400) if the text or the log probabilities exceed the limits of one body.
    """
    if sum(sum(map(len, choice.tokens)) for choice in reply.choices) > MAX_BODY_CHARACTERS:
        raise bad_request(f"One body may have {MAX_BODY_CHARACTERS} characters: stream it.", "demo.tokens")
    count = sum(ENDLESS_BODY_TOKENS if choice.endless else len(choice.tokens) for choice in reply.choices)
    if request.logprobs and count * (1 + request.top_logprobs) > MAX_LOGPROBS:
        raise bad_request(f"One body may have {MAX_LOGPROBS} log probabilities: stream it.", "top_logprobs")
    choices, tokens = [], 0
    for choice in reply.choices:
        encoded, size = _choice(request, choice)
        choices.append(encoded)
        tokens += size
    body: dict[str, object] = {
        "id": answer_id,
        "object": "chat.completion",
        "created": created,
        "model": request.model,
        "service_tier": "default",
        "system_fingerprint": FINGERPRINT,
        "choices": choices,
    }
    if not request.profile.has(Behaviour.USAGE_NONE):
        reasoning = sum(len(choice.reasoning) for choice in reply.choices)
        body["usage"] = usage_object(reply.prompt_tokens, tokens, reasoning)
    return orjson.dumps(body)


def _choice(request: ChatRequest, choice: Choice) -> tuple[dict[str, object], int]:
    """Returns the choice's object and its number of tokens."""
    tokens = tuple(islice(choice.content(), ENDLESS_BODY_TOKENS)) if choice.endless else choice.tokens
    calls = [*choice.calls, *([choice.function_call] if choice.function_call else [])]
    is_text = not calls and not choice.refusal
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(tokens) if is_text else None,
        "refusal": "".join(choice.refusal) or None,
    }
    if choice.reasoning:
        message["reasoning_content"] = "".join(choice.reasoning)
    if choice.calls:
        message["tool_calls"] = [_tool_call(call) for call in choice.calls]
    if choice.function_call:
        message["function_call"] = _function(choice.function_call)
    encoded = {
        "index": choice.index,
        "message": message,
        "logprobs": logprobs_object(tokens, request.top_logprobs) if request.logprobs and is_text else None,
        "finish_reason": "length" if choice.endless else choice.finish_reason,
    }
    fragments = sum(1 + len(call.fragments) for call in calls)
    return encoded, len(choice.reasoning) + len(choice.refusal) + len(tokens) + fragments


def _tool_call(call: ToolCall) -> dict[str, object]:
    return {"id": call.id, "type": "function", "function": _function(call)}


def _function(call: ToolCall) -> dict[str, str]:
    return {"name": call.name, "arguments": call.arguments}
