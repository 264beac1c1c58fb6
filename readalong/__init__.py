"""One generation, many readers: a queue-backed streaming worker with Redis pub/sub fan-out.

`pip install readalong` brings what a client needs; `Settings` and `create_app` need `readalong[server]`. Every name
below is imported when it is first used.

# Layout

    core/       events, transcript, server-sent events, errors, keys, settings: no I/O
    process/    logs and signals, alike in all programs
    redis/      connections, one connection for many calls, Lua scripts
    store/      what is in Redis: log, queue, indexes, presence
    api/        the HTTP face (a link to ../api)
    worker/     the arq face (a link to ../worker)
    client/     the Python client: streams, watches and calls of an API
    cli/        the command `readalong`
    testing/    the demo model
"""

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from readalong.api.app import create_app
    from readalong.core.errors import (
        BadSettings,
        BrokenJob,
        Fenced,
        IdempotencyConflict,
        InvalidRequest,
        JobExpired,
        JobFailed,
        JobNotFound,
        ModelError,
        ModelNotListed,
        NotRetryable,
        QueueFull,
        ReadalongError,
        Stopping,
        StoreRefused,
        StoreUnavailable,
        ThreadBusy,
        ThreadFull,
        ThreadNotFound,
        UnknownSchema,
    )
    from readalong.core.events import Event
    from readalong.core.settings import Settings
    from readalong.core.sse import Decoder, Message
    from readalong.core.transcript import Transcript

__version__ = "0.1.0"

__all__ = [
    "BadSettings",
    "BrokenJob",
    "Decoder",
    "Event",
    "Fenced",
    "IdempotencyConflict",
    "InvalidRequest",
    "JobExpired",
    "JobFailed",
    "JobNotFound",
    "Message",
    "ModelError",
    "ModelNotListed",
    "NotRetryable",
    "QueueFull",
    "ReadalongError",
    "Settings",
    "Stopping",
    "StoreRefused",
    "StoreUnavailable",
    "ThreadBusy",
    "ThreadFull",
    "ThreadNotFound",
    "Transcript",
    "UnknownSchema",
    "__version__",
    "create_app",
]

if not TYPE_CHECKING:  # A type checker would take any name for one of ours.
    #: Where the names are that are not errors.
    _MODULES = {
        "Decoder": "core.sse",
        "Event": "core.events",
        "Message": "core.sse",
        "Settings": "core.settings",
        "Transcript": "core.transcript",
        "create_app": "api.app",
    }

    def __getattr__(name: str) -> object:
        """Imports a public name. Raises ImportError when it needs packages that are not installed."""
        from importlib import import_module  # noqa: PLC0415

        if name not in __all__:
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        try:
            module = import_module(f"{__name__}.{_MODULES.get(name, 'core.errors')}")
        except ModuleNotFoundError as error:
            message = f"{__name__}.{name} needs the module {error.name!r}: pip install 'readalong[server]'"
            raise ImportError(message, name=error.name) from error
        value = globals()[name] = getattr(module, name)
        return value

    def __dir__() -> list[str]:
        return sorted({*globals(), *__all__})
