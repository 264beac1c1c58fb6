"""The command line by which a person reaches Redis."""

from __future__ import annotations

import shlex

from readalong.core.settings import Settings


def redis_cli_command(settings: Settings) -> str:
    """Returns what a command of redis-cli begins with; a person puts in the password. It takes no URL of a socket."""
    if settings.redis_socket is not None:
        database = settings.safe_redis_url.partition("?db=")[2]
        return f"redis-cli -s {shlex.quote(settings.redis_socket)}" + (f" -n {database}" if database else "")
    # Behind Sentinels the URL names the set, and not a host.
    return "redis-cli -h PRIMARY" if settings.sentinels else f"redis-cli -u {shlex.quote(settings.safe_redis_url)}"
