"""The answer as one JSON body, for requests that do not stream."""

from itertools import islice
from typing import Any

import orjson

from readalong.testing.behaviours import Behaviour
from readalong.testing.calls import Call
from readalong.testing.chunks import FINGERPRINT, logprobs_of, usage_of
from readalong.testing.limits import ENDLESS_WHOLE_TOKENS, MAX_LOGPROBS, MAX_WHOLE_CHARACTERS
from readalong.testing.question import ChatRequest
from readalong.testing.refusals import bad_request
from readalong.testing.reply import Choice, Reply


def completion(question: ChatRequest, reply: Reply, answer_id: str, created: int) -> bytes:
    """The body of `chat.completion`, with usage unless the model is told to give none.

    Raises ApiError(400) for more text or log probabilities than one body may have.
    """
    if sum(sum(map(len, choice.tokens)) for choice in reply.choices) > MAX_WHOLE_CHARACTERS:
        raise bad_request(f"One body may have {MAX_WHOLE_CHARACTERS} characters: stream it.", "demo.tokens")
    shown = sum(ENDLESS_WHOLE_TOKENS if choice.endless else len(choice.tokens) for choice in reply.choices)
    if question.logprobs and shown * (1 + question.top_logprobs) > MAX_LOGPROBS:
        raise bad_request(f"One body may have {MAX_LOGPROBS} log probabilities: stream it.", "top_logprobs")
    choices, tokens = [], 0
    for choice in reply.choices:
        made, count = _choice(question, choice)
        choices.append(made)
        tokens += count
    body: dict[str, object] = {
        "id": answer_id,
        "object": "chat.completion",
        "created": created,
        "model": question.model,
        "service_tier": "default",
        "system_fingerprint": FINGERPRINT,
        "choices": choices,
    }
    if not question.manner.has(Behaviour.USAGE_NONE):
        reasoning = sum(len(choice.reasoning) for choice in reply.choices)
        body["usage"] = usage_of(reply.prompt_tokens, tokens, reasoning)
    return orjson.dumps(body)


def _choice(question: ChatRequest, choice: Choice) -> tuple[dict[str, object], int]:
    tokens = tuple(islice(choice.content(), ENDLESS_WHOLE_TOKENS)) if choice.endless else choice.tokens
    calls = [*choice.calls, *([choice.function_call] if choice.function_call else [])]
    in_words = not calls and not choice.refusal
    message: dict[str, Any] = {
        "role": "assistant",
        "content": "".join(tokens) if in_words else None,
        "refusal": "".join(choice.refusal) or None,
    }
    if choice.reasoning:
        message["reasoning_content"] = "".join(choice.reasoning)
    if choice.calls:
        message["tool_calls"] = [_tool_call(call) for call in choice.calls]
    if choice.function_call:
        message["function_call"] = _function(choice.function_call)
    shown = {
        "index": choice.index,
        "message": message,
        "logprobs": logprobs_of(tokens, question.top_logprobs) if question.logprobs and in_words else None,
        "finish_reason": "length" if choice.endless else choice.finish_reason,
    }
    fragments = sum(1 + len(call.fragments) for call in calls)
    return shown, len(choice.reasoning) + len(choice.refusal) + len(tokens) + fragments


def _tool_call(call: Call) -> dict[str, object]:
    return {"id": call.id, "type": "function", "function": _function(call)}


def _function(call: Call) -> dict[str, str]:
    return {"name": call.name, "arguments": call.arguments}
