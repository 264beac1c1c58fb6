"""nginx with the nchan module: one worker process, with its events in its own memory."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

from bench.contenders.contender import Running
from bench.contenders.poster import Poster
from bench.harness.errors import BenchError
from bench.harness.stack import Stack, accepts
from bench.load.crowd import get
from tests.support.nginx import nginx_binary, temp_paths
from tests.support.servers import free_port

_MODULES: Final = ("/usr/lib/nginx/modules", "/usr/lib64/nginx/modules", "/usr/share/nginx/modules")
_NAME: Final = "ngx_nchan_module.so"
_BATCH: Final = 100
_CONFIG: Final = """\
{user}
load_module {module};
daemon off;
worker_processes 1;
worker_rlimit_nofile 8192;
pid {folder}/pid;
error_log stderr;
events {{ worker_connections 4096; }}
http {{
  access_log off;
  {temp_paths}
  keepalive_requests 1000000000;
  nchan_shared_memory_size 256M;
  server {{
    listen 127.0.0.1:{port} backlog=4096;
    location = /pub {{
      nchan_publisher;
      nchan_channel_id bench;
      nchan_message_buffer_length 20000;
      nchan_message_timeout 10m;
    }}
    location = /sub {{
      nchan_subscriber eventsource;
      nchan_channel_id bench;
      nchan_subscriber_first_message newest;
    }}
  }}
}}
"""


def module() -> Path | None:
    """Returns the module's file from the folders of the distributions."""
    return next((path for folder in _MODULES if (path := Path(folder) / _NAME).exists()), None)


def missing() -> str:
    """Returns why it cannot run here."""
    if nginx_binary() is None:
        return "nginx is not installed"
    return "" if module() is not None else f"nginx has no {_NAME}"


def version() -> str:
    """Returns nginx' version."""
    said = subprocess.run([nginx_binary() or "nginx", "-v"], capture_output=True, text=True, check=True).stderr
    return said.strip().rpartition("/")[2]


def config(folder: Path, port: int) -> str:
    """Returns the settings of one server.

    Root's nginx would give its worker to another user, which cannot read our folder.
    """
    user = "user root;" if os.geteuid() == 0 else ""
    return _CONFIG.format(user=user, module=module(), folder=folder, temp_paths=temp_paths(folder), port=port)


@asynccontextmanager
async def start(stack: Stack) -> AsyncIterator[Running]:
    folder, port = stack.folder("nchan"), free_port()
    file = folder / "nginx.conf"
    file.write_text(config(folder, port))
    words = [nginx_binary() or "nginx", "-p", str(folder), "-c", str(file), "-e", "stderr"]
    with stack.process("nchan", words, port) as master:
        stack.wait("nchan", accepts)
        async with Poster.open(port, "/pub") as poster:
            yield Running(port, lambda: get("/sub"), {"server": _worker(master.pid)}, poster.publish, _BATCH)


def _worker(master: int) -> int:
    """Returns the one worker process of a master."""
    deadline = time.monotonic() + 10
    while time.monotonic() < deadline:
        said = subprocess.run(["pgrep", "-P", str(master)], capture_output=True, text=True, check=False).stdout
        if said:
            return int(said)
        time.sleep(0.02)
    raise BenchError("nginx has no worker process")
