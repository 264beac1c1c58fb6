"""openapi.json as an API of default settings serves it. To make it takes half a second, so each process does it once."""

from __future__ import annotations

from typing import Any, Final

from readalong.api.app import create_app
from readalong.core.settings import Settings

DOCUMENT: Final[dict[str, Any]] = create_app(Settings()).openapi()
COMPONENTS: Final[dict[str, Any]] = DOCUMENT["components"]["schemas"]
