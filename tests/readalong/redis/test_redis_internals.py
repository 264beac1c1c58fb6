"""What is used of redis-py's inside: this release has it, and without it redis-py's public methods do the work."""

from __future__ import annotations

import asyncio
import subprocess
import sys

from readalong.redis.redis_internals import MISSING

#: redis-py with another name for the writer, as a later release may have, and then a command, a script, a refusal,
#: pub/sub, and the end of a connection.
_CODE = """
import asyncio, logging
from importlib.machinery import SourceFileLoader

def get_code(loader, name, really=SourceFileLoader.get_code):
    if name != "redis.asyncio.connection":
        return really(loader, name)
    source = loader.get_source(name)
    assert "_writer" in source
    return compile(source.replace("_writer", "_moved"), loader.path, "exec")

SourceFileLoader.get_code = get_code

from readalong.core.errors import StoreRefused
from readalong.core.settings import load
from readalong.redis.facade import RedisFacade

async def main():
    settings = load()
    redis = RedisFacade.connect(settings)
    assert await redis.command("SET", "key", "value") == b"OK"
    assert await asyncio.gather(*(redis.command("ECHO", n) for n in range(300))) == [b"%d" % n for n in range(300)]
    assert await redis.call("set_aside", ["key"], "list", "aside") == [b"key", b"string"]
    assert await redis.command("GET", "aside") == b"value"
    try:
        await redis.command("NOSUCH", "key")
    except StoreRefused:
        pass
    else:
        raise AssertionError("not refused")

    heard = asyncio.Queue()
    gap = asyncio.Event()
    subscription = redis.subscribe(
        own_channel="own", heartbeat=0.5, on_message=lambda *message: heard.put_nowait(message), on_gap=gap.set
    )
    subscription.start()
    await subscription.subscribe("channel")
    await redis.command("PUBLISH", "channel", "before")
    assert await heard.get() == (b"channel", b"before")
    await redis.command("CLIENT", "KILL", "TYPE", "pubsub")
    await gap.wait()
    await redis.command("PUBLISH", "channel", "after")
    assert await heard.get() == (b"channel", b"after")
    await subscription.close()

    await redis.command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "no")
    assert await redis.command("GET", "aside") == b"value"
    await redis.close()

logging.basicConfig()
asyncio.run(asyncio.wait_for(main(), 100))
print("served")
"""


def test_this_release_of_redis_py_has_all_that_is_used_of_its_inside() -> None:
    """Where it fails with a newer one: mend redis/redis_internals.py, and move the bound in pyproject.toml."""
    assert MISSING == ()


async def test_without_the_names_of_the_inside_redis_is_reached_by_public_methods(redis_url: str) -> None:
    """The log names what is gone. A connection that breaks is made anew."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-W", "error", "-c", _CODE),
        env={"READALONG_REDIS_URL": redis_url},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()
    assert b"served" in output
    assert b"lacks internals that this version needs (_writer)" in output
    assert b"Traceback" not in output
    assert b"ResourceWarning" not in output
