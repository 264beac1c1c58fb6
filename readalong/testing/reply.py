"""The whole answer to a question, worked out before its first token is sent."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, cycle, islice

from readalong.testing.behaviours import Behaviour
from readalong.testing.calls import Call, calls_for, function_call_for
from readalong.testing.limits import COUNTED_TEXT, ENDLESS_TOKENS, MAX_TOKENS
from readalong.testing.prose import count_tokens, refusal, story, thoughts, tokenize, unicode_story
from readalong.testing.question import ChatRequest, chat_request_of, text_of

LENGTH_TOKENS = 40
"""Where `demo-length` is cut when the request sets no limit."""

_PARAGRAPH = ("\n\n",)


@dataclass(frozen=True, slots=True)
class Choice:
    """One of the answer's choices, as pieces in the order in which they are sent."""

    index: int
    reasoning: tuple[str, ...]
    refusal: tuple[str, ...]
    tokens: tuple[str, ...]
    endless: bool
    """The tokens come round again and again, with an empty line between, `most` in all."""
    calls: tuple[Call, ...]
    function_call: Call | None
    finish_reason: str
    most: int = ENDLESS_TOKENS

    def content(self) -> Iterator[str]:
        """The tokens of the text."""
        if self.endless:
            return islice(chain.from_iterable(cycle((self.tokens, _PARAGRAPH))), self.most)
        return iter(self.tokens)


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer: its choices and what the prompt counts for."""

    choices: tuple[Choice, ...]
    prompt_tokens: int

    def weight(self, numbered: bool) -> int:
        """Bytes that it holds while it is being given, about: of tokens that are not `numbered` only references."""
        calls = [call for choice in self.choices for call in (*choice.calls, choice.function_call) if call]
        tokens = sum(len(choice.tokens) + len(choice.reasoning) + len(choice.refusal) for choice in self.choices)
        return 4096 + tokens * (200 if numbered else 8) + sum(len(call.fragments) * 64 for call in calls)


def reply_to(question: ChatRequest) -> Reply:
    """The answer to a question; the same question gives the same answer."""
    seed = question.seed
    return Reply(
        tuple(_choice(question, index, seed + index) for index in range(question.n)),
        _prompt_tokens(question),
    )


def _prompt_tokens(question: ChatRequest) -> int:
    tokens, left = 0, COUNTED_TEXT
    for message in question.messages:
        text = text_of(message.get("content"))
        tokens += 3 + count_tokens(text[:left]) + max(len(text) - left, 0) // 6
        left = max(left - len(text), 0)
    return tokens


def tokens_for(body: object, choice: int = 0, model: str | None = None) -> tuple[str, ...]:
    """The tokens of the text that the model gives for a request body; of an endless one, its first round.

    `model` stands for Azure's deployment. Raises ApiError(400) when the model would refuse the body.
    """
    return reply_to(chat_request_of(body, model)).choices[choice].tokens


def text_for(body: object, choice: int = 0, model: str | None = None) -> str:
    """`tokens_for`, joined."""
    return "".join(tokens_for(body, choice, model))


def _choice(question: ChatRequest, index: int, seed: int) -> Choice:
    manner, asked = question.manner, question.text
    calls = calls_for(question, seed)
    function_call = None if calls else function_call_for(question, seed)
    if calls or function_call:
        reason = "tool_calls" if calls else "function_call"
        return Choice(index, (), (), (), False, calls, function_call, reason)
    if manner.has(Behaviour.REFUSAL):
        return Choice(index, (), tokenize(refusal(asked)), (), False, (), None, "stop")
    written = _written(asked, seed, manner.has(Behaviour.UNICODE))
    tokens, endless, reason = _bounded(question, written)
    reasoning = tokenize(thoughts(asked, seed)) if manner.has(Behaviour.REASONING) else ()
    if manner.has(Behaviour.NUMBERED):
        tokens, reasoning = _numbered(question, tokens), _numbered(question, reasoning)
    return Choice(index, reasoning, (), tokens, endless, (), None, reason, ENDLESS_TOKENS // question.n)


@lru_cache(maxsize=256)
def _written(asked: str, seed: int, odd: bool) -> tuple[str, ...]:
    return tokenize(unicode_story(asked, seed) if odd else story(asked, seed))


def _bounded(question: ChatRequest, tokens: tuple[str, ...]) -> tuple[tuple[str, ...], bool, str]:
    """The tokens to send, whether they repeat for ever, and the finish reason."""
    manner = question.manner
    rounds = chain.from_iterable(cycle((tokens, _PARAGRAPH)))
    endless = manner.has(Behaviour.ENDLESS) and manner.tokens is None
    limit = question.max_tokens
    if manner.has(Behaviour.LENGTH) and limit is None:
        limit = LENGTH_TOKENS
    if manner.tokens is not None:
        tokens = tuple(islice(rounds, manner.tokens))
    elif endless and limit is not None:
        tokens, endless = tuple(islice(rounds, min(limit + 1, MAX_TOKENS // question.n))), False
    stopped = _before_stop(tokens if not endless else (*tokens, *_PARAGRAPH, *tokens), question.stop)
    if stopped is not None:
        tokens, endless = stopped, False
    if limit is not None and len(tokens) > limit:
        return tokens[:limit], False, "length"
    return tokens, endless, "length" if endless or manner.has(Behaviour.LENGTH) else "stop"


def _numbered(question: ChatRequest, tokens: tuple[str, ...]) -> tuple[str, ...]:
    """The tokens, each with the key, the call and its own number before it: no two calls say the same."""
    return tuple(f"<{question.manner.key}.{question.call}.{place}>{token}" for place, token in enumerate(tokens, 1))


def _before_stop(tokens: tuple[str, ...], stops: tuple[str, ...]) -> tuple[str, ...] | None:
    """The tokens before the first stop sequence, the last one cut short if need be; None if none occurs."""
    text = "".join(tokens)
    found = [place for place in (text.find(stop) for stop in stops) if place >= 0]
    if not found:
        return None
    kept, left = [], min(found)
    for token in tokens:
        if left <= 0:
            break
        kept.append(token[:left])
        left -= len(token)
    return tuple(kept)
