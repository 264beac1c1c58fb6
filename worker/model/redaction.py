"""Takes what opens the model, and what opens the way to it, out of all that is not the model's own text.

A server, or a gateway before it, may repeat the key in an error, a header or a field, by mistake or on purpose: in
another case, with escapes, encoded, or in pieces.
"""

from __future__ import annotations

import logging
import re
import unicodedata
from base64 import b64encode
from collections.abc import Iterable, Iterator
from typing import Any, Final

MASK: Final = "***"

#: Longest text that an error shows, and the length from which on it may have been cut off where it was read.
MOST_SHOWN: Final = 500
MOST_READ: Final = 8000
#: Characters that are looked up at once. Pieces of a secret have at least so many more that one in several places is
#: enough to look at.
_GRAM: Final = 4
#: Least and most letters of a piece of a secret that is found: a third of it, between these.
_SHORTEST_PIECE, _LONGEST_PIECE = 6, 12
#: Keys that change which are known at once.
_MOST_CHANGING: Final = 16
#: Letters below which a secret is looked for as it is written, and no piece of it is.
_SHORT: Final = 8
#: Characters of a text in which a secret is masked; a longer one is masked as a whole.
_LONGEST_MENDED: Final = 8192
#: Characters at the end of a text that was cut off, which may be the beginning of a secret.
_CUT_OFF: Final = 600
#: How often escapes are looked for behind escapes.
_DEEPEST: Final = 3
_ESCAPE: Final = re.compile(
    r"%([0-9a-f]{2})|\\+u\{?([0-9a-f]{4,6})\}?|\\+x([0-9a-f]{2})|&#x([0-9a-f]{1,6});|&#([0-9]{1,7});", re.IGNORECASE
)
_NO_LETTERS: Final = re.compile(r"[^a-z0-9]+")
#: What servers without keys are told, and what says nothing.
_NO_SECRETS: Final = frozenset(
    {"none", "null", "empty", "dummy", "ollama", "lm-studio", "no-key", "not-needed", "sk-no-key-required"}
)


