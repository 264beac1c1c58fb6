"""What a scenario is: what the server plays, what the client does, and what it must see."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Final, Literal

if TYPE_CHECKING:
    from tests.clients.conformance.server import Exchange

JOB: Final = "0123456789abcdefghijkl"

Act = Callable[["Exchange"], Awaitable[None]]
Do = Literal["watch", "stream", "submit", "cancel", "job", "jobs", "erase", "closed"]


@dataclass(frozen=True, kw_only=True)
class Scenario:
    """One claim. `acts`: by call (`GET /v1/jobs/JOB/events`), what the server does for each request, in order.

    The other fields are the manifest's, which /clients/conformance.md explains.
    """

    number: int
    title: str
    acts: Mapping[str, Sequence[Act]]
    expect: Mapping[str, Any]
    do: Do = "watch"
    replicas: int = 1
    after: str | None = None
    messages: Sequence[Mapping[str, Any]] = ({"role": "user", "content": "Why?"},)
    parameters: Mapping[str, Any] = field(default_factory=dict)
    options: Mapping[str, float] = field(default_factory=dict)
    cancel_after: int | None = None
    leave_after: int | None = None
    keep_running: bool = False
    on_restart: bool = True
    read: Literal["events", "text"] = "events"

    def manifest(self) -> dict[str, Any]:
        """Returns what a runner needs, as JSON has it."""
        return {
            "number": self.number,
            "title": self.title,
            "job": JOB,
            "do": self.do,
            "replicas": self.replicas,
            "after": self.after,
            "messages": list(self.messages),
            "parameters": dict(self.parameters),
            "options": dict(self.options),
            "cancel_after": self.cancel_after,
            "leave_after": self.leave_after,
            "keep_running": self.keep_running,
            "on_restart": self.on_restart,
            "read": self.read,
            "expect": dict(self.expect),
        }
