"""A real nginx in front of the API."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx2

from tests.support.servers import free_port

_READY_WITHIN: Final = 20.0  # seconds
#: Debian installs nginx in a folder of root's PATH only.
_PLACES: Final = "/usr/local/sbin:/usr/sbin:/usr/local/bin:/usr/bin:/opt/homebrew/bin"

_SETTINGS = """
daemon off;
master_process off;
pid {folder}/pid;
error_log {folder}/errors;
events {{}}
http {{
    access_log off;
    {temp_paths}
    client_max_body_size 32m;
    proxy_buffering on;
    server {{
        listen 127.0.0.1:{port};
        location {prefix}/ {{
            proxy_pass http://127.0.0.1:{target}/;
            proxy_set_header Host $http_host;
            proxy_http_version {version};
            proxy_read_timeout 60s;
            {more}
        }}
    }}
}}
"""


def nginx_binary() -> str | None:
    """Returns the path of nginx, which may be in none of the PATH's folders."""
    return shutil.which("nginx") or shutil.which("nginx", path=_PLACES)


def temp_paths(folder: Path | str) -> str:
    """Returns the settings that keep nginx' temporary files in this folder; the default folders need root."""
    names = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    return "\n".join(f"{name}_temp_path {folder}/{name};" for name in names)


@contextmanager
def nginx(target: int, prefix: str, version: str, more: str = "") -> Iterator[str]:
    """Runs nginx in front of this port, under the prefix and with this HTTP version upstream. Yields its base URL.

    `more`: further settings of the location.
    """
    program = nginx_binary()
    assert program is not None
    with tempfile.TemporaryDirectory(prefix="readalong-nginx-") as folder:
        port = free_port()
        file = Path(folder) / "nginx.conf"
        settings = _SETTINGS.format(
            folder=folder,
            temp_paths=temp_paths(folder),
            port=port,
            target=target,
            prefix=prefix,
            version=version,
            more=more,
        )
        file.write_text(settings)
        process = subprocess.Popen([program, "-p", folder, "-e", f"{folder}/errors", "-c", str(file)])
        try:
            _wait(process, f"http://127.0.0.1:{port}")
            yield f"http://127.0.0.1:{port}"
        finally:
            process.terminate()
            process.wait(60)


def _wait(process: subprocess.Popen[bytes], url: str) -> None:
    deadline = time.monotonic() + _READY_WITHIN
    while True:
        try:
            httpx2.get(f"{url}/nowhere", trust_env=False)
        except httpx2.TransportError:
            if process.poll() is not None or time.monotonic() > deadline:
                raise
            time.sleep(0.02)
        else:
            return
