"""The example of an endpoint, served by uvicorn."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from tests.support.environment import clean_environment
from tests.support.servers import free_port
from tests.support.stack import Stack

EXAMPLES: Final = Path(__file__).parents[2] / "examples"


@contextmanager
def endpoint(stack: Stack) -> Iterator[str]:
    """Serves the endpoint; yields its URL."""
    port = free_port()
    words = [sys.executable, "-m", "uvicorn", "sse_endpoint:app", "--app-dir", str(EXAMPLES), "--port", str(port)]
    environment = {**clean_environment(), "READALONG_URL": stack.url}
    with subprocess.Popen(words, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stderr is not None
            for line in process.stderr:
                if "Uvicorn running" in line:
                    break
            yield f"http://127.0.0.1:{port}"
        finally:
            process.kill()
