"""The packages of the extra `server`, which the API, the workers, the demo and its model need."""

from __future__ import annotations

from importlib.util import find_spec
from typing import Final

from readalong.cli.errors import CliError

#: Names of their imports. One package of the extra is missing if and only if the extra is not installed.
_MODULES: Final = ("aiohttp", "arq", "fastapi", "openai", "pydantic_settings", "redis", "uvicorn")


def require_server_extra() -> None:
    """Raises CliError if the extra is not installed: the ImportError would be a traceback."""
    missing = [name for name in _MODULES if find_spec(name) is None]
    if missing:
        raise CliError(f"this command needs more packages ({', '.join(missing)}): pip install 'readalong[server]'")
