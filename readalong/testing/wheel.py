"""One timer for all paced streams."""

import asyncio
from collections.abc import Callable

SLOT_SECONDS = 0.005


class TimerWheel:
    """Calls back at a time, rounded up to a slot of 5 ms, so that streams due together share one wake-up.

    Waking up costs more CPU than sending a token; a timer for each stream would pay it for each token.
    """

    def __init__(self) -> None:
        self._slots: dict[int, list[Callable[[], None]]] = {}
        self._timer: asyncio.TimerHandle | None = None
        self._next = 0

    def at(self, due: float, call: Callable[[], None]) -> None:
        """Call once when the loop's clock has reached `due`, at most a slot later. `call` must not raise."""
        slot = int(due / SLOT_SECONDS) + 1
        calls = self._slots.get(slot)
        if calls is not None:
            calls.append(call)
            return
        self._slots[slot] = [call]
        if self._timer is None or slot < self._next:
            self._arm(slot)

    def _arm(self, slot: int) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._next = slot
        self._timer = asyncio.get_running_loop().call_at(slot * SLOT_SECONDS, self._turn)

    def _turn(self) -> None:
        # Whatever is added while this runs finds the timer busy, and is looked at when it is armed again below.
        self._next = 0
        # uvloop counts whole milliseconds and may wake up a fraction of a slot early.
        reached = int(asyncio.get_running_loop().time() / SLOT_SECONDS + 0.5)
        for slot in sorted(slot for slot in self._slots if slot <= reached):
            for call in self._slots.pop(slot):
                call()
        self._timer = None
        if self._slots:
            self._arm(min(self._slots))
