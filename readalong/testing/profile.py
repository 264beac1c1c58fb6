"""The profile of one answer: its pace, its length and its behaviours, from the model's name and `demo`."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from readalong.testing.behaviours import FAILURES, Behaviour
from readalong.testing.errors import bad_request
from readalong.testing.limits import MAX_BEHAVIOURS, MAX_KEY, MAX_PAUSE_SECONDS, MAX_RATE, MAX_TOKENS, MIN_RATE

TOKENS_PER_SECOND = 65.0
FIRST_TOKEN_SECONDS = 0.2
SLOW_FIRST_TOKEN_SECONDS = 3.0
FAULT_AFTER_TOKENS = 12
RETRY_AFTER_SECONDS = 1.0

_NAMED_OPTION = re.compile(
    r"(tokens|tokens_per_second|first_token_seconds|after|times|retry_after)=([0-9]{1,9}(?:\.[0-9]{1,9})?)"
)
"""An option as a part of a model's name."""


@dataclass(frozen=True, slots=True)
class Profile:
    """The pace, the length and the behaviours of one answer."""

    behaviours: frozenset[Behaviour]
    tokens_per_second: float
    """0: no pauses."""
    first_token_seconds: float
    """From the response's headers to the first chunk."""
    tokens: int | None
    """Exact length of the text; None: the natural length."""
    after: int
    """Tokens before a fault in mid-stream."""
    times: int | None
    """The number of requests with the same key that fail before one succeeds; None: all fail."""
    key: str
    """The client's tag, for `times`, `numbered` and the journal."""
    retry_after: float
    """Seconds, for the header Retry-After of a 429."""

    def has(self, behaviour: Behaviour) -> bool:
        return behaviour in self.behaviours

    def for_call(self, call: int) -> "Profile":
        """Returns the profile of the key's request number `call`, from 1 on. After `times` requests none fails."""
        if self.times is None or call <= self.times:
            return self
        return replace(self, behaviours=self.behaviours - FAILURES)


def parse_profile(model: str, options: object) -> Profile:
    """Returns the profile that a model's name and the request's `demo` object ask for; None means no object.

    `demo-cut` has one behaviour, `demo-fast+unicode` has two. Behaviours named in `demo` are added. `demo-tokens=9` has
    an option, over which the same one in `demo` goes. Any other name is a well-behaved model. Raises ApiError(400) on
    an invalid option.
    """
    if options is None:
        options = {}
    if not isinstance(options, Mapping):
        raise bad_request("'demo' must be an object.", "demo")
    options = {**_options_from_name(model), **options}
    behaviours = _from_name(model) | _from_field(options.get("behaviour"))
    fast = Behaviour.FAST in behaviours
    rate = _number(options, "tokens_per_second", 0.0 if fast else TOKENS_PER_SECOND, MAX_RATE)
    if 0 < rate < MIN_RATE:
        raise bad_request(f"'demo.tokens_per_second' must be 0, or {MIN_RATE:g} or more.", "demo.tokens_per_second")
    pause = FIRST_TOKEN_SECONDS if rate else 0.0
    if Behaviour.SLOW_FIRST_TOKEN in behaviours:
        pause = SLOW_FIRST_TOKEN_SECONDS
    first = _number(options, "first_token_seconds", pause, MAX_PAUSE_SECONDS)
    retry_after = _number(options, "retry_after", RETRY_AFTER_SECONDS, MAX_PAUSE_SECONDS)
    after = _count(options, "after")
    return Profile(
        behaviours=behaviours,
        tokens_per_second=rate,
        first_token_seconds=first,
        tokens=_count(options, "tokens", MAX_TOKENS),
        after=FAULT_AFTER_TOKENS if after is None else after,
        times=_count(options, "times"),
        key=_key(options.get("key", "")),
        retry_after=retry_after,
    )


def _from_name(model: str) -> frozenset[Behaviour]:
    if not model.startswith("demo-"):
        return frozenset()
    known = {behaviour.value for behaviour in Behaviour}
    return frozenset(Behaviour(part) for part in model.removeprefix("demo-").split("+") if part in known)


def _options_from_name(model: str) -> dict[str, float]:
    if not model.startswith("demo-"):
        return {}
    found = [_NAMED_OPTION.fullmatch(part) for part in model.removeprefix("demo-").split("+")]
    return {match[1]: float(match[2]) if "." in match[2] else int(match[2]) for match in found if match}


def _from_field(value: object) -> frozenset[Behaviour]:
    if value is None:
        return frozenset()
    names = value if isinstance(value, list) else [value]
    if len(names) > MAX_BEHAVIOURS:
        raise bad_request(f"'demo.behaviour' may name {MAX_BEHAVIOURS} behaviours.", "demo.behaviour")
    try:
        return frozenset(Behaviour(str(name)) for name in names)
    except ValueError as error:
        known = ", ".join(Behaviour)
        raise bad_request(f"Unknown behaviour {repr(value)[:200]}; known are: {known}.", "demo.behaviour") from error


def _key(value: object) -> str:
    key = str(value) if isinstance(value, str | int | float) else ""
    if len(key) > MAX_KEY or not isinstance(value, str | int | float):
        raise bad_request(f"'demo.key' must be text of up to {MAX_KEY} characters.", "demo.key")
    return key


def _number(options: Mapping[str, Any], name: str, default: float, maximum: float) -> float:
    value = options.get(name)
    if value is None:
        return default
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= maximum:
        raise bad_request(f"'demo.{name}' must be a number from 0 to {maximum:g}.", f"demo.{name}")
    return float(value)


def _count(options: Mapping[str, Any], name: str, maximum: int | None = None) -> int | None:
    value = options.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int) or value < 0:
        raise bad_request(f"'demo.{name}' must be a whole number, 0 or more.", f"demo.{name}")
    if maximum is not None and value > maximum:
        raise bad_request(f"'demo.{name}' must be {maximum} at most.", f"demo.{name}")
    return value
