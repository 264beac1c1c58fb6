"""Redis as this machine reaches it, with the settings of this environment."""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from importlib.util import find_spec
from typing import TYPE_CHECKING, Any, Final

from readalong.cli.doctor.api_checks import check_memory, check_persistence, check_version
from readalong.cli.doctor.check import Check
from readalong.cli.sanitize import one_line
from readalong.core.errors import ReadalongError

if TYPE_CHECKING:
    from readalong.core.settings import Settings

_VARIABLES: Final = ("READALONG_REDIS_URL", "READALONG_SENTINELS")
_MODULES: Final = ("redis", "arq", "pydantic_settings")


def check_own_redis() -> Iterator[Check]:
    """Whether the Redis of this environment's settings can be reached from here, and is fit."""
    if not any(os.environ.get(name) for name in _VARIABLES):
        yield Check("redis here", "skipped", "READALONG_REDIS_URL is not set here; the API's own view is above")
        return
    if any(find_spec(name) is None for name in _MODULES):
        yield Check("redis here", "skipped", "the packages for it are not installed", "pip install 'readalong[server]'")
        return
    from readalong.core.redis_cli import redis_cli_command  # noqa: PLC0415
    from readalong.core.settings import load  # noqa: PLC0415

    try:
        settings = load()
        found = asyncio.run(_ask(settings))
    except ReadalongError as error:
        yield Check("redis here", "critical", one_line(error.message), "mend READALONG_REDIS_URL here")
        return
    except (OSError, TimeoutError) as error:
        detail = f"no connection: {one_line(str(error)) or 'no answer in time'}"
        yield Check("redis here", "critical", detail, "start Redis, or mend READALONG_REDIS_URL here")
        return
    yield Check("redis here", "ok", f"{one_line(settings.safe_redis_url)} answers")
    name = str(found.get("server_name", "redis"))
    version = str(found.get(f"{name}_version", found.get("redis_version", "")))
    yield from check_version(one_line(f"{name} {version}"))
    to_set = f"{one_line(redis_cli_command(settings))} config set %s, and the same in its configuration"
    sizes = found.get("used_memory"), found.get("maxmemory")
    yield from check_memory(found.get("maxmemory_policy"), *sizes, to_set % "maxmemory-policy noeviction")
    kept = {"aof": bool(found.get("aof_enabled")), "rdb": bool(found.get("saves"))}
    yield from check_persistence(kept, to_set % "appendonly yes")


async def _ask(settings: Settings) -> dict[str, Any]:
    """Returns Redis' own account of itself. Raises ReadalongError, OSError and TimeoutError."""
    from redis.exceptions import RedisError  # noqa: PLC0415

    from readalong.redis.client import connect  # noqa: PLC0415

    redis = connect(settings, max_connections=1)
    try:
        async with asyncio.timeout(settings.redis_timeout):
            found = {**await redis.info("server"), **await redis.info("memory"), **await redis.info("persistence")}
            saves = await redis.config_get("save")
    except RedisError as error:
        raise OSError(str(error)) from None
    finally:
        await redis.aclose()
    return {**found, "saves": saves.get("save")}
