"""The Lua scripts of `lua/`, one file each, called by name."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from hashlib import sha1
from importlib.resources import files
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from readalong.connection import as_ours
from readalong.pipe import Pipe

#: Scripts of a job's log; they share lua/lib.lua and take the job's four keys, compact one more.
LOG_SCRIPTS: Final = (
    "submit",
    "claim",
    "restore",
    "append",
    "finish",
    "cancel",
    "handover",
    "expire",
    "compact",
    "erase",
)
#: Those of the queue that share lua/leases.lua.
LEASE_SCRIPTS: Final = ("take", "seize", "renew", "release", "reap", "waiting")
QUEUE_SCRIPTS: Final = (
    "room",
    "list",
    "enqueue",
    "take",
    "seize",
    "renew",
    "release",
    "reap",
    "waiting",
    "attend",
    "depart",
    "orphans",
    "unlist",
    "untie",
    "close",
    "standings",
    "keep",
    "pulse",
)

Argument = str | bytes | int


def _load() -> dict[str, tuple[str, str]]:
    folder = files("readalong") / "lua"
    clock = (folder / "clock.lua").read_text()
    shared = dict.fromkeys(LOG_SCRIPTS, (folder / "lib.lua").read_text())
    shared |= dict.fromkeys(LEASE_SCRIPTS, (folder / "leases.lua").read_text())
    loaded = {}
    for name in (*LOG_SCRIPTS, *QUEUE_SCRIPTS):
        text = clock + shared.get(name, "") + (folder / f"{name}.lua").read_text()
        loaded[name] = (text, sha1(text.encode(), usedforsecurity=False).hexdigest())
    return loaded


_SCRIPTS: Final = _load()


def digest_of(name: str) -> str:
    """What EVALSHA calls a script by."""
    return _SCRIPTS[name][1]


class Scripts:
    """Calls scripts by their digest, and by their text when Redis has forgotten them (restart, SCRIPT FLUSH)."""

    def __init__(self, redis: Redis | Pipe) -> None:
        self._call: Callable[..., Awaitable[Any]] = redis.execute_command

    async def __call__(self, name: str, keys: Sequence[str], *args: Argument) -> Any:
        """The script's answer. Raises StoreUnavailable when Redis is away."""
        text, digest = _SCRIPTS[name]
        try:
            try:
                return await self._call("EVALSHA", digest, len(keys), *keys, *args)
            except NoScriptError:
                return await self._call("EVAL", text, len(keys), *keys, *args)
        except (RedisError, OSError) as error:  # not by `translated`, which costs as much as the rest
            if (ours := as_ours(error)) is None:
                raise
            raise ours from error