class Redactor:
    """Knows the secrets of this process. Pieces of one are found too, if they have at least six letters or a third of
    it: what is cut into less, and strewn, is not."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets = set(secrets)
        #: Keys that change, oldest first: streams that began with one may still tell it.
        self._changing: list[str] = []
        self._build()

    def add(self, secrets: Iterable[str]) -> None:
        """Masks these secrets too, from now on."""
        self._secrets |= set(secrets)
        self._build()

    def learn(self, secret: str) -> None:
        """Masks a key that changes, until a number of newer ones have come."""
        if secret in self._secrets or secret in self._changing:
            return
        self._changing.append(secret)
        if len(self._changing) > _MOST_CHANGING:
            del self._changing[: _MOST_CHANGING // 2]
            self._build()
        else:
            self._mask(secret)
            self._finish()

    def _build(self) -> None:
        self._short: set[str] = set()
        #: What to find, as letters, each with the least length of a piece.
        self._needles: dict[str, int] = {}
        self._places: dict[str, list[tuple[str, int]]] = {}
        for secret in (*self._secrets, *self._changing):
            self._mask(secret)
        self._finish()

    def _mask(self, secret: str) -> None:
        if len(secret) < _GRAM or secret.casefold() in _NO_SECRETS:
            return
        letters = _letters(secret)
        if len(letters) < _SHORT:
            self._short.add(secret)
            return
        needles = dict.fromkeys((letters, letters[::-1]), _piece(len(letters)))
        encoded = secret.encode(errors="replace")
        needles |= {_letters(form): _LONGEST_PIECE for form in (*_in_base64(encoded), encoded.hex())}
        for needle in needles.keys() - self._needles.keys():
            for at in range(len(needle) - _GRAM + 1):
                self._places.setdefault(needle[at : at + _GRAM], []).append((needle, at))
        self._needles |= needles

    def _finish(self) -> None:
        self._plain = re.compile("|".join(map(re.escape, sorted(self._short, key=len, reverse=True))), re.IGNORECASE)
        self._step = min(self._needles.values(), default=_GRAM) - _GRAM + 1

    def text(self, text: str) -> str:
        """The text without secrets."""
        if not self._is_in(text):
            return text
        if len(text) > _LONGEST_MENDED:
            return MASK
        mended = self._mended(text)
        return MASK if self._is_in(mended) else mended

    def shown(self, text: str) -> str:
        """The text without secrets, and then cut to what an error shows."""
        cleaned = self.text(text[:_LONGEST_MENDED])
        if len(text) >= MOST_READ:
            cleaned = cleaned[:-_CUT_OFF]
        return cleaned[:MOST_SHOWN]

    def value(self, value: Any) -> Any:
        """A value of JSON whose texts and names hold no secret, all of them together neither."""
        if isinstance(value, str):
            return self.text(value)
        if not isinstance(value, dict | list) or not self._is_in("".join(_texts(value))):
            return value
        mended = self._mended_value(value)
        return MASK if self._is_in("".join(_texts(mended))) else mended

    def _mended_value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.text(value)
        if isinstance(value, list):
            return [self._mended_value(one) for one in value]
        if isinstance(value, dict):
            return {self.text(name): self._mended_value(one) for name, one in value.items()}
        return value

    def _is_in(self, text: str) -> bool:
        for _ in range(_DEEPEST):
            plainer = _ESCAPE.sub(_unescaped, text)
            if plainer == text:
                break
            text = plainer
        if self._short and self._plain.search(text):
            return True
        letters, step = _letters(text), self._step
        for at in range(0, len(letters) - _GRAM + 1, step):
            if letters[at : at + _GRAM] in self._places and self._around(letters, at):
                return True
        return False

    def _around(self, letters: str, at: int) -> tuple[int, int] | None:
        """The longest piece of a secret around a place; None if it is too short to be one."""
        best: tuple[int, int] | None = None
        for needle, offset in self._places[letters[at : at + _GRAM]]:
            before, after = 0, _GRAM
            while before < min(at, offset) and letters[at - before - 1] == needle[offset - before - 1]:
                before += 1
            most = min(len(letters) - at, len(needle) - offset)
            while after < most and letters[at + after] == needle[offset + after]:
                after += 1
            if before + after >= self._needles[needle] and (best is None or before + after > best[1] - best[0]):
                best = at - before, at + after
        return best

    def _mended(self, text: str) -> str:
        """The text with a mask in place of each secret."""
        chars, spans = text, [(at, at + 1) for at in range(len(text))]
        for _ in range(_DEEPEST):
            chars, spans = _with_spans(chars, spans)
        found = [(spans[hit.start()][0], spans[hit.end() - 1][1]) for hit in self._plain.finditer(chars) if hit[0]]
        letters, places = [], []
        for char, span in zip(chars, spans, strict=True):
            for letter in _letters(char):
                letters.append(letter)
                places.append(span)
        whole = "".join(letters)
        at = 0
        while at <= len(whole) - _GRAM:
            hit = self._around(whole, at) if whole[at : at + _GRAM] in self._places else None
            if hit is None:
                at += 1
            else:
                found.append((places[hit[0]][0], places[hit[1] - 1][1]))
                at = hit[1]
        rest, end = [], 0
        for start, stop in sorted(found):
            if start >= end:
                rest += [text[end:start], MASK]
            end = max(end, stop)
        return "".join([*rest, text[end:]])


class RedactingFilter(logging.Filter):
    """Takes the secrets out of a process's log, tracebacks and other libraries' lines among it."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def filter(self, record: logging.LogRecord) -> bool:
        message = record.getMessage()
        if record.exc_info:
            message += "\n" + logging.Formatter().formatException(record.exc_info)
        cleaned = self._redactor.text(message)
        if cleaned != message:
            record.msg, record.args, record.exc_info, record.exc_text = cleaned, None, None, None
        return True


def _piece(size: int) -> int:
    return min(size, max(_SHORTEST_PIECE, min(_LONGEST_PIECE, size // 3)))


def _letters(text: str) -> str:
    """Letters and digits alone, in one case and one width."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).casefold()
    return _NO_LETTERS.sub("", text.lower())


def _in_base64(secret: bytes) -> Iterator[str]:
    """What of it is the same in base64, whatever stands before and after it."""
    for shift in range(3):
        encoded = b64encode(bytes(shift) + secret).decode()
        whole = encoded.rstrip("=")
        if len(whole) < len(encoded):
            whole = whole[:-1]
        yield whole[(0, 2, 3)[shift] :]


def _unescaped(escape: re.Match[str]) -> str:
    base = 10 if escape[5] else 16
    code = int(next(group for group in escape.groups() if group), base)
    return chr(code) if code <= 0x10FFFF else escape[0]


def _with_spans(text: str, spans: list[tuple[int, int]]) -> tuple[str, list[tuple[int, int]]]:
    """The text with its escapes read once, and where each character stands in the original."""
    chars: list[str] = []
    places: list[tuple[int, int]] = []
    end = 0
    for escape in _ESCAPE.finditer(text):
        char = _unescaped(escape)
        chars += [text[end : escape.start()], char]
        places += spans[end : escape.start()]
        places += [(spans[escape.start()][0], spans[escape.end() - 1][1])] * len(char)
        end = escape.end()
    return "".join([*chars, text[end:]]), places + spans[end:]


def _texts(value: Any) -> Iterator[str]:
    """All texts and names in a value, in order."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from _texts(one)
    elif isinstance(value, dict):
        for name, one in value.items():
            yield name
            yield from _texts(one)
