"""The one way from stores, routes and workers to Redis."""

from __future__ import annotations

import logging
from collections.abc import Awaitable, Callable, Iterable, Sequence
from typing import Any, Final

from arq.connections import ArqRedis
from redis.exceptions import NoScriptError, RedisError, ResponseError

from readalong.core.errors import StoreRefused, StoreUnavailable
from readalong.core.settings import Settings
from readalong.redis.client import as_ours, connect, is_broken_key, is_wrong_type
from readalong.redis.multiplexed import MultiplexedConnection
from readalong.redis.pubsub import PubSubConnection, on_nothing
from readalong.redis.scripts import LOADS, SCRIPTS

logger = logging.getLogger(__name__)

Argument = str | bytes | int
#: A command and its arguments.
Command = tuple[Argument, ...]

#: Times that a call is made whose key was of a wrong type and is moved aside.
_TRIES: Final = 3


class RedisFacade:
    """Calls scripts, runs commands and subscribes to channels on one Redis.

    Atomic: a script, and a single command. Other clients' commands may run between those of a pipeline.
    Ordered: a call that is awaited has been carried out, or has failed, before the next one leaves. Two calls that are
    not awaited one after the other may overtake each other: a script that Redis has forgotten is sent twice.
    Repeatable: a call whose reply is lost is made three times in all. All scripts and commands of ours may be repeated.
    Raises StoreUnavailable while Redis is away, loading, full or read-only, and StoreRefused for any other refusal.
    """

    def __init__(
        self,
        pool: ArqRedis,
        settings: Settings,
        connection: MultiplexedConnection | None = None,
        *,
        owns_pool: bool = True,
    ) -> None:
        """Without a `connection` each call takes a connection of the pool. `close` closes the connection, and the pool
        if the facade owns it."""
        self._pool = pool
        self._owns_pool = owns_pool
        self._settings = settings
        self._keys = settings.keys
        self._connection = connection
        self._pooled: Callable[..., Awaitable[Any]] = pool.execute_command
        self._execute = self._pooled if connection is None else connection.execute_command

    @classmethod
    def connect(cls, settings: Settings, *, max_connections: int = 64) -> RedisFacade:
        """Returns a facade with one connection for all calls, and a pool beside it. Raises BadSettings."""
        return cls.multiplexed(connect(settings, max_connections=max_connections), settings)

    @classmethod
    def multiplexed(cls, pool: ArqRedis, settings: Settings) -> RedisFacade:
        """Returns a facade with one connection for all calls. It loads all scripts whenever it connects, so only a
        FLUSH or a restart makes Redis forget one."""
        return cls(pool, settings, MultiplexedConnection(pool, settings.redis_timeout, first=LOADS))

    def for_blocking(self) -> RedisFacade:
        """Returns a facade with a connection of its own: a call behind a command that blocks would wait as long."""
        connection = MultiplexedConnection(self._pool, 2 * self._settings.redis_timeout)
        return RedisFacade(self._pool, self._settings, connection, owns_pool=False)

    def for_arq(self) -> ArqRedis:
        """Returns the pool of connections that arq's worker takes. `close` closes it."""
        return self._pool

    async def close(self) -> None:
        """Closes the connections. A facade `for_blocking` closes its own connection only."""
        if self._connection is not None:
            await self._connection.close()
        if self._owns_pool:
            await self._pool.aclose()

    async def call(self, script: str, keys: Sequence[str], *args: Argument) -> Any:
        """Returns the script's reply."""
        text, digest = SCRIPTS[script]

        async def evaluate() -> Any:
            try:
                return await self._execute("EVALSHA", digest, len(keys), *keys, *args)
            except NoScriptError:
                return await self._execute("EVAL", text, len(keys), *keys, *args)

        return await self._made(evaluate, keys)

    def send(self, packed: bytes, on_reply: Callable[[Any], None]) -> bool:
        """Sends a packed command without waiting. Returns whether there is a connection to send it on.

        `on_reply` is called once, in no task, with the reply or with the exception in its place. It must not raise.
        """
        return self._connection is not None and self._connection.send(packed, on_reply)

    def subscribe(
        self,
        channels: Iterable[str] = (),
        *,
        on_message: Callable[[bytes, bytes], None],
        on_gap: Callable[[], None] = on_nothing,
        on_change: Callable[[], None] = on_nothing,
        on_refusal: Callable[[Exception], None] | None = None,
        own_channel: str | None = None,
        heartbeat: float | None = None,
        asks_run_id: bool = False,
    ) -> PubSubConnection:
        """Returns a connection for subscriptions to these channels and others. It connects when it is started.

        `heartbeat`: seconds between two, half the Redis time-out unless given. The others: see PubSubConnection.
        """
        timeout = self._settings.redis_timeout
        return PubSubConnection(
            self._pool,
            own_channel,
            channels=channels,
            heartbeat=timeout / 2 if heartbeat is None else heartbeat,
            patience=timeout,
            on_message=on_message,
            on_gap=on_gap,
            on_change=on_change,
            on_refusal=on_refusal,
            asks_run_id=asks_run_id,
        )

    async def command(self, *command: Argument) -> Any:
        """Returns the command's plain reply. The first argument of most commands is their key."""
        return await self._made(lambda: self._execute(*command), [str(command[1])] if len(command) > 1 else [])

    async def pipeline(self, commands: Iterable[Command], *, keep_broken: bool = False) -> list[Any]:
        """Returns the replies of many commands in one round trip, in order.

        `keep_broken`: a StoreRefused stands in the place of a reply that a broken key prevents.
        """
        try:
            async with self._pool.pipeline(transaction=False) as pipe:
                for command in commands:
                    pipe.execute_command(*command)
                replies: list[Any] = await pipe.execute(raise_on_error=False)
        except (RedisError, OSError) as error:
            raise translate(error) from error
        for at, reply in enumerate(replies):
            if isinstance(reply, RedisError):
                ours = translate(reply)
                if not keep_broken or not isinstance(ours, StoreRefused) or not ours.broken_key:
                    raise ours from reply
                replies[at] = ours
        return replies

    async def now(self) -> int:
        """Returns Redis' time in milliseconds since the epoch."""
        seconds, micros = await self.command("TIME")
        return int(seconds) * 1000 + int(micros) // 1000

    async def info(self, *sections: str) -> dict[str, Any]:
        """Returns what Redis says of itself."""
        try:
            found: dict[str, Any] = await self._pooled("INFO", *sections)
        except (RedisError, OSError) as error:
            raise translate(error) from error
        return found

    async def _made(self, call: Callable[[], Awaitable[Any]], names: Sequence[str]) -> Any:
        tries = _TRIES
        while True:
            try:
                return await call()
            except (RedisError, OSError) as error:
                tries -= 1
                if not tries or not is_wrong_type(error):
                    raise translate(error) from error
                # Another process may have done so already.
                await self._set_aside(names)

    async def _set_aside(self, names: Iterable[str]) -> None:
        """Moves away the value of a shared key that is of a wrong type: no job would run until that is mended.
        `names`: keys of a call that failed by it."""
        wanted = {name: kind for name in (*names, *self._keys.shared) if (kind := self._keys.type_of(name))}
        text, _ = SCRIPTS["set_aside"]
        flat = [part for name, kind in wanted.items() for part in (kind, self._keys.aside(name))]
        try:
            moved = await self._execute("EVAL", text, len(wanted), *wanted, *flat)
        except (RedisError, OSError) as error:
            raise translate(error) from error
        for key, kind in zip(moved[::2], moved[1::2], strict=True):
            name = _text(key)
            logger.error(
                "key %r held a %s, which readalong did not write; it is %r now",
                name,
                _text(kind),
                self._keys.aside(name),
            )


def translate(error: RedisError | OSError) -> StoreUnavailable | StoreRefused:
    """Returns the error of ours for an error of redis-py."""
    refused = isinstance(error, ResponseError)
    return as_ours(error) or StoreRefused(str(error), broken_key=refused and is_broken_key(error))


def _text(value: bytes) -> str:
    return value.decode(errors="replace")
