"""The Lua scripts of `lua/`, one file each, called by name; and what happens when a key that all share is broken."""

from __future__ import annotations

import logging
import re
from collections.abc import Awaitable, Callable, Iterable, Sequence
from hashlib import sha1
from importlib.resources import files
from typing import Any, Final

from redis.asyncio import Redis
from redis.exceptions import NoScriptError, RedisError

from readalong.core.keys import Keys
from readalong.core.settings import Settings
from readalong.redis.client import as_ours, is_wrong_type
from readalong.redis.multiplexed import MultiplexedConnection
from readalong.redis.protocol import pack

logger = logging.getLogger(__name__)

Argument = str | bytes | int


#: The line of a script that names the files of `lua/parts/` which it needs, in this order.
_NEEDS: Final = re.compile(r"^-- Needs (.+)\.$", re.MULTILINE)


def _load() -> dict[str, tuple[str, str]]:
    """Each script's text, its parts in front, and its digest, by name."""
    folder = files("readalong.redis") / "lua"
    loaded = {}
    for file in folder.iterdir():
        if not file.name.endswith(".lua"):
            continue
        text = file.read_text("utf-8")
        needs = _NEEDS.search(text)
        parts = needs[1].split(", ") if needs else []
        whole = "".join((folder / "parts" / f"{part}.lua").read_text("utf-8") for part in parts) + text
        loaded[file.name.removesuffix(".lua")] = whole, sha1(whole.encode(), usedforsecurity=False).hexdigest()
    return loaded


_SCRIPTS: Final = _load()
#: Commands that load all of them.
_LOADS: Final = tuple(pack(("SCRIPT", "LOAD", text)) for text, _ in _SCRIPTS.values())


#: Times that a call is made whose key was of a wrong type and is moved aside.
_TRIES: Final = 3


def digest_of(name: str) -> str:
    """What EVALSHA calls a script by."""
    return _SCRIPTS[name][1]


def connect_with_scripts(redis: Redis, settings: Settings) -> MultiplexedConnection:
    """A Pipe that loads all scripts whenever it connects: only a FLUSH or a restart makes Redis forget one."""
    return MultiplexedConnection(redis, settings.redis_timeout, first=_LOADS)


class Scripts:
    """Calls scripts by their digest, and by their text when Redis has forgotten them (restart, SCRIPT FLUSH).

    A call that is awaited has been carried out, or has failed, before the next one leaves; two that are not awaited one
    after the other may overtake each other: one that Redis has forgotten goes twice.
    """

    def __init__(self, redis: Redis | MultiplexedConnection, keys: Keys) -> None:
        self._call: Callable[..., Awaitable[Any]] = redis.execute_command
        self._keys = keys

    async def __call__(self, name: str, keys: Sequence[str], *args: Argument) -> Any:
        """The script's answer. Raises StoreUnavailable when Redis is away; ResponseError."""
        text, digest = _SCRIPTS[name]

        async def call() -> Any:
            try:
                return await self._call("EVALSHA", digest, len(keys), *keys, *args)
            except NoScriptError:
                return await self._call("EVAL", text, len(keys), *keys, *args)

        return await self._made(call, keys)

    async def ask(self, *command: Argument) -> Any:
        """A command's plain answer; its first argument is the key. Raises as a script's call does."""
        return await self._made(lambda: self._call(*command), [str(command[1])])

    async def _made(self, call: Callable[[], Awaitable[Any]], names: Sequence[str]) -> Any:
        tries = _TRIES
        while True:
            try:
                return await call()
            except (RedisError, OSError) as error:  # not by `translated`, which costs as much as the rest
                if (ours := as_ours(error)) is not None:
                    raise ours from error
                tries -= 1
                if not tries or not is_wrong_type(error):
                    raise
                # Another process may have done so already.
                await self.set_aside(names)

    async def set_aside(self, names: Iterable[str]) -> None:
        """Moves away what stands in a shared key and is of a wrong type: else no job would run until that is mended.
        `names`: keys of a call that failed by it."""
        wanted = {name: kind for name in (*names, *self._keys.shared) if (kind := self._keys.type_of(name))}
        text, _ = _SCRIPTS["set_aside"]
        flat = [part for name, kind in wanted.items() for part in (kind, self._keys.aside(name))]
        try:
            moved = await self._call("EVAL", text, len(wanted), *wanted, *flat)
        except (RedisError, OSError) as trouble:
            if (ours := as_ours(trouble)) is not None:
                raise ours from trouble
            raise
        for name, kind in zip(moved[::2], moved[1::2], strict=True):
            logger.error(
                "key %r held a %s, which readalong did not write; it is %r now",
                _text(name),
                _text(kind),
                self._aside(name),
            )

    def _aside(self, name: bytes) -> str:
        return self._keys.aside(_text(name))


def _text(value: bytes) -> str:
    return value.decode(errors="replace")
