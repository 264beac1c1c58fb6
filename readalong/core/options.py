"""The options of a job: those of its request, with the settings as defaults."""

from __future__ import annotations

from typing import Final, Literal, NamedTuple

from readalong.core.settings import Settings

#: Seconds that a job may wish to go on without a watcher, at most.
LONGEST_GRACE: Final = 86_400

#: Fields of a request that are ours: no model gets them.
OPTION_FIELDS: Final = frozenset({"on_worker_lost", "deadline", "cancel_on_disconnect"})
#: Likewise, of the job's turn in a thread.
TURN_FIELDS: Final = frozenset({"thread", "thread_policy"})

OnLost = Literal["retry", "fail"]


class JobOptions(NamedTuple):
    """`deadline`: seconds from submit; 0: none. `cancel_on_disconnect`: when its last watcher is gone, for `grace`
    seconds; None: as the settings say."""

    on_worker_lost: OnLost = "retry"
    deadline: float = 0.0
    cancel_on_disconnect: bool = False
    grace: float | None = None

    @property
    def grace_ms(self) -> int | None:
        return None if self.grace is None else int(self.grace * 1000)

    def fields(self) -> dict[str, str | int]:
        """As the job's hash holds them, the grace in milliseconds; but the deadline, which is counted from the job's
        creation."""
        found: dict[str, str | int] = {
            "on_worker_lost": self.on_worker_lost,
            "cancel_on_disconnect": int(self.cancel_on_disconnect),
        }
        if self.grace_ms is not None:
            found["disconnect_grace"] = self.grace_ms
        return found


def resolve(
    settings: Settings,
    *,
    chat: bool,
    on_worker_lost: OnLost | None,
    deadline: float | None,
    cancel_on_disconnect: bool | float | None,
) -> JobOptions:
    """Returns the options of a job. None: the request does not set the option. `chat`: the job came by `/chat/stream`.
    A number for `cancel_on_disconnect` is the job's own grace, in seconds."""
    grace = None
    if cancel_on_disconnect is not None and not isinstance(cancel_on_disconnect, bool):
        grace, cancel_on_disconnect = float(cancel_on_disconnect), True
    by_default = settings.cancel_on_disconnect == "always" or (chat and settings.cancel_on_disconnect == "chat")
    return JobOptions(
        settings.on_worker_lost if on_worker_lost is None else on_worker_lost,
        settings.job_deadline if deadline is None else deadline,
        by_default if cancel_on_disconnect is None else cancel_on_disconnect,
        grace,
    )
