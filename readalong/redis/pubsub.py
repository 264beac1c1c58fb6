"""A subscription connection that tells when messages may have been lost.

redis-py's own PubSub resubscribes silently after a break and so hides that messages were lost, and it cannot tell a
dead connection from a quiet one. This one reports each break and has a heartbeat.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections import Counter
from collections.abc import Callable, Iterable
from typing import Any, Final, NoReturn

from redis.asyncio import Redis
from redis.asyncio.connection import AbstractConnection
from redis.asyncio.retry import Retry
from redis.backoff import NoBackoff
from redis.exceptions import RedisError

from readalong.core.errors import StoreUnavailable
from readalong.redis.client import as_ours, translated
from readalong.redis.protocol import RedisProtocol, pack

logger = logging.getLogger(__name__)

#: Heartbeats sent and not heard, one after the other, from which on the connection counts as dead. They are counted
#: and not timed: a process that was paused has sent none, and has only not read what came yet.
_MISSED: Final = 3
#: Heartbeats in a row, due and not heard, beyond which the process is deaf: a new connection has had its turn by then.
_DEAF: Final = _MISSED + 2
#: Seconds before the next try to connect: the first pause and the longest. A worker must be back long before others
#: take it for dead.
_PAUSES: Final = (0.05, 0.4)
#: Seconds that the first try may take: a SYN that is lost while Redis restarts is repeated only after one.
_FIRST_TRY: Final = 0.5
#: Seconds that a connection must last for the next one to be tried at once: Redis may drop each as soon as it is made.
_STABLE: Final = 1.0


def on_nothing() -> None:
    """The callback of a caller that needs none."""


class PubSubConnection:
    """One connection for any number of channels. `on_message(channel, data)` is called for each message, in order.

    `on_gap()` is called after a reconnection, when all channels are subscribed again and messages of one that had been
    confirmed may have been lost. `on_change()` is called when all channels are subscribed, the first time too, and when
    the connection breaks. `on_refusal(error)` is called when Redis does not allow a subscription; without it the log
    says so.

    With an `own_channel` each heartbeat is published on it, which proves that what Redis publishes arrives. Without one
    it is a PING on the connection itself.
    """

    def __init__(
        self,
        redis: Redis,
        own_channel: str | None,
        *,
        channels: Iterable[str] = (),
        heartbeat: float,
        patience: float,
        on_message: Callable[[bytes, bytes], None],
        on_gap: Callable[[], None] = on_nothing,
        on_change: Callable[[], None] = on_nothing,
        on_refusal: Callable[[Exception], None] | None = None,
        asks_run_id: bool = False,
    ) -> None:
        """`channels` are subscribed from the start. `heartbeat` is seconds between two. `patience` is seconds that a
        try to connect and a subscribe may take. `asks_run_id`: `run_id` is known."""
        #: When all channels were subscribed, by the loop's clock. None while they are not.
        self.subscribed_at: float | None = None
        self._redis = redis
        self._own = None if own_channel is None else own_channel.encode()
        self._heartbeat = heartbeat
        self._patience = patience
        self._on_message = on_message
        self._on_gap = on_gap
        self._on_change = on_change
        self._on_refusal = self._log_refusal if on_refusal is None else on_refusal
        self._asks_run_id = asks_run_id
        self._run_id = ""
        self._protocol: RedisProtocol | None = None
        self._wanted = {channel.encode() for channel in channels}
        self._confirmed: set[bytes] = set()
        self._waiting: dict[bytes, asyncio.Future[None]] = {}
        #: SUBSCRIBEs sent and not confirmed: after an UNSUBSCRIBE between two of them only the last one counts.
        self._sent: Counter[bytes] = Counter()
        self._unheard = 0
        #: Heartbeats that were due since one was heard, over all connections.
        self._silent = 0
        self._tasks: list[asyncio.Task[Any]] = []
        #: The channels that a new connection begins with and Redis has not confirmed yet.
        self._missing: set[bytes] = set()
        self._is_first = True
        #: A channel was confirmed on a connection that is lost.
        self._missed = False

    def __repr__(self) -> str:
        state = "away" if self._protocol is None else "connected"
        return f"<PubSubConnection {state} wanted={len(self._wanted)} confirmed={len(self._confirmed & self._wanted)}>"

    @property
    def _name(self) -> str:
        """A channel, for the log."""
        name = self._own or next(iter(self._wanted), b"no channel")
        return name.decode(errors="replace")

    @property
    def deaf(self) -> bool:
        """Whether the connection does not hear its own heartbeats. They are counted, not timed: a pause of the process
        makes no deaf connection."""
        return self._silent > _DEAF

    @property
    def run_id(self) -> str | None:
        """The run id of the Redis that holds the subscriptions. "" if Redis does not state it, None while a channel is
        not subscribed."""
        return None if self.subscribed_at is None else self._run_id

    async def run(self) -> NoReturn:
        """Holds the connection until it is cancelled. Raises the exception of a task that ends by a bug."""
        try:
            ended, _ = await asyncio.wait(self.start(), return_when=asyncio.FIRST_COMPLETED)
            raise ended.pop().exception() or RuntimeError("the subscription ended")
        finally:
            await self.close()

    def start(self) -> list[asyncio.Task[Any]]:
        """Returns its tasks, which never end by themselves."""
        self._tasks = [
            asyncio.create_task(self._stay_connected(), name="subscriber"),
            asyncio.create_task(self._beat(), name="subscriber heartbeat"),
        ]
        return self._tasks

    async def close(self) -> None:
        protocol, self._protocol = self._protocol, None
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        if protocol is not None:
            await protocol.lost.wait()
        for waiting in self._waiting.values():
            waiting.cancel()
        self._waiting.clear()

    async def subscribe(self, channel: str) -> None:
        """Returns when Redis has confirmed the channel, or when it is unsubscribed meanwhile. Raises StoreUnavailable
        if that takes longer than the patience."""
        name = channel.encode()
        self._wanted.add(name)
        if name in self._confirmed:
            return
        waiting = self._waiting.get(name)
        if waiting is None:
            waiting = self._waiting[name] = asyncio.get_running_loop().create_future()
            self._sent[name] += self._protocol is not None
            self._send("SUBSCRIBE", name)
        try:
            async with asyncio.timeout(self._patience):
                await asyncio.shield(waiting)
        except TimeoutError:
            raise StoreUnavailable("Redis does not answer: no subscription", retry_after=1) from None

    def reconnect(self) -> None:
        """Drops the connection; another one is made at once."""
        if self._protocol is not None:
            self._protocol.abort()

    def unsubscribe(self, channel: str) -> None:
        """Forgets the channel at once, so that a subscribe right after it asks Redis anew."""
        name = channel.encode()
        if name not in self._wanted:
            return
        self._wanted.discard(name)
        self._confirmed.discard(name)
        if (waiting := self._waiting.pop(name, None)) is not None:
            waiting.set_result(None)  # no confirmation would come
        self._send("UNSUBSCRIBE", name)

    def _send(self, command: str, *names: bytes) -> None:
        """Sends a command if there is a connection. Each new connection subscribes to all wanted channels."""
        if self._protocol is not None:
            self._protocol.send(pack((command, *names)))

    async def _stay_connected(self) -> None:
        loop = asyncio.get_running_loop()
        pause, limit = _PAUSES[0], min(_FIRST_TRY, self._patience)
        while True:
            try:
                # Its greeting has no time-out of its own, and the heartbeat watches only what is connected.
                async with asyncio.timeout(limit):
                    protocol = await self._open()
            except (RedisError, OSError) as error:
                self._complain(error, again=pause > _PAUSES[0])
                limit = min(2 * limit, self._patience)
            else:
                limit = min(_FIRST_TRY, self._patience)
                if not self._is_first:
                    logger.info("subscribed again to %s", self._name)
                self._unheard = 0
                channels = {*self._wanted} if self._own is None else {self._own, *self._wanted}
                self._sent = Counter(channels)
                self._missing = set(channels)
                self._protocol = protocol
                connected_at = loop.time()
                if channels:
                    self._send("SUBSCRIBE", *channels)
                try:
                    await protocol.lost.wait()
                finally:
                    protocol.abort()
                if loop.time() - connected_at > _STABLE:
                    pause = _PAUSES[0]
            self._is_first = False
            await asyncio.sleep(pause * random.uniform(0.5, 1.0))
            pause = min(2 * pause, _PAUSES[1])

    async def _open(self) -> RedisProtocol:
        connection = self._redis.connection_pool.make_connection()
        connection.retry = Retry(NoBackoff(), 0)  # a retry inside redis-py would hide what was lost
        if self._asks_run_id:
            try:
                self._run_id = await _run_id(connection)
            except BaseException:
                await connection.disconnect(nowait=True)
                raise
        return await RedisProtocol.open(connection, self._hear, self._lost)

    def _lost(self, error: Exception) -> None:
        if self._protocol is not None:  # we did not close it ourselves
            self._complain(error)
        self._protocol = self.subscribed_at = None
        self._missed = self._missed or not self._confirmed <= {self._own}
        self._confirmed.clear()
        self._on_change()

    def _complain(self, error: Exception, *, again: bool = False) -> None:
        logger.log(logging.DEBUG if again else logging.WARNING, "subscription lost: %s: %s", self._name, error)

    def _log_refusal(self, error: Exception) -> None:
        # A `subscribe` without a confirmation raises.
        logger.error("subscription: %s", error)

    def _hear(self, answer: Any) -> None:
        if isinstance(answer, Exception):
            if isinstance(answer, RedisError) and as_ours(answer) is not None:
                logger.error("subscription: %s", answer)
                self.reconnect()  # Redis is busy with a script: what it refused is asked for again
            else:
                self._on_refusal(answer)
            return
        if answer == b"PONG" or answer[0] == b"pong":  # the first before a channel is subscribed
            self._unheard = self._silent = 0
            return
        kind, channel, data = answer
        if kind == b"message":
            if channel == self._own:
                self._unheard = self._silent = 0
            else:
                self._receive(channel, data)
        elif kind == b"subscribe":
            self._sent[channel] -= 1
            if self._sent[channel] <= 0:
                del self._sent[channel]
                self._confirm(channel)
            if self._missing:
                self._missing.discard(channel)
                if not self._missing:
                    self._complete()

    def _complete(self) -> None:
        self.subscribed_at = asyncio.get_running_loop().time()
        self._on_change()
        if self._missed:
            self._missed = False
            self._on_gap()

    def _confirm(self, channel: bytes) -> None:
        if channel in self._wanted or channel == self._own:
            self._confirmed.add(channel)
            if (waiting := self._waiting.pop(channel, None)) is not None:
                waiting.set_result(None)

    def _receive(self, channel: bytes, data: bytes) -> None:
        try:
            self._on_message(channel, data)
        except Exception:
            # The trouble of one channel must not end the subscription of all.
            logger.exception("a message of %r broke its receiver", channel)

    async def _beat(self) -> None:
        """Sends heartbeats. A connection on which some in a row are not heard is dead."""
        while True:
            await asyncio.sleep(self._heartbeat)
            self._silent += 1
            protocol = self._protocol
            if protocol is None:
                continue
            if self._unheard >= _MISSED:
                logger.warning(
                    "subscription: %d heartbeats were not heard; reconnecting: %s", self._unheard, self._name
                )
                self._unheard = 0
                protocol.abort()
                continue
            self._unheard += 1
            if self._own is None:
                self._send("PING")
            else:
                await self._publish(self._own)

    async def _publish(self, channel: bytes) -> None:
        try:
            # Behind a lost route the publish hangs too, and no heartbeat would be counted.
            async with asyncio.timeout(self._heartbeat):
                with translated():
                    await self._redis.publish(channel, b"beat")
        except (StoreUnavailable, TimeoutError) as error:
            logger.debug("heartbeat: %s", error)
        except RedisError as error:
            # Not allowed to publish, for example: nothing was sent that could be heard.
            logger.error("heartbeat: %s", error)
            self._unheard = 0


async def _run_id(connection: AbstractConnection) -> str:
    """Connects, and returns the run id of the Redis at the other end, "" if it does not state one."""
    # Before the subscription: a connection that has one takes no INFO.
    await connection.send_command("INFO", "server")
    try:
        info: bytes = await connection.read_response()
    except RedisError as error:
        if as_ours(error) is not None:
            raise
        return ""
    lines = dict(line.split(b":", 1) for line in info.split(b"\r\n") if b":" in line)
    return lines.get(b"run_id", b"").decode(errors="replace")
