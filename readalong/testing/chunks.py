"""The answer as server-sent events: one frame of bytes a chunk, as OpenAI and Azure write them."""

from collections.abc import Iterator
from enum import Enum, auto
from typing import NamedTuple

import orjson

from readalong.testing.behaviours import Behaviour
from readalong.testing.chat_request import ChatRequest
from readalong.testing.reply import Choice, Reply
from readalong.testing.tool_calls import ToolCall

FINGERPRINT = "fp_demo"
DONE = b"data: [DONE]\n\n"
_SAFE = {"filtered": False, "severity": "safe"}
_FILTERS = {"hate": _SAFE, "self_harm": _SAFE, "sexual": _SAFE, "violence": _SAFE}


class FaultAction(Enum):
    """A fault of the connection, after a frame."""

    STALL = auto()
    """Send nothing more and leave the connection open."""
    END = auto()
    """End the body properly, although the answer is incomplete."""
    CUT = auto()
    """Close the connection in the middle of the body, after the frame."""
    RESET = auto()
    """Reset the connection."""


class Frame(NamedTuple):
    """The bytes of one frame, with its text and its tokens."""

    data: bytes
    text: str = ""
    tokens: int = 0
    closing: bool = False
    """The frame has a finish reason or follows one."""
    action: FaultAction | None = None


