"""Chooses the provider of a job by its model's name."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Final, Self

from readalong.core.errors import BadSettings, ModelError
from readalong.core.settings import Settings
from readalong.worker.model.chunks.accumulator import ChunkAccumulator
from readalong.worker.model.generator_provider import GeneratorProvider
from readalong.worker.model.import_path import import_function
from readalong.worker.model.openai.credentials import is_configured
from readalong.worker.model.openai.provider import OpenAIProvider
from readalong.worker.model.provider import Batch, Provider
from readalong.worker.model.redaction import Redactor, environment_secrets

_SETTING: Final = "READALONG_PROVIDERS"
#: A provider's name, which is a model's name or the part before its slash, and the path of its function.
_NAMED: Final = re.compile(r"([A-Za-z0-9_.-]{1,64})\s*=\s*(\S+)")


class Providers:
    """The providers of a process, and the `redactor` of their secrets."""

    def __init__(
        self, default: Provider, named: Mapping[str, Provider], redactor: Redactor, *, host: str = "nowhere"
    ) -> None:
        """`default` answers all models that are not in `named`. `host`: its host, for people."""
        self.default = default
        self.redactor = redactor
        self.host = host
        self._named = named

    @classmethod
    def from_settings(cls, settings: Settings) -> Self:
        """Returns the providers of these settings and this environment. Raises BadSettings."""
        paths = _paths(settings.providers)
        redactor = Redactor(environment_secrets() if paths else ())
        named = {
            name: GeneratorProvider(name, import_function(_SETTING, path, "request"), settings)
            for name, path in paths.items()
        }
        if paths and not is_configured() and not settings.credentials:
            return cls(_NoModelServer(), named, redactor)
        default = OpenAIProvider(settings, redactor)
        return cls(default, named, redactor, host=default.host)

    @property
    def all(self) -> list[Provider]:
        """Each provider once."""
        return [self.default, *self._named.values()]

    def for_model(self, model: str) -> Provider:
        """Returns the provider of a model, which is named `name` or `name/…`."""
        return self._named.get(model.partition("/")[0], self.default)

    async def close(self) -> bool:
        """Closes all providers. Returns False if one of them does not end."""
        return all([await provider.close() for provider in self.all])


class _NoModelServer:
    """The default provider if no model server is configured: it has no models."""

    def stream(
        self, request: dict[str, Any], chunks: ChunkAccumulator
    ) -> AbstractAsyncContextManager[AsyncIterator[Batch]]:
        """Raises ModelError."""
        raise ModelError("model_not_found", "No provider has a model of this name.", retryable=False)

    async def close(self) -> bool:
        """Returns True."""
        return True


def _paths(text: str) -> dict[str, str]:
    """Returns the path of each provider by its name. Raises BadSettings."""
    found: dict[str, str] = {}
    for part in filter(None, map(str.strip, text.split(","))):
        named = _NAMED.fullmatch(part)
        if named is None:
            raise BadSettings(f"{_SETTING}: {part!r} is not a name=package.module:function")
        if named[1] in found:
            raise BadSettings(f"{_SETTING}: has the name {named[1]!r} twice")
        found[named[1]] = named[2]
    return found
