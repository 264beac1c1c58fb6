"""The answer as server-sent events: one frame of bytes a chunk, as OpenAI and Azure write them."""

from collections.abc import Iterator
from enum import Enum, auto
from typing import NamedTuple

import orjson

from readalong.testing.behaviours import Behaviour
from readalong.testing.calls import Call
from readalong.testing.question import ChatRequest
from readalong.testing.reply import Choice, Reply

FINGERPRINT = "fp_demo"
DONE = b"data: [DONE]\n\n"
_SAFE = {"filtered": False, "severity": "safe"}
_FILTERS = {"hate": _SAFE, "self_harm": _SAFE, "sexual": _SAFE, "violence": _SAFE}


class FaultAction(Enum):
    """What the server does after a piece, where it does not simply go on."""

    STALL = auto()
    """Say nothing more and leave the connection open."""
    END = auto()
    """End the body in good order, although the answer is not whole."""
    CUT = auto()
    """Close the connection in the middle of the body, after what was written."""
    RESET = auto()
    """Reset the connection."""


class Frame(NamedTuple):
    """One frame to send, with the text and the tokens that it carries."""

    frame: bytes
    text: str = ""
    tokens: int = 0
    closing: bool = False
    """It carries a finish reason, or comes after one that does."""
    act: FaultAction | None = None


class Envelope:
    """What all chunks of one answer have in common, encoded once."""

    def __init__(self, answer_id: str, created: int, question: ChatRequest) -> None:
        head = {
            "id": answer_id,
            "object": "chat.completion.chunk",
            "created": created,
            "model": question.model,
            "service_tier": "default",
            "system_fingerprint": FINGERPRINT,
        }
        self.open = b"data: " + orjson.dumps(head)[:-1] + b',"choices":['
        self.close = b'],"usage":null}\n\n' if question.include_usage else b"]}\n\n"

    def around(self, choice: int, delta: bytes) -> tuple[bytes, bytes]:
        """What comes before and after the JSON string in a delta that begins with `delta`."""
        before = self.open + b'{"index":%d,"delta":{%b' % (choice, delta)
        return before, b'},"logprobs":null,"finish_reason":null}' + self.close

    def chunk(self, choice: int, delta: object, finish: str | None = None, logprobs: object = None) -> bytes:
        """One chunk with one choice."""
        body = {"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return self.open + orjson.dumps(body) + self.close

    def usage(self, usage: object) -> bytes:
        """The last chunk, which has no choices."""
        return self.open + b'],"usage":' + orjson.dumps(usage) + b"}\n\n"


def pieces(question: ChatRequest, reply: Reply, envelope: Envelope) -> Iterator[Frame]:
    """All frames of a well-behaved stream, the choices taking turns. Made as they are asked for."""
    manner = question.manner
    if manner.has(Behaviour.AZURE):
        yield Frame(_azure_prompt())
    completion = 0
    for piece in _in_turns([_choice(question, choice, envelope) for choice in reply.choices]):
        completion += piece.tokens
        yield piece
    if question.include_usage and not manner.has(Behaviour.USAGE_NONE):
        reasoning = sum(len(choice.reasoning) for choice in reply.choices)
        usage = usage_of(reply.prompt_tokens, completion, reasoning)
        yield Frame(envelope.usage(usage), closing=True)
    yield Frame(DONE, closing=True)


def usage_of(prompt: int, completion: int, reasoning: int) -> dict[str, object]:
    """OpenAI's usage object; the reasoning tokens are part of the completion's."""
    return {
        "prompt_tokens": prompt,
        "completion_tokens": completion,
        "total_tokens": prompt + completion,
        "prompt_tokens_details": {"cached_tokens": 0, "audio_tokens": 0},
        "completion_tokens_details": {"reasoning_tokens": reasoning, "audio_tokens": 0},
    }


def logprobs_of(tokens: tuple[str, ...], top: int) -> dict[str, object]:
    """OpenAI's log probabilities: a made-up one for each token, and `top` alternatives."""
    return {"content": [_logprob(token, top) for token in tokens], "refusal": None}


def azure_filter(answer_end: int) -> bytes:
    """Azure's asynchronous content filter: a choice without a delta."""
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


def _in_turns(streams: list[Iterator[Frame]]) -> Iterator[Frame]:
    if len(streams) == 1:
        yield from streams[0]
        return
    while streams:
        for stream in list(streams):
            piece = next(stream, None)
            if piece is None:
                streams.remove(stream)
            else:
                yield piece


def _choice(question: ChatRequest, choice: Choice, envelope: Envelope) -> Iterator[Frame]:
    index = choice.index
    first: dict[str, object] = {
        "role": "assistant",
        "content": "" if choice.tokens else None,
        "refusal": None,
    }
    yield Frame(envelope.chunk(index, first))
    yield from _strings(choice.reasoning, *envelope.around(index, b'"reasoning_content":'))
    yield from _strings(choice.refusal, *envelope.around(index, b'"refusal":'))
    if question.logprobs:
        for token in choice.content():
            logprobs = logprobs_of((token,), question.top_logprobs)
            frame = envelope.chunk(index, {"content": token}, logprobs=logprobs)
            yield Frame(frame, token if index == 0 else "", 1)
    else:
        before, after = envelope.around(index, b'"content":')
        encode = orjson.dumps
        shown = index == 0
        for token in choice.content():
            yield Frame(before + encode(token) + after, token if shown else "", 1)
    if choice.function_call is not None:
        yield from _function_call(choice.function_call, index, envelope)
    if question.manner.has(Behaviour.NO_INDEX):
        yield from _calls_without_index(choice.calls, index, envelope)
    else:
        yield from _calls(choice.calls, index, envelope)
    yield Frame(envelope.chunk(index, {}, choice.finish_reason), closing=True)


def _strings(tokens: tuple[str, ...], before: bytes, after: bytes) -> Iterator[Frame]:
    for token in tokens:
        yield Frame(before + orjson.dumps(token) + after, "", 1)


def _calls(calls: tuple[Call, ...], index: int, envelope: Envelope) -> Iterator[Frame]:
    """Every call is opened, then their arguments' fragments take turns."""
    for place, call in enumerate(calls):
        delta = {
            "index": place,
            "id": call.id,
            "type": "function",
            "function": {"name": call.name, "arguments": ""},
        }
        yield Frame(envelope.chunk(index, {"tool_calls": [delta]}), "", 1)
    for turn in range(max((len(call.fragments) for call in calls), default=0)):
        for place, call in enumerate(calls):
            if turn < len(call.fragments):
                part = {"index": place, "function": {"arguments": call.fragments[turn]}}
                yield Frame(envelope.chunk(index, {"tool_calls": [part]}), "", 1)


def _calls_without_index(calls: tuple[Call, ...], index: int, envelope: Envelope) -> Iterator[Frame]:
    """One call after the other, each delta with its call's id and none with an index."""
    for call in calls:
        opening = {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": ""}}
        yield Frame(envelope.chunk(index, {"tool_calls": [opening]}), "", 1)
        for fragment in call.fragments:
            part = {"id": call.id, "function": {"arguments": fragment}}
            yield Frame(envelope.chunk(index, {"tool_calls": [part]}), "", 1)


def _function_call(call: Call, index: int, envelope: Envelope) -> Iterator[Frame]:
    opening = {"function_call": {"name": call.name, "arguments": ""}}
    yield Frame(envelope.chunk(index, opening), "", 1)
    for fragment in call.fragments:
        yield Frame(envelope.chunk(index, {"function_call": {"arguments": fragment}}), "", 1)
