"""Which protocol's clients a path is for: their errors have a form of their own."""

from __future__ import annotations

from enum import Enum
from typing import Final

from starlette.types import Scope


class Face(Enum):
    """`NATIVE`: problem details. `OPENAI`: OpenAI's error object. `AI_SDK`: a sentence of plain text. `AG_UI`: an
    object with the fields of a RUN_ERROR."""

    NATIVE = "native"
    OPENAI = "openai"
    AI_SDK = "ai_sdk"
    AG_UI = "ag_ui"


_PREFIXES: Final = (
    ("/v1/chat/completions", Face.OPENAI),
    ("/v1/models", Face.OPENAI),
    ("/v1/responses", Face.OPENAI),
    ("/v1/conversations", Face.OPENAI),
    ("/api/chat", Face.AI_SDK),
    ("/agui", Face.AG_UI),
)


def face_of(scope: Scope) -> Face:
    """Returns the face of a request's path, without the prefix of a proxy or a mount."""
    path = scope["path"].removeprefix(scope.get("root_path", ""))
    for prefix, face in _PREFIXES:
        if path == prefix or path.startswith(f"{prefix}/"):
            return face
    return Face.NATIVE
