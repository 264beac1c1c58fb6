"""openapi.json as an API of default settings serves it; each process makes it once, which takes half a second."""

from __future__ import annotations

from typing import Any, Final

from readalong.api.app import create_app
from readalong.core.settings import Settings

DOCUMENT: Final[dict[str, Any]] = create_app(Settings()).openapi()
COMPONENTS: Final[dict[str, Any]] = DOCUMENT["components"]["schemas"]
