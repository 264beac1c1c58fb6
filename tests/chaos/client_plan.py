"""One job's clients, drawn at random: the request, its watchers, its cancels, its erase."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any, Final, Literal

#: Weights of the kinds of answers. The model's name contains its faults, if any.
_PROFILES: Final = {
    "numbered": 40,
    "numbered+unicode": 6,
    "numbered+split+unicode": 2,
    "numbered+crlf": 3,
    "numbered+reasoning": 5,
    "numbered+azure": 3,
    "numbered+usage-none": 3,
    "numbered+choices": 3,
    "numbered+logprobs": 2,
    "numbered+length": 2,
    "refusal": 1,
    "tools": 1,
    "numbered+slow-first-token": 3,
    "numbered+429": 4,
    "numbered+500": 4,
    "numbered+cut": 4,
    "numbered+reset": 3,
    "numbered+close-early": 2,
    "numbered+stall": 4,
    "numbered+error": 2,
    "numbered+malformed": 2,
    "numbered+not-sse": 1,
    "numbered+hang": 2,
    "numbered+endless": 2,
}
#: How a hostile model answers (tests/chaos/hostile_model.py).
_HOSTILE_KINDS: Final = (
    "text",
    "line",
    "comments",
    "arguments",
    "calls",
    "fields",
    "names",
    "choices",
    "deep",
    "gzip",
    "page",
    "refusal",
    "redirect",
    "redirect-loop",
    "redirect-get",
    "silence",
    "dribble",
    "garbage",
)
#: OpenAI's chat completions and Responses, and the AI SDK.
Face = Literal["openai", "responses", "ai_sdk"]
Via = Literal["jobs", "chat", "openai", "responses", "ai_sdk"]
FACES: Final[tuple[Face, ...]] = ("openai", "responses", "ai_sdk")
_TOOL: Final = {
    "type": "function",
    "function": {"name": "look_up", "parameters": {"type": "object", "properties": {"query": {"type": "string"}}}},
}


@dataclass(frozen=True)
class Reading:
    """How one client watches."""

    join: float
    """Seconds after the job was accepted."""
    after: int
    """Its first position."""
    drops: tuple[int, ...]
    """It drops its connection after this many events and reconnects, once for each number."""
    leaves: int | None
    """It leaves after this many events in all; None: it stays to the end."""
    dawdle: float
    """Seconds that it takes for each of its first events."""


@dataclass(frozen=True)
class Cancel:
    """One cancel."""

    wait: float
    """Seconds after the job was accepted."""
    via: Literal["api", "redis"]
    times: int
    """Concurrent calls."""


@dataclass(frozen=True)
class ClientPlan:
    """A planned job: `body` is submitted with Idempotency-Key `key`, `at_once` times at once; by OpenAI's faces once
    and without the key, as their clients do.
    """

    tag: str
    key: str
    body: dict[str, Any]
    terms: dict[str, Any]
    """The job options in the body."""
    via: Via
    """The call that submits it. Its first readers start with the response, if that is a stream."""
    stream: bool
    """Of a face: it asks for a stream."""
    background: bool
    """Of Responses: it asks for a response in the background."""
    at_once: int
    readings: tuple[Reading, ...]
    cancels: tuple[Cancel, ...]
    erase: float | None
    """Seconds from the accept to an erase; None: no erase."""


def draw_plan(rng: Random, tag: str) -> ClientPlan:
    """Returns the plan of this tag. The same random state gives the same plan."""
    via = _via(rng)
    profile = rng.choices(list(_PROFILES), list(_PROFILES.values()))[0]
    if via in ("responses", "ai_sdk"):
        profile = profile.removesuffix("+choices")  # these have one answer
    bulky = rng.random() < 0.02
    demo: dict[str, Any] = {
        "key": tag,
        "tokens": rng.randint(1500, 4000) if bulky else rng.randint(0, 120),
        "tokens_per_second": rng.choice((0, 1500)) if bulky else rng.choice((0, 20, 20, 40, 80)),
        "first_token_seconds": rng.choice((0, 0, 0.1, 0.5, 1.5)),
        "after": rng.randint(0, 40),
    }
    if "slow-first-token" in profile:
        del demo["first_token_seconds"]
    if "endless" in profile:
        del demo["tokens"]
        demo["tokens_per_second"] = rng.choice((10, 40))
    if "429" in profile or "500" in profile:
        demo["retry_after"] = rng.choice((0, 0.2, 1))
    if rng.random() < 0.7:
        demo["times"] = rng.randint(1, 2)
    body: dict[str, Any] = {
        "model": f"demo-{profile}",
        "messages": [{"role": "user", "content": f"{tag}: what becomes of this job?"}],
        "metadata": {"tag": tag},
        "demo": demo,
    }
    if "choices" in profile:
        body["n"] = 2  # models asked for one choice send all as one text
    terms = _terms(rng)
    body |= terms
    if profile == "tools":
        body["tools"] = [_TOOL]
    erase = rng.choice((0.0, rng.uniform(0, 2), rng.uniform(0, 10))) if rng.random() < 0.08 else None
    return ClientPlan(
        tag=tag,
        key=f"{tag}-{rng.getrandbits(32):08x}",
        body=body,
        terms=terms,
        via=via,
        stream=rng.random() < 0.7,
        background=rng.random() < 0.5,
        at_once=2 if rng.random() < 0.1 and via not in FACES else 1,
        readings=tuple(_reading(rng) for _ in range(rng.choice((1, 2, 3, 3, 4, 6)))),
        cancels=tuple(_cancel(rng, by_hand=erase is None) for _ in range(rng.choice((0, 0, 0, 0, 1, 1, 2))))
        if rng.random() < 0.6
        else (),
        erase=erase,
    )


def draw_hostile_plan(rng: Random, tag: str) -> ClientPlan:
    """Returns the plan of a hostile model's job. Its answer may be large, so few clients watch."""
    via = _via(rng)
    kind = rng.choice(_HOSTILE_KINDS)
    if kind == "choices" and via in ("responses", "ai_sdk"):
        kind = "text"  # these have one answer
    body: dict[str, Any] = {
        "model": f"hostile-{kind}",
        "messages": [{"role": "user", "content": f"{tag}: what becomes of this job?"}],
        "metadata": {"tag": tag},
        "demo": {"key": tag, "after": rng.choice((0, 1, 12))},
    }
    if kind == "choices":
        body["n"] = 2  # models asked for one choice send all as one text
    return ClientPlan(
        tag=tag,
        key=f"{tag}-{rng.getrandbits(32):08x}",
        body=body,
        terms={},
        via=via,
        stream=rng.random() < 0.7,
        background=rng.random() < 0.5,
        at_once=1,
        readings=tuple(_reading(rng) for _ in range(rng.choice((1, 1, 2)))),
        cancels=(),
        erase=None,
    )


