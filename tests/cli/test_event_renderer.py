"""Events as text on stdout and notes on stderr."""

from __future__ import annotations

import io

from rich.console import Console

from readalong.cli.follower import ReceivedEvent
from readalong.cli.render.event_renderer import EventRenderer
from readalong.cli.sanitize import one_line
from readalong.core.sanitize import harmless


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def shown(out: io.StringIO, *events: ReceivedEvent) -> str:
    """Renders the events and returns the output to `out`. A terminal is stdout and stderr, a pipe only stdout."""
    renderer = EventRenderer(out, Console(file=out if out.isatty() else io.StringIO(), width=60, color_system=None))
    for event in events:
        renderer.render(event)
    return out.getvalue()


def content(words: str) -> ReceivedEvent:
    return ReceivedEvent(1, "content", {"content": words})


def test_control_characters_cannot_steer_a_terminal() -> None:
    """ESC, C1 codes, CR, DEL and directional overrides become visible; newline and tab stay."""
    evil = "a\x1b]0;title\x07b\x9b2Jc\rd\x7f\u202ee\n\tf"
    assert shown(Terminal(), content(evil)) == "a␛]0;title␇b�2Jc␍d␡�e\n\tf"


def test_a_pipe_gets_the_text_as_it_is() -> None:
    """A pipe gets exactly the text."""
    evil = "a\x1b[31m [bold]b[/bold]\r\n"
    assert shown(io.StringIO(), content(evil), ReceivedEvent(2, "done", {})) == evil


def test_markup_in_text_is_text() -> None:
    """Square brackets are text in texts and in notes."""
    out = shown(
        Terminal(), content("[red]x[/red] :smile:"), ReceivedEvent(2, "tool_call", {"name": "[b]", "arguments": {}})
    )
    assert out == "[red]x[/red] :smile:\ntool call [b]({})\n"


def test_a_note_begins_on_a_line_of_its_own() -> None:
    """On a terminal an unfinished line of text ends before a note. A finished line gets no second newline."""
    end = ReceivedEvent(9, "cancelled", {})
    assert shown(Terminal(), content("word"), end) == "word\ncancelled\n"
    assert shown(Terminal(), content("word\n"), end) == "word\ncancelled\n"
    thought = ReceivedEvent(1, "reasoning", {"content": "hm"})
    assert shown(Terminal(), thought, content("word"), end) == "reasoning: hm\nword\ncancelled\n"


def test_a_wait_is_a_note() -> None:
    away = ReceivedEvent(3, "waiting", {"for": "model", "reason": "model_unreachable", "seconds": 0.3})
    assert shown(Terminal(), away) == "waiting for the model (model_unreachable)\n"


def test_unknown_events_show_nothing() -> None:
    """The events of a newer API are ignored."""
    assert shown(Terminal(), ReceivedEvent(1, "sparkle", {"x": 1}), ReceivedEvent(2, "queued", {})) == ""


def test_events_without_their_fields_break_nothing() -> None:
    """A terminal event with null metrics, usage and error is shown."""
    nothing = {"metrics": None, "usage": None, "error": None}
    assert shown(Terminal(), ReceivedEvent(1, "failed", nothing)) == "failed: None (None)\n"
    assert shown(Terminal(), ReceivedEvent(1, "done", {"finish_reason": "stop", **nothing})) == "done (stop)\n"


def test_one_line_is_one_line() -> None:
    """Newlines become spaces, the length is bounded, ESC is visible."""
    assert one_line("a\r\n  b\u2028c\x1b") == "a b c␛"
    assert one_line("x" * 500, 10) == "x" * 9 + "…"
    assert harmless("naïve 👍🏽 עברית") == "naïve 👍🏽 עברית"
