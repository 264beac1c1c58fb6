"""The model's words: the story of how they reach the reader, told around the question."""

import random
import re
from functools import lru_cache
from importlib.resources import files
from string import Template

_TOKEN = re.compile(r" ?[A-Za-z0-9_]{1,6}| ?[!-/:-@\[-`{-~]+| ?\S|\s+")
_FILES = files("readalong.testing") / "story"
_STOP_WORDS = frozenset((_FILES / "stop_words.txt").read_text("utf-8").split())
_STAGES = tuple(
    tuple(" ".join(variant.split()) for variant in stage.strip().split("\n\n"))
    for stage in (_FILES / "story.txt").read_text("utf-8").split("\n---\n")
)
"""The story: stages, each in several variants. `$asked` is the question, `$first` to `$third` its words."""

_UNICODE = (
    "Family: \U0001f469\u200d\U0001f469\u200d\U0001f467\u200d\U0001f466, flag: "
    "\U0001f3f3\ufe0f\u200d\U0001f308, wave: \U0001f44b\U0001f3fd, clef: \U0001d11e.",
    "Combining: e\u0301, a\u0308\u0323, o\u0302\u0301; composed: \u00e9, \u00fc, \u00df.",
    "Scripts: \u6f22\u5b57\u3068\u4eee\u540d, \ud55c\uad6d\uc5b4, \u0928\u092e\u0938\u094d\u0924\u0947, "
    "\u05e9\u05dc\u05d5\u05dd, \u0645\u0631\u062d\u0628\u0627, \u0e44\u0e17\u0e22.",
    "Separators: line\u2028separator, paragraph\u2029separator, next\u0085line, tab\tand return\r\nand feed\f.",
    "Controls: nul\x00here, escape\x1bhere, delete\x7fhere; invisible: zero\u200bwidth, mark\ufeffhere.",
    'JSON\'s own: "quotes", back\\slash, </script>, {braces}, data: [DONE], event: done.',
)


def tokenize(text: str) -> tuple[str, ...]:
    """Cuts a text into pieces of at most six letters with their leading space. Joined, they are the text."""
    return tuple(_TOKEN.findall(text))


def story(question: str, seed: int) -> str:
    """Returns several paragraphs that name the question's words. The same arguments give the same text."""
    rng = random.Random(seed)
    words = keywords(question)
    fill = {
        "asked": _quote(question),
        "first": words[0],
        "second": words[1 % len(words)],
        "third": f'"{words[2 % len(words)]}"',
    }
    return "\n\n".join(Template(rng.choice(stage)).substitute(fill) for stage in _STAGES)


def unicode_story(question: str, seed: int) -> str:
    """Returns lines with every kind of character that breaks careless readers, shuffled by the seed."""
    lines = list(_UNICODE)
    random.Random(seed).shuffle(lines)
    return "\n".join([f"About {keywords(question)[0]}:", *lines])


def reasoning(question: str, seed: int) -> str:
    """Returns the text of a reasoning model before its answer."""
    word = keywords(question)[0]
    openings = ("The reader asks about", "This is about", "I am asked about")
    return (
        f"{random.Random(seed).choice(openings)} {word}. I know nothing of it, and should say so first. "
        "Then the way of the stream, in order: queue, claim, log, relay, resume, cancel. Keep it plain."
    )


def refusal(question: str) -> str:
    """Returns a polite refusal that names the question."""
    return f"I am sorry, but I cannot help with {keywords(question)[0]}, because I was asked to refuse."


def count_tokens(text: str) -> int:
    """Returns the number of pieces that `tokenize` returns."""
    return sum(1 for _ in _TOKEN.finditer(text))


@lru_cache(maxsize=64)
def keywords(question: str) -> tuple[str, ...]:
    """Returns up to three significant words of the question, longest first; never none."""
    words = [word[:24] for word in re.findall(r"[^\W\d_][\w'-]*", question)]
    significant = [word for word in words if len(word) > 3 and word.lower() not in _STOP_WORDS]
    unique = list(dict.fromkeys(significant or words))
    return tuple(sorted(unique, key=len, reverse=True)[:3]) or ("nothing",)


def _quote(question: str) -> str:
    words = question.split()
    short = " ".join(words[:16])[:160].strip()
    if not short:
        return "(nothing)"
    return short if len(short) == len(" ".join(words)) else short + " ..."