def _via(rng: Random) -> Via:
    """A third of the jobs come by the faces."""
    if rng.random() < 1 / 3:
        return rng.choice(FACES)
    return "chat" if rng.random() < 0.2 else "jobs"


def _terms(rng: Random) -> dict[str, Any]:
    terms: dict[str, Any] = {}
    if rng.random() < 0.2:
        terms["on_worker_lost"] = rng.choice(("retry", "fail", "fail"))
    if rng.random() < 0.1:
        terms["deadline"] = rng.randint(2, 20)
    if rng.random() < 0.2:
        terms["cancel_on_disconnect"] = rng.random() < 0.7
    return terms


def _reading(rng: Random) -> Reading:
    return Reading(
        join=rng.choice((0.0, 0.0, rng.uniform(0, 2), rng.uniform(0, 6))),
        after=rng.choice((0, 0, 0, 0, 1, rng.randint(2, 60))),
        drops=tuple(rng.randint(0, 25) for _ in range(rng.choice((0, 0, 1, 2, 4)))),
        leaves=rng.randint(0, 40) if rng.random() < 0.15 else None,
        dawdle=rng.uniform(0.02, 0.2) if rng.random() < 0.1 else 0.0,
    )


def _cancel(rng: Random, *, by_hand: bool) -> Cancel:
    """`by_hand`: the cancel may be a flag set in Redis. Set for an erased job, the flag would stay for ever."""
    via: Literal["api", "redis"] = "redis" if rng.random() < 0.3 and by_hand else "api"
    return Cancel(wait=rng.choice((0.0, rng.uniform(0, 1), rng.uniform(0, 6))), via=via, times=rng.choice((1, 1, 2)))
