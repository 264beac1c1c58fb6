"""What a base install leaves out."""

from __future__ import annotations


def describe_missing(error: ModuleNotFoundError) -> str:
    """Returns one line that names the extra to install."""
    return f"no module {error.name!r}; pip install 'readalong[server]' brings what an API, a worker or the demo needs"
