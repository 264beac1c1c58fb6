"""Parses one response body, the stream of a response, into events (pure)."""

from __future__ import annotations

import orjson

from readalong.core.errors import ModelError
from readalong.core.events import NewEvent
from readalong.worker.model.chunks.accumulator import ChunkAccumulator
from readalong.worker.model.chunks.lenient_json import parse
from readalong.worker.model.limits import AnswerTooLarge, Limits
from readalong.worker.model.openai.answer_parser import KEEP_ALIVES, AnswerParser
from readalong.worker.model.openai.responses.event_translator import EventTranslator


class ResponseParser(AnswerParser):
    """Unlike a stream of chunks, that of a response says itself when it has ended: nothing more is waited for."""

    def __init__(self, chunks: ChunkAccumulator, *, limits: Limits = Limits()) -> None:  # noqa: B008 (it is frozen)
        super().__init__(chunks, limits=limits)
        self._translator = EventTranslator()

    def _add(self, name: str, data: bytes) -> list[NewEvent]:
        """See `AnswerParser`. What was said before a failure stays said: the failure is set, and not raised."""
        if name in KEEP_ALIVES:
            return []
        if name == "error" and not data.lstrip().startswith(b"{"):
            return super()._add(name, data)
        events: list[NewEvent] = []
        given = parse(data)
        try:
            for event in given:
                for chunk in self._translator.take(event, name):
                    # As bytes, most are recognized by those before, which costs less than to read each (ChunkTemplate).
                    events += self._chunks.add(orjson.dumps(chunk))
        except AnswerTooLarge as error:
            self._stop(error)
            return events + error.events
        except ModelError as error:
            self.failure = error
        if self._translator.failure is not None:
            self.failure = self._translator.failure
        elif self._translator.ended and self.failure is None:
            self._end()
        return events
