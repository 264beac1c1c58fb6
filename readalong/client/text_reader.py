"""From events to the pieces of text that a loop gets."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

from readalong.client.errors import GenerationFailed, GenerationRestarted
from readalong.client.events import Content, Event, Failed, Restarted

OnRestart: TypeAlias = Callable[[Restarted], None]


class TextReader:
    """Turns the events of one generation into text. `on_restart` is called when the text so far is void."""

    def __init__(self, on_restart: OnRestart | None) -> None:
        self._on_restart = on_restart
        self._said = False

    def read(self, event: Event) -> str:
        """Returns the event's text. Raises GenerationFailed; GenerationRestarted when text was returned before and no
        handler can take it back."""
        if isinstance(event, Content) and event.choice == 0:
            self._said = self._said or bool(event.content)
            return event.content
        if isinstance(event, Restarted) and self._said:
            if self._on_restart is None:
                raise GenerationRestarted(event.reason)
            self._on_restart(event)
        elif isinstance(event, Failed):
            raise GenerationFailed(event.message, code=event.code, retryable=event.retryable)
        return ""