class Envelope:
    """The fields that all chunks of one answer share, encoded once."""

    def __init__(self, answer_id: str, created: int, request: ChatRequest) -> None:
        head = {
            "id": answer_id,
            "object": "chat.completion.chunk",
            "created": created,
            "model": request.model,
            "service_tier": "default",
            "system_fingerprint": FINGERPRINT,
        }
        self.open = b"data: " + orjson.dumps(head)[:-1] + b',"choices":['
        self.close = b'],"usage":null}\n\n' if request.include_usage else b"]}\n\n"

    def delta_affixes(self, choice: int, delta: bytes) -> tuple[bytes, bytes]:
        """Returns the bytes before and after the JSON string in a delta that begins with `delta`."""
        before = self.open + b'{"index":%d,"delta":{%b' % (choice, delta)
        return before, b'},"logprobs":null,"finish_reason":null}' + self.close

    def chunk(self, choice: int, delta: object, finish: str | None = None, logprobs: object = None) -> bytes:
        """Returns a chunk with one choice."""
        body = {"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return self.open + orjson.dumps(body) + self.close

    def usage(self, usage: object) -> bytes:
        """Returns the last chunk, which has no choices."""
        return self.open + b'],"usage":' + orjson.dumps(usage) + b"}\n\n"


def answer_frames(request: ChatRequest, reply: Reply, envelope: Envelope) -> Iterator[Frame]:
    """Yields all frames of a well-behaved stream. The choices take turns."""
    profile = request.profile
    if profile.has(Behaviour.AZURE):
        yield Frame(_azure_prompt())
    completion = 0
    for frame in _interleave([_choice(request, choice, envelope) for choice in reply.choices]):
        completion += frame.tokens
        yield frame
    if request.include_usage and not profile.has(Behaviour.USAGE_NONE):
        reasoning = sum(len(choice.reasoning) for choice in reply.choices)
        usage = usage_object(reply.prompt_tokens, completion, reasoning)
        yield Frame(envelope.usage(usage), closing=True)
    yield Frame(DONE, closing=True)


def usage_object(prompt: int, completion: int, reasoning: int) -> dict[str, object]:
    """Returns OpenAI's usage object. The completion's tokens include those of the reasoning."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": reasoning, "audio_tokens": 0},
    }


def logprobs_object(tokens: tuple[str, ...], top: int) -> dict[str, object]:
    """Returns OpenAI's log probabilities: an invented one for each token, with `top` alternatives."""
    return {"content": [_logprob(token, top) for token in tokens], "refusal": None}


def azure_filter_frame(answer_end: int) -> bytes:
    """Returns a chunk of Azure's asynchronous content filter: a choice without a delta."""
    offsets = {"check_offset": 0, "start_offset": 0, "end_offset": answer_end}
    choice = {
        "index": 0,
        "finish_reason": None,
        "content_filter_results": _FILTERS,
        "content_filter_offsets": offsets,
    }
    return _azure([choice])


def _azure_prompt() -> bytes:
    return _azure([], prompt_filter_results=[{"prompt_index": 0, "content_filter_results": _FILTERS}])


def _azure(choices: list[object], **more: object) -> bytes:
    body = {"id": "", "object": "", "created": 0, "model": "", "choices": choices, **more}
    return b"data: " + orjson.dumps(body) + b"\n\n"


def _logprob(token: str, top: int) -> dict[str, object]:
    def entry(text: str, rank: int) -> dict[str, object]:
        return {"token": text, "logprob": -0.05 * (1 + len(token) % 5) - rank, "bytes": list(text.encode())}

    others = [entry(token if not rank else f"{token}{rank}", rank) for rank in range(top)]
    return {**entry(token, 0), "top_logprobs": others}


def _interleave(streams: list[Iterator[Frame]]) -> Iterator[Frame]:
    if len(streams) == 1:
        yield from streams[0]
        return
    while streams:
        for stream in list(streams):
            frame = next(stream, None)
            if frame is None:
                streams.remove(stream)
            else:
                yield frame


def _choice(request: ChatRequest, choice: Choice, envelope: Envelope) -> Iterator[Frame]:
    index = choice.index
    opening: dict[str, object] = {
        "role": "assistant",
        "content": "" if choice.tokens else None,
        "refusal": None,
    }
    yield Frame(envelope.chunk(index, opening))
    yield from _strings(choice.reasoning, *envelope.delta_affixes(index, b'"reasoning_content":'))
    yield from _strings(choice.refusal, *envelope.delta_affixes(index, b'"refusal":'))
    if request.logprobs:
        for token in choice.content():
            logprobs = logprobs_object((token,), request.top_logprobs)
            frame = envelope.chunk(index, {"content": token}, logprobs=logprobs)
            yield Frame(frame, token if index == 0 else "", 1)
    else:
        before, after = envelope.delta_affixes(index, b'"content":')
        encode = orjson.dumps
        shown = index == 0
        for token in choice.content():
            yield Frame(before + encode(token) + after, token if shown else "", 1)
    if choice.function_call is not None:
        yield from _function_call(choice.function_call, index, envelope)
    if request.profile.has(Behaviour.NO_INDEX):
        yield from _calls_without_index(choice.calls, index, envelope)
    else:
        yield from _calls(choice.calls, index, envelope)
    yield Frame(envelope.chunk(index, {}, choice.finish_reason), closing=True)


def _strings(tokens: tuple[str, ...], before: bytes, after: bytes) -> Iterator[Frame]:
    for token in tokens:
        yield Frame(before + orjson.dumps(token) + after, "", 1)


def _calls(calls: tuple[ToolCall, ...], index: int, envelope: Envelope) -> Iterator[Frame]:
    """Opens every call; then the fragments of their arguments take turns."""
    for call_index, call in enumerate(calls):
        delta = {
            "index": call_index,
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": ""},
        }
        yield Frame(envelope.chunk(index, {"tool_calls": [delta]}), "", 1)
    for turn in range(max((len(call.fragments) for call in calls), default=0)):
        for call_index, call in enumerate(calls):
            if turn < len(call.fragments):
                part = {"index": call_index, "function": {"arguments": call.fragments[turn]}}
                yield Frame(envelope.chunk(index, {"tool_calls": [part]}), "", 1)


def _calls_without_index(calls: tuple[ToolCall, ...], index: int, envelope: Envelope) -> Iterator[Frame]:
    """Sends one call after the other. Each delta has the call's id and no index."""
    for call in calls:
        opening = {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
        yield Frame(envelope.chunk(index, {"tool_calls": [opening]}), "", 1)
        for fragment in call.fragments:
            part = {"id": call.id, "function": {"arguments": fragment}}
            yield Frame(envelope.chunk(index, {"tool_calls": [part]}), "", 1)


def _function_call(call: ToolCall, index: int, envelope: Envelope) -> Iterator[Frame]:
    opening = {"function_call": {"name": call.name, "arguments": ""}}
    yield Frame(envelope.chunk(index, opening), "", 1)
    for fragment in call.fragments:
        yield Frame(envelope.chunk(index, {"function_call": {"arguments": fragment}}), "", 1)
