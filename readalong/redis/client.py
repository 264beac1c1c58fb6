"""Connects to Redis with time-outs and retries, and translates redis-py's errors into readalong's."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Final, Literal

import orjson
import redis
from arq.connections import ArqRedis
from redis.asyncio import BlockingConnectionPool
from redis.asyncio.retry import Retry
from redis.backoff import ExponentialBackoff
from redis.exceptions import (
    BusyLoadingError,
    ClusterDownError,
    ConnectionError,
    MasterDownError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
    ResponseError,
    TimeoutError,
    TryAgainError,
)

from readalong.core.errors import BadSettings, StoreUnavailable
from readalong.core.settings import Settings
from readalong.redis.connections import connection_class
from readalong.redis.redis_internals import MISSING
from readalong.redis.sentinel import Sentinels, sentinel_connection

logger = logging.getLogger(__name__)

#: Errors of a Redis that is away or not itself for the moment; trying again may help.
PASSING = (
    ConnectionError,
    TimeoutError,
    BusyLoadingError,
    ClusterDownError,
    MasterDownError,
    OutOfMemoryError,
    ReadOnlyError,
    TryAgainError,
    OSError,
)
#: The same among the errors to which redis-py's client of one server gives no class of their own. UNBLOCKED ends a
#: BLPOP when its server becomes a replica, the last one ends a script at SCRIPT KILL.
_PASSING_CODES = (
    "MISCONF",
    "NOREPLICAS",
    "CLUSTERDOWN",
    "MASTERDOWN",
    "TRYAGAIN",
    "UNKILLABLE",
    "UNBLOCKED",
    "BUSY",
    "Script killed",
)
#: What a script's error says if the user may not do what it does.
_FORBIDDEN: Final = ("NOPERM", "ACL failure", "can't run this command")
#: The end of what our scripts say themselves of a broken key.
BROKEN: Final = "its keys are broken"
#: What a Redis says that is there and takes no writes.
_REFUSALS = {OutOfMemoryError: "it is full (maxmemory)", ReadOnlyError: "it is a read-only replica"}

Trouble = Literal["away", "full", "read_only", "loading", "refusing"]
_TROUBLES: Final[dict[type[Exception], Trouble]] = {
    OutOfMemoryError: "full",
    ReadOnlyError: "read_only",
    BusyLoadingError: "loading",
    ResponseError: "refusing",
}


def connect(settings: Settings, *, max_connections: int = 64) -> ArqRedis:
    """Returns a client of the settings' Redis. It connects when it is first used.

    Every command may wait `redis_timeout` for a connection and for its answer, and is tried three times in all when
    the connection breaks: all commands of readalong may be repeated. A BLPOP must block for less than the time-out. A
    replica's refusal breaks the connection too: after a failover the same name may lead to the new primary.
    Raises BadSettings for a query of the URL that means nothing.
    """
    if MISSING:
        logger.warning(
            "redis-py %s lacks internals that this version needs (%s): replies take more CPU",
            redis.__version__,
            ", ".join(MISSING),
        )
    # A Unix socket has no such option.
    of_tcp = {} if settings.redis_socket else {"socket_keepalive": True}
    try:
        pool = BlockingConnectionPool.from_url(
            str(settings.redis_url),
            max_connections=max_connections,
            timeout=settings.redis_timeout,
            # Without these a half-open socket hangs for ever.
            socket_timeout=settings.redis_timeout,
            socket_connect_timeout=settings.redis_timeout,
            retry=Retry(ExponentialBackoff(cap=0.5, base=0.02), 2),
            retry_on_error=[ConnectionError, TimeoutError, ReadOnlyError],
            **of_tcp,
        )
        pool.connection_class = connection_class(pool.connection_class)
        pool.make_connection()  # connects to nothing: it only takes what the URL's query says
    except (TypeError, ValueError) as error:
        raise BadSettings(f"READALONG_REDIS_URL: its query holds what Redis' client does not know: {error}") from None
    if settings.sentinels:
        pool.connection_class = sentinel_connection(pool.connection_class, Sentinels(settings))
    client = ArqRedis(
        pool_or_conn=pool,
        # arq's default is pickle: a writer to Redis would run code in the workers.
        job_serializer=encode_job,
        job_deserializer=orjson.loads,
        default_queue_name=settings.keys.queue,
    )
    # A client that was given a pool leaves its connections open when it is closed, unless it owns the pool.
    client.auto_close_connection_pool = True
    return client


def encode_job(value: dict[str, Any]) -> bytes:
    """Returns arq's description of a call, as JSON."""
    return orjson.dumps(value, default=repr)


def trouble_of(error: StoreUnavailable) -> Trouble:
    """Returns what is the matter with Redis, by the error that `as_ours` made."""
    return next((trouble for kind, trouble in _TROUBLES.items() if isinstance(error.__cause__, kind)), "away")


@contextmanager
def translated() -> Iterator[None]:
    """Turns Redis's passing errors into StoreUnavailable; programming errors stay as they are."""
    try:
        yield
    except (RedisError, OSError) as error:
        if (ours := as_ours(error)) is None:
            raise
        raise ours from error


def as_ours(error: RedisError | OSError) -> StoreUnavailable | None:
    """Returns StoreUnavailable for an error that may pass, None for a mistake of readalong's."""
    for kind, why in _REFUSALS.items():
        if isinstance(error, kind):
            return StoreUnavailable(f"Redis refuses writes: {why}", retry_after=1)
    if isinstance(error, PASSING):
        return StoreUnavailable(f"Redis does not answer: {type(error).__name__}", retry_after=1)
    if not isinstance(error, ResponseError):
        return StoreUnavailable(f"Redis failed: {type(error).__name__}", retry_after=1)
    if str(error).startswith(_PASSING_CODES):
        return StoreUnavailable(f"Redis refuses for now: {str(error).split()[0]}", retry_after=1)
    return None


def is_wrong_type(error: Exception) -> bool:
    """Returns whether a key holds another type than the command is for."""
    return isinstance(error, ResponseError) and "WRONGTYPE" in str(error)


def is_broken_key(error: Exception) -> bool:
    """Returns whether a key holds what readalong did not write: a wrong type, or a value that stops a script."""
    if not isinstance(error, ResponseError) or isinstance(error, NoPermissionError) or as_ours(error) is not None:
        return False
    text = str(error)
    if any(word in text for word in _FORBIDDEN):
        return False
    return is_wrong_type(error) or "user_script" in text or text.endswith(BROKEN)
