"""How the model is reached, by the environment, and who is told; no key is ever shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

_OPENAI: Final = ("OPENAI_API_KEY", "OPENAI_BASE_URL")
_AZURE: Final = ("AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY")
#: A function that gives the key.
_CREDENTIALS: Final = "READALONG_CREDENTIALS"


def configured(environment: Mapping[str, str]) -> bool:
    """Whether the environment says how to reach a model. A variable that is set to nothing is not set."""
    return any(environment.get(name) for name in (*_OPENAI, *_AZURE, _CREDENTIALS))


def without_model(environment: Mapping[str, str]) -> dict[str, str]:
    """`environment` without the variables that lead to a model, its keys among them."""
    return {name: value for name, value in environment.items() if not name.startswith(("OPENAI_", "AZURE_"))}


def stranger(environment: Mapping[str, str]) -> dict[str, str]:
    """The same without our settings either, which may hold Redis' password: for programs that read neither."""
    return {name: value for name, value in without_model(environment).items() if not name.startswith("READALONG_")}


def described(environment: Mapping[str, str]) -> dict[str, str]:
    """Each variable that matters to the way in use, with its value; a key is only `set` or `not set`.

    `via` is `azure`, `openai` or `nothing`.
    """
    if environment.get("AZURE_OPENAI_ENDPOINT"):
        return {
            "via": "azure",
            "AZURE_OPENAI_ENDPOINT": _safe(environment["AZURE_OPENAI_ENDPOINT"]),
            "AZURE_OPENAI_API_KEY": _key(environment, "AZURE_OPENAI_API_KEY"),
            "OPENAI_API_VERSION": environment.get("OPENAI_API_VERSION") or "not set",
        }
    base = environment.get("OPENAI_BASE_URL")
    return {
        "via": "openai" if configured(environment) else "nothing",
        "OPENAI_BASE_URL": _safe(base) if base else "not set (https://api.openai.com/v1)",
        "OPENAI_API_KEY": _key(environment, "OPENAI_API_KEY"),
    }


def _key(environment: Mapping[str, str], name: str) -> str:
    return "set" if environment.get(name) else "not set"


def _safe(url: str) -> str:
    """The URL without user, password and query, where gateways put their keys."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError:
        return "not a URL"
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}" + ("?***" if parts.query else "")
