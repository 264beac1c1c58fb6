"""The environment of the processes that tests and benchmarks start."""

from __future__ import annotations

import os
from typing import Final

#: How the names of the user's keys and settings begin.
USER_PREFIXES: Final = ("READALONG_", "OPENAI_", "AZURE_OPENAI_")


def clean_environment() -> dict[str, str]:
    """Returns this process's environment without the user's keys, settings and proxies."""
    return {
        name: value
        for name, value in os.environ.items()
        if not name.startswith(USER_PREFIXES) and not name.lower().endswith("_proxy")
    }
