"""One job as its clients want it, drawn by lot: the request, who watches it and how, who cancels or erases it, when."""

from __future__ import annotations

from dataclasses import dataclass
from random import Random
from typing import Any, Final, Literal

#: How often an answer is of this kind; what goes wrong with it, if anything, is part of the model's name.
_MANNERS: Final = {
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
#: How a hostile model answers (tests/chaos/rogue.py).
_HOSTILE: Final = (
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
    """The position with which it comes."""
    drops: tuple[int, ...]
    """It drops its connection after so many events of it, and comes back; as often as there are numbers."""
    leaves: int | None
    """It goes for good after so many events in all; None: it stays to the end."""
    dawdle: float
    """Seconds that it takes over each of its first events."""


@dataclass(frozen=True)
class Cancel:
    """Who cancels, when and how."""

    wait: float
    """Seconds after the job was accepted."""
    via: Literal["api", "redis"]
    times: int
    """Calls at once."""


@dataclass(frozen=True)
class Wish:
    """A job to be: `body` is what is submitted, with Idempotency-Key `key`, `at_once` times at once."""

    tag: str
    key: str
    body: dict[str, Any]
    terms: dict[str, Any]
    """What of the body says how the job is to be treated."""
    chat: bool
    """It is submitted by `POST /chat/stream`, and its first readers begin with the answer to that."""
    at_once: int
    readings: tuple[Reading, ...]
    cancels: tuple[Cancel, ...]
    erase: float | None
    """Somebody erases it so many seconds after it was accepted."""


def wish_of(dice: Random, tag: str) -> Wish:
    """The wish of this tag. The same dice make the same wish."""
    manner = dice.choices(list(_MANNERS), list(_MANNERS.values()))[0]
    bulky = dice.random() < 0.02
    demo: dict[str, Any] = {
        "key": tag,
        "tokens": dice.randint(1500, 4000) if bulky else dice.randint(0, 120),
        "tokens_per_second": dice.choice((0, 1500)) if bulky else dice.choice((0, 20, 20, 40, 80)),
        "first_token_seconds": dice.choice((0, 0, 0.1, 0.5, 1.5)),
        "after": dice.randint(0, 40),
    }
    if "slow-first-token" in manner:
        del demo["first_token_seconds"]
    if "endless" in manner:
        del demo["tokens"]
        demo["tokens_per_second"] = dice.choice((10, 40))
    if "429" in manner or "500" in manner:
        demo["retry_after"] = dice.choice((0, 0.2, 1))
    if dice.random() < 0.7:
        demo["times"] = dice.randint(1, 2)
    body: dict[str, Any] = {
        "model": f"demo-{manner}",
        "messages": [{"role": "user", "content": f"{tag}: what becomes of this job?"}],
        "metadata": {"tag": tag},
        "demo": demo,
    }
    if "choices" in manner:
        body["n"] = 2  # of a model that was asked for one all is one text
    terms = _terms(dice)
    body |= terms
    if manner == "tools":
        body["tools"] = [_TOOL]
    erase = dice.choice((0.0, dice.uniform(0, 2), dice.uniform(0, 10))) if dice.random() < 0.08 else None
    return Wish(
        tag=tag,
        key=f"{tag}-{dice.getrandbits(32):08x}",
        body=body,
        terms=terms,
        chat=dice.random() < 0.2,
        at_once=2 if dice.random() < 0.1 else 1,
        readings=tuple(_reading(dice) for _ in range(dice.choice((1, 2, 3, 3, 4, 6)))),
        cancels=tuple(_cancel(dice, by_hand=erase is None) for _ in range(dice.choice((0, 0, 0, 0, 1, 1, 2))))
        if dice.random() < 0.6
        else (),
        erase=erase,
    )


def hostile_wish_of(dice: Random, tag: str) -> Wish:
    """Of a job of a hostile model. Its answer may be large, so few watch it."""
    kind = dice.choice(_HOSTILE)
    body: dict[str, Any] = {
        "model": f"hostile-{kind}",
        "messages": [{"role": "user", "content": f"{tag}: what becomes of this job?"}],
        "metadata": {"tag": tag},
        "demo": {"key": tag, "after": dice.choice((0, 1, 12))},
    }
    if kind == "choices":
        body["n"] = 2  # of a model that was asked for one all is one text
    return Wish(
        tag=tag,
        key=f"{tag}-{dice.getrandbits(32):08x}",
        body=body,
        terms={},
        chat=dice.random() < 0.2,
        at_once=1,
        readings=tuple(_reading(dice) for _ in range(dice.choice((1, 1, 2)))),
        cancels=(),
        erase=None,
    )


def _terms(dice: Random) -> dict[str, Any]:
    terms: dict[str, Any] = {}
    if dice.random() < 0.2:
        terms["on_worker_lost"] = dice.choice(("retry", "fail", "fail"))
    if dice.random() < 0.1:
        terms["deadline"] = dice.randint(2, 20)
    if dice.random() < 0.2:
        terms["cancel_on_disconnect"] = dice.random() < 0.7
    return terms


def _reading(dice: Random) -> Reading:
    return Reading(
        join=dice.choice((0.0, 0.0, dice.uniform(0, 2), dice.uniform(0, 6))),
        after=dice.choice((0, 0, 0, 0, 1, dice.randint(2, 60))),
        drops=tuple(dice.randint(0, 25) for _ in range(dice.choice((0, 0, 1, 2, 4)))),
        leaves=dice.randint(0, 40) if dice.random() < 0.15 else None,
        dawdle=dice.uniform(0.02, 0.2) if dice.random() < 0.1 else 0.0,
    )


def _cancel(dice: Random, *, by_hand: bool) -> Cancel:
    """`by_hand`: perhaps so. The flag of an erased job, set by hand, would stay for ever."""
    via: Literal["api", "redis"] = "redis" if dice.random() < 0.3 and by_hand else "api"
    return Cancel(
        wait=dice.choice((0.0, dice.uniform(0, 1), dice.uniform(0, 6))), via=via, times=dice.choice((1, 1, 2))
    )
