"""A generation and its text, in a blocking program."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Generator, Iterator
from contextlib import closing
from typing import Any, Self

from readalong.client import requests
from readalong.client.calls import Calls
from readalong.client.errors import MisuseError
from readalong.client.events import Cancelled, End, Event, TerminalEvent
from readalong.client.generation import Generation
from readalong.client.progress import Progress, ProgressMeter
from readalong.client.reader import Reader
from readalong.client.requests import Request
from readalong.client.text_reader import OnRestart, TextReader
from readalong.client.transcript import Transcript
from readalong.client.watch import Watch
from readalong.client.watch_protocol import OnTrouble, WatchProtocol


class Stream:
    """Iterates the text of one generation, or with `events()` its events.

    The generation begins with the loop. A loop that is left before the end cancels it: by `break`, an exception,
    Ctrl-C, or the end of a `with` block.
    """

    def __init__(self, generation: Generation, on_restart: OnRestart | None = None) -> None:
        self.transcript = Transcript()
        self._generation = generation
        self._on_restart = on_restart
        self._meter = ProgressMeter()
        self._closed = False
        self._begun = False
        self._reader: weakref.ref[Reader[Any]] | None = None

    @property
    def job_id(self) -> str | None:
        """The id by which others watch this generation, once it is submitted."""
        return self._generation.job_id

    @property
    def text(self) -> str:
        """The valid text so far."""
        return self.transcript.text

    @property
    def end(self) -> End | None:
        """The terminal event, once it has come."""
        return self.transcript.end

    @property
    def progress(self) -> Progress:
        """Time to first token, total time, count and rate, at any time and from any thread."""
        return self._meter.progress

    def __iter__(self) -> Iterator[str]:
        return self._read(self._text())

    def events(self) -> Iterator[Event]:
        """Iterates the events instead of the text. A failed job is an event here, and no error."""
        return self._read(self._events())

    def cancel(self) -> None:
        """Asks for the end, from any thread. The loop goes on to its end, when the connection to the model is closed.

        Raises ClientError if the cancel could not be delivered.
        """
        if self.end is None:
            self._generation.cancel()

    def close(self) -> None:
        """Ends the loop, and the generation with it."""
        self._closed = True
        self._generation.interrupt()
        reader = None if self._reader is None else self._reader()
        if reader is not None:
            reader.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _read(self, items: Generator[Any, None, None]) -> Reader[Any]:
        if self._closed:
            raise MisuseError("This stream is closed.")
        if self._begun:
            raise MisuseError("A stream is read once; its text is in `text`, and a watch of its job reads all again.")
        self._begun = True
        reader = Reader(items, "stream")
        self._reader = weakref.ref(reader)
        return reader

    def _text(self) -> Generator[str, None, None]:
        text = TextReader(self._on_restart)
        with closing(self._events()) as events:
            for event in events:
                if said := text.read(event):
                    yield said

    def _events(self) -> Generator[Event, None, None]:
        self._meter.start()
        with closing(self._generation.events()) as events:
            for event in events:
                self.transcript.add(event)
                self._meter.add(event)
                yield event


class ApiGeneration:
    """A job of an API: one submit, one watch. `keep_running`: it is not cancelled when its reader leaves."""

    def __init__(self, calls: Calls, submit: Request, *, keep_running: bool, on_trouble: OnTrouble | None) -> None:
        self.job_id: str | None = None
        self._calls = calls
        self._submit = submit
        self._keep_running = keep_running
        self._on_trouble = on_trouble
        self._watch: Watch | None = None
        self._cancelled = threading.Event()
        self._interrupted = threading.Event()

    def events(self) -> Generator[Event, None, None]:
        if self._cancelled.is_set():  # before it was submitted
            yield Cancelled(by="client")
            return
        job_id = self.job_id = self._calls.job(self._submit).id
        ended = False
        try:
            if self._cancelled.is_set():  # while it was being submitted
                self.cancel()
            self._watch = Watch(self._calls, WatchProtocol(self._calls.replicas, job_id, on_trouble=self._on_trouble))
            if self._interrupted.is_set():
                return
            with closing(iter(self._watch)) as events:
                for event in events:
                    ended = isinstance(event, TerminalEvent)
                    yield event
        finally:
            if not ended and not self._keep_running:
                self._calls.stop(job_id)

    def cancel(self) -> None:
        self._cancelled.set()
        if self.job_id is not None:
            self._calls.job(requests.cancel(self.job_id))

    def interrupt(self) -> None:
        self._interrupted.set()
        if self._watch is not None:
            self._watch.interrupt()
