"""The whole answer to a request, known before its first token is sent."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, cycle, islice

from readalong.testing.behaviours import Behaviour
from readalong.testing.chat_request import ChatRequest, parse_chat_request, text_of
from readalong.testing.limits import COUNTED_TEXT, ENDLESS_TOKENS, MAX_TOKENS
from readalong.testing.text import count_tokens, reasoning, refusal, story, tokenize, unicode_story
from readalong.testing.tool_calls import ToolCall, function_call_for, json_for, tool_calls_for

LENGTH_TOKENS = 40
"""The length of `demo-length` when the request sets no limit."""

_PARAGRAPH = ("\n\n",)


@dataclass(frozen=True, slots=True)
class Choice:
    """One choice of the answer, as pieces in the order of sending."""

    index: int
    reasoning: tuple[str, ...]
    refusal: tuple[str, ...]
    tokens: tuple[str, ...]
    endless: bool
    """The tokens are repeated, with an empty line between, up to `max_tokens`."""
    calls: tuple[ToolCall, ...]
    function_call: ToolCall | None
    finish_reason: str
    max_tokens: int = ENDLESS_TOKENS

    def content(self) -> Iterator[str]:
        """Returns the tokens of the text."""
        if self.endless:
            return islice(chain.from_iterable(cycle((self.tokens, _PARAGRAPH))), self.max_tokens)
        return iter(self.tokens)


@dataclass(frozen=True, slots=True)
class Reply:
    """The answer: its choices and the prompt's number of tokens."""

    choices: tuple[Choice, ...]
    prompt_tokens: int

    def weight(self, numbered: bool) -> int:
        """Returns about how many bytes an open answer holds. Tokens that are not `numbered` are shared."""
        calls = [call for choice in self.choices for call in (*choice.calls, choice.function_call) if call]
        tokens = sum(len(choice.tokens) + len(choice.reasoning) + len(choice.refusal) for choice in self.choices)
        return 4096 + tokens * (200 if numbered else 8) + sum(len(call.fragments) * 64 for call in calls)


def build_reply(request: ChatRequest) -> Reply:
    """Returns the answer to a request. The same request gets the same answer."""
    seed = request.seed
    return Reply(
        tuple(_choice(request, index, seed + index) for index in range(request.n)),
        _prompt_tokens(request),
    )


def _prompt_tokens(request: ChatRequest) -> int:
    tokens, left = 0, COUNTED_TEXT
    for message in request.messages:
        text = text_of(message.get("content"))
        tokens += 3 + count_tokens(text[:left]) + max(len(text) - left, 0) // 6
        left = max(left - len(text), 0)
    return tokens


def tokens_for(body: object, choice: int = 0, model: str | None = None) -> tuple[str, ...]:
    """Returns the tokens of the answer's text; of an endless answer, those of its first round.

    `model` stands for Azure's deployment. Raises ApiError(400) for a body that the model refuses.
    """
    return build_reply(parse_chat_request(body, model)).choices[choice].tokens


def text_for(body: object, choice: int = 0, model: str | None = None) -> str:
    """Returns the tokens of `tokens_for` as one text."""
    return "".join(tokens_for(body, choice, model))


def _choice(request: ChatRequest, index: int, seed: int) -> Choice:
    profile, question = request.profile, request.text
    calls = tool_calls_for(request, seed)
    function_call = None if calls else function_call_for(request, seed)
    if calls or function_call:
        reason = "tool_calls" if calls else "function_call"
        return Choice(index, (), (), (), False, calls, function_call, reason)
    if profile.has(Behaviour.REFUSAL):
        return Choice(index, (), tokenize(refusal(question)), (), False, (), None, "stop")
    if request.schema is None:
        text = _story_tokens(question, seed, profile.has(Behaviour.UNICODE))
    else:
        text = json_for(request, seed)
    tokens, endless, reason = _limited(request, text)
    thoughts = tokenize(reasoning(question, seed)) if profile.has(Behaviour.REASONING) else ()
    if profile.has(Behaviour.NUMBERED):
        tokens, thoughts = _numbered(request, tokens), _numbered(request, thoughts)
    return Choice(index, thoughts, (), tokens, endless, (), None, reason, ENDLESS_TOKENS // request.n)


@lru_cache(maxsize=256)
def _story_tokens(question: str, seed: int, odd: bool) -> tuple[str, ...]:
    return tokenize(unicode_story(question, seed) if odd else story(question, seed))


def _limited(request: ChatRequest, tokens: tuple[str, ...]) -> tuple[tuple[str, ...], bool, str]:
    """Returns the tokens to send, whether they are repeated, and the finish reason."""
    profile = request.profile
    rounds = chain.from_iterable(cycle((tokens, _PARAGRAPH)))
    endless = profile.has(Behaviour.ENDLESS) and profile.tokens is None
    limit = request.max_tokens
    if profile.has(Behaviour.LENGTH) and limit is None:
        limit = LENGTH_TOKENS
    if profile.tokens is not None:
        tokens = tuple(islice(rounds, profile.tokens))
    elif endless and limit is not None:
        tokens, endless = tuple(islice(rounds, min(limit + 1, MAX_TOKENS // request.n))), False
    stopped = _before_stop(tokens if not endless else (*tokens, *_PARAGRAPH, *tokens), request.stop)
    if stopped is not None:
        tokens, endless = stopped, False
    if limit is not None and len(tokens) > limit:
        return tokens[:limit], False, "length"
    return tokens, endless, "length" if endless or profile.has(Behaviour.LENGTH) else "stop"


def _numbered(request: ChatRequest, tokens: tuple[str, ...]) -> tuple[str, ...]:
    """Returns the tokens, each with the key, the call and its number before it: no two calls have the same text."""
    return tuple(f"<{request.profile.key}.{request.call}.{number}>{token}" for number, token in enumerate(tokens, 1))


def _before_stop(tokens: tuple[str, ...], stops: tuple[str, ...]) -> tuple[str, ...] | None:
    """Returns the tokens before the first stop sequence, the last one cut short if needed. None: no stop sequence."""
    text = "".join(tokens)
    found = [index for index in (text.find(stop) for stop in stops) if index >= 0]
    if not found:
        return None
    kept, left = [], min(found)
    for token in tokens:
        if left <= 0:
            break
        kept.append(token[:left])
        left -= len(token)
    return tuple(kept)
