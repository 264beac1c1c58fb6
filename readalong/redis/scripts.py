"""The Lua scripts of `lua/`, one file each."""

from __future__ import annotations

import re
from hashlib import sha1
from importlib.resources import files
from typing import Final

from readalong.redis.protocol import pack

#: The line of a script that names the files of `lua/parts/` which it needs, in this order.
_NEEDS: Final = re.compile(r"^-- Needs (.+)\.$", re.MULTILINE)


def _load() -> dict[str, tuple[str, str]]:
    """Returns each script's text, its parts in front, and its digest, by name."""
    folder = files("readalong.redis") / "lua"
    loaded = {}
    for file in folder.iterdir():
        if not file.name.endswith(".lua"):
            continue
        text = file.read_text("utf-8")
        needs = _NEEDS.search(text)
        parts = needs[1].split(", ") if needs else []
        whole = "".join((folder / "parts" / f"{part}.lua").read_text("utf-8") for part in parts) + text
        loaded[file.name.removesuffix(".lua")] = whole, sha1(whole.encode(), usedforsecurity=False).hexdigest()
    return loaded


#: Each script's text and digest, by name.
SCRIPTS: Final = _load()
#: Commands that load all of them.
LOADS: Final = tuple(pack(("SCRIPT", "LOAD", text)) for text, _ in SCRIPTS.values())


def digest_of(name: str) -> str:
    """Returns the name that EVALSHA takes for a script."""
    return SCRIPTS[name][1]
