"""One timer for all paced streams."""

import asyncio
from collections.abc import Callable

SLOT_SECONDS = 0.005


class TimerWheel:
    """Rounds due times up to slots of 5 ms: streams that are due together share one wake-up.

    A wake-up costs more CPU than a token does. A timer for each stream would pay for one with each token.
    """

    def __init__(self) -> None:
        self._slots: dict[int, list[Callable[[], None]]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._next = 0

    def call_at(self, due: float, callback: Callable[[], None]) -> None:
        """Calls once when the loop's clock has reached `due`, at most a slot later. `callback` must not raise."""
        slot = int(due / SLOT_SECONDS) + 1
        callbacks = self._slots.get(slot)
        if callbacks is not None:
            callbacks.append(callback)
            return
        self._slots[slot] = [callback]
        if self._timer is None or slot < self._next:
            self._arm(slot)

    def _arm(self, slot: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next = slot
        self._timer = asyncio.get_running_loop().call_at(slot * SLOT_SECONDS, self._turn)

    def _turn(self) -> None:
        # 0 keeps callbacks that are added during this turn from arming the timer; the last line does that.
        self._next = 0
        # uvloop counts whole milliseconds and may wake up a fraction of a slot early.
        reached = int(asyncio.get_running_loop().time() / SLOT_SECONDS + 0.5)
        for slot in sorted(slot for slot in self._slots if slot <= reached):
            for callback in self._slots.pop(slot):
                callback()
        self._timer = None
        if self._slots:
            self._arm(min(self._slots))
