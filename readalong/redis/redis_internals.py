"""The one private name of redis-py that readalong uses: the transport of a connection.

With the transport, replies are parsed where they arrive, and a broken connection is dropped at once. `missing` returns
the names that the installed redis-py lacks. Then `RedisProtocol` uses public methods of redis-py only.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from inspect import isfunction
from typing import Final

from redis.asyncio.connection import AbstractConnection
from redis.exceptions import ConnectionError

#: Attributes of a connection that this module reads or sets.
_REQUIRED: Final = ("_writer",)


def missing() -> Iterator[str]:
    """Yields the required names that the installed redis-py lacks."""
    # A class need not list the attributes of its instances; the code of its methods names them.
    methods = filter(isfunction, vars(AbstractConnection).values())
    named = {*vars(AbstractConnection), *(name for each in methods for name in each.__code__.co_names)}
    yield from (name for name in _REQUIRED if name not in named)


#: What the installed redis-py lacks.
MISSING: Final = (*missing(),)


def transport_of(connection: AbstractConnection) -> asyncio.WriteTransport | None:
    """Returns the transport of a connection. None: it is not connected, or redis-py has no such name."""
    writer = None if MISSING else connection._writer
    return None if writer is None else writer.transport


def take_writer(connection: AbstractConnection) -> asyncio.StreamWriter:
    """Takes the stream away from its connection, which counts as closed from then on. Keep the writer: it closes its
    transport when it is freed. Raises ConnectionError if the connection is gone."""
    writer = connection._writer
    if writer is None or writer.transport.is_closing():  # only the protocol before ours was told
        raise ConnectionError("the connection was closed")
    connection._writer = None  # redis-py warns of a connection that it takes for open
    return writer
