"""The environment variables that lead to a model. No key is ever shown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final
from urllib.parse import urlsplit

_OPENAI: Final = ("OPENAI_API_KEY", "OPENAI_BASE_URL")
_AZURE: Final = ("AZURE_OPENAI_ENDPOINT", "AZURE_OPENAI_API_KEY")
#: Names a function that returns the key.
_CREDENTIALS: Final = "READALONG_CREDENTIALS"


def has_model(environment: Mapping[str, str]) -> bool:
    """Returns whether the environment names a model. An empty variable counts as not set."""
    return any(environment.get(name) for name in (*_OPENAI, *_AZURE, _CREDENTIALS))


def without_model(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns `environment` without the variables of a model and its keys."""
    return {name: value for name, value in environment.items() if not name.startswith(("OPENAI_", "AZURE_"))}


def without_settings(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the same without our settings, too: they may hold the password of Redis."""
    return {name: value for name, value in without_model(environment).items() if not name.startswith("READALONG_")}


def describe_model(environment: Mapping[str, str]) -> dict[str, str]:
    """Returns the variables of the model in use. A key is only `set` or `not set`.

    `via` is `azure`, `openai` or `nothing`.
    """
    if environment.get("AZURE_OPENAI_ENDPOINT"):
        return {
            "via": "azure",
            "AZURE_OPENAI_ENDPOINT": _safe_url(environment["AZURE_OPENAI_ENDPOINT"]),
            "AZURE_OPENAI_API_KEY": _key(environment, "AZURE_OPENAI_API_KEY"),
            "OPENAI_API_VERSION": environment.get("OPENAI_API_VERSION") or "not set",
        }
    base = environment.get("OPENAI_BASE_URL")
    return {
        "via": "openai" if has_model(environment) else "nothing",
        "OPENAI_BASE_URL": _safe_url(base) if base else "not set (https://api.openai.com/v1)",
        "OPENAI_API_KEY": _key(environment, "OPENAI_API_KEY"),
    }


def _key(environment: Mapping[str, str], name: str) -> str:
    return "set" if environment.get(name) else "not set"


def _safe_url(url: str) -> str:
    """Returns the URL without user, password and query, where gateways put their keys."""
    try:
        parts = urlsplit(url)
        port = f":{parts.port}" if parts.port is not None else ""
    except ValueError:
        return "not a URL"
    return f"{parts.scheme}://{parts.hostname or ''}{port}{parts.path}" + ("?***" if parts.query else "")
