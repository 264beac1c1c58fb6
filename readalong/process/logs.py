"""How a process logs: a record is a line on stderr, as text or as JSON."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import Any, Final

from readalong.core.sanitize import escaped_json, harmless, harmless_line
from readalong.core.settings import Settings

_TEXT: Final = "%(asctime)s %(levelname)s %(name)s: %(message)s"
#: What every record has. All else came by `extra` and is a field of its own in JSON.
_USUAL: Final = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName", "color_message"}
#: Libraries that say a line for each call, of which our own lines say more.
_CHATTY: Final = ("httpx2", "arq.worker")


class JsonFormatter(logging.Formatter):
    """`time` (RFC 3339, UTC), `level`, `logger`, `message`, `process`; what the record has by `extra`; `exception`: the
    traceback."""

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, Any] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            "process": record.process,
        }
        line |= {name: value for name, value in record.__dict__.items() if name not in _USUAL and name not in line}
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = record.stack_info
        # Half a surrogate, which a path or a model's answer may hold: orjson refuses it, and so does UTF-8.
        text = json.dumps(line, default=str, ensure_ascii=False).encode(errors="backslashreplace").decode()
        return escaped_json(text)


class TextFormatter(logging.Formatter):
    """A line a record, whatever is in its message, and harmless for a terminal; a traceback keeps its lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        record.message = harmless_line(record.message.rstrip("\n"))
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        return harmless(super().format(record))


def set_up(settings: Settings) -> None:
    """Makes all loggers of this process write in this format, uvicorn's too."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonFormatter() if settings.log_format == "json" else TextFormatter(_TEXT))
    logging.basicConfig(level=settings.log_level.upper(), handlers=[handler])
    if settings.log_level == "info":
        for name in _CHATTY:
            logging.getLogger(name).setLevel(logging.WARNING)
