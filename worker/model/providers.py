"""Which provider answers a job, by its model's name."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Self

from readalong.core.errors import BadSettings, ModelError
from readalong.core.settings import Settings
from readalong.worker.model.chunk_accumulator import ChunkAccumulator
from readalong.worker.model.credentials import configured, secrets_of_environment
from readalong.worker.model.generator_provider import GeneratorProvider
from readalong.worker.model.openai_provider import OpenAIProvider
from readalong.worker.model.provider import Batch, Provider
from readalong.worker.model.python_path import function_at
from readalong.worker.model.redaction import Redactor

_SETTING: Final = "READALONG_PROVIDERS"
#: A provider's name, which is a model's or the part before its slash, and the path of its function.
_NAMED: Final = re.compile(r"([A-Za-z0-9_.-]{1,64})\s*=\s*(\S+)")


class Providers:
    """The providers of a process, and the `redactor` that knows their secrets."""

    def __init__(
        self, default: Provider, named: Mapping[str, Provider], redactor: Redactor, *, host: str = "nowhere"
    ) -> None:
        """`default` answers all models whose names are not in `named`. `host`: where it is, for people."""
        self.default = default
        self.redactor = redactor
        self.host = host
        self._named = named

    @classmethod
    def of_settings(cls, settings: Settings) -> Self:
        """Returns the providers of this environment. Raises BadSettings."""
        paths = _paths(settings.providers)
        redactor = Redactor(secrets_of_environment() if paths else ())
        named = {
            name: GeneratorProvider(name, function_at(_SETTING, path, "request"), settings)
            for name, path in paths.items()
        }
        if paths and not configured() and not settings.credentials:
            return cls(_NoModelServer(), named, redactor)
        default = OpenAIProvider(settings, redactor)
        return cls(default, named, redactor, host=default.host)

    @property
    def all(self) -> list[Provider]:
        """Each provider once."""
        return [self.default, *self._named.values()]

    def of(self, model: str) -> Provider:
        """The provider of a model: `name`, or any that begins with `name/`."""
        return self._named.get(model.partition("/")[0], self.default)

    async def close(self) -> bool:
        """Closes all. Returns False if one of them does not end."""
        return all([await provider.close() for provider in self.all])


class _NoModelServer:
    """Stands for the model server where there is none."""

    def stream(
        self, request: dict[str, Any], chunks: ChunkAccumulator
    ) -> AbstractAsyncContextManager[AsyncIterator[Batch]]:
        """Raises ModelError."""
        raise ModelError("model_not_found", "No provider has a model of this name.", retryable=False)

    async def close(self) -> bool:
        """There is nothing to close."""
        return True


def _paths(text: str) -> dict[str, str]:
    """The path of each provider, by its name. Raises BadSettings."""
    found: dict[str, str] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        named = _NAMED.fullmatch(part)
        if named is None:
            raise BadSettings(f"{_SETTING}: {part!r} is no name=package.module:function")
        if named[1] in found:
            raise BadSettings(f"{_SETTING}: has the name {named[1]!r} twice")
        found[named[1]] = named[2]
    return found
