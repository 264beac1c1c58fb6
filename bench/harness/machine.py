"""The machine of a run."""

from __future__ import annotations

import os
import platform
import subprocess
from importlib.metadata import version
from pathlib import Path
from typing import Any, Final

import redis

_PACKAGES: Final = ("redis", "hiredis", "arq", "openai", "aiohttp", "fastapi", "starlette", "uvicorn", "uvloop")


def describe(server: redis.Redis, contenders: dict[str, str]) -> dict[str, Any]:
    """Returns the machine and the measured versions; `server` is the Redis or Valkey in use.

    `contenders`: the versions of those that are no Python packages.
    """
    info: Any = server.info("server")  # redis-py's types do not know that this client is synchronous
    name = "valkey" if "valkey_version" in info else "redis"
    return {
        "machine": {
            "cpu": _cpu(),
            "cores": os.cpu_count(),
            "system": f"{platform.system()} {platform.machine()}",
        },
        "versions": {
            "python": platform.python_version(),
            name: info[f"{name}_version"],
            **{package: version(package) for package in _PACKAGES},
            **contenders,
        },
    }


def _cpu() -> str:
    if platform.system() == "Linux":
        for line in Path("/proc/cpuinfo").read_text().splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    if platform.system() == "Darwin":
        words = ["sysctl", "-n", "machdep.cpu.brand_string"]
        return subprocess.run(words, capture_output=True, text=True, check=True).stdout.strip()
    return platform.processor() or platform.machine()
