"""The build's hook for what a package index shows: with an address of the repository, its URLs and absolute links.

`READALONG_REPOSITORY=https://host/owner/name python -m hatchling build`. Without it there are no URLs, and the README's
links stay relative.
"""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import Any

from hatchling.metadata.plugin.interface import MetadataHookInterface

#: A link or picture of Markdown whose address is a path in the repository.
_LINK = re.compile(r"(!?)(\[[^\]]*\])\((?!https?:|#|mailto:)([^)\s]+)\)")


class IndexPage(MetadataHookInterface):
    """Fills in `readme` and `urls`."""

    def update(self, metadata: dict[str, Any]) -> None:
        text = (Path(self.root) / "README.md").read_text("utf-8")
        address = os.environ.get("READALONG_REPOSITORY", "").rstrip("/")
        if address:
            text = _LINK.sub(lambda found: _absolute(address, *found.groups()), text)
        metadata["readme"] = {"content-type": "text/markdown", "text": text}
        files = {"Documentation": "docs/index.md", "Changelog": "CHANGELOG.md"}
        pages = {name: f"{address}/blob/HEAD/{path}" for name, path in files.items()}
        metadata["urls"] = {"Repository": address, **pages, "Issues": f"{address}/issues"} if address else {}


def _absolute(address: str, picture: str, words: str, path: str) -> str:
    """Returns the link with the repository's address. A picture needs the file itself."""
    return f"{picture}{words}({address}/{'raw' if picture else 'blob'}/HEAD/{path})"
