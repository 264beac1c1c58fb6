"""Masks keys and passwords in every text that is not the model's own.

A server or a gateway may repeat a key in an error, a header or a field, by mistake or on purpose: in another case, with
escapes, encoded, or in pieces.
"""

from __future__ import annotations

import logging
import os
import re
import unicodedata
from base64 import b64encode
from collections.abc import Iterable, Iterator
from typing import Any, Final

MASK: Final = "***"

#: Longest excerpt in an error, and the length from which on a text may have been cut off when it was read.
MAX_SHOWN: Final = 500
MAX_READ: Final = 8000
#: Characters of one lookup. A piece of a secret is longer, so that looking up every few characters finds it.
_GRAM: Final = 4
#: A piece of a secret is found from a third of its letters on, between these two numbers.
_MIN_FRAGMENT, _MAX_FRAGMENT = 6, 12
#: Rotating keys that are masked at the same time.
_MAX_ROTATING: Final = 16
#: A secret with fewer letters is found only as it is written, and not in pieces.
_SHORT: Final = 8
#: Longest text in which only the secret is masked. A longer text is masked as a whole.
_MAX_MASKED: Final = 8192
#: Characters at the end of a truncated text that may be the beginning of a secret.
_CUT_OFF: Final = 600
#: Levels of escapes inside escapes.
_MAX_DEPTH: Final = 3
_ESCAPE: Final = re.compile(
    r"%([0-9a-f]{2})|\\+u\{?([0-9a-f]{4,6})\}?|\\+x([0-9a-f]{2})|&#x([0-9a-f]{1,6});|&#([0-9]{1,7});", re.IGNORECASE
)
_NOT_ALPHANUMERIC: Final = re.compile(r"[^a-z0-9]+")
#: Placeholders for keys, which are no secrets.
_PLACEHOLDERS: Final = frozenset(
    {"none", "null", "empty", "dummy", "ollama", "lm-studio", "no-key", "not-needed", "sk-no-key-required"}
)
#: Variables whose values the user's own provider may put into an error.
_SECRET_NAMES: Final = re.compile(r"(^|_)(KEYS?|TOKENS?|SECRETS?|PASSWORDS?|PASSWD|CREDENTIALS?)$")
_MIN_SECRET: Final = 8


class Redactor:
    """Masks the secrets of this process, and pieces of them from six letters or a third of the secret on."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets = set(secrets)
        #: Rotating keys, oldest first: streams that began with an old key may still repeat it.
        self._rotating: list[str] = []
        self._build()

    def add(self, secrets: Iterable[str]) -> None:
        """Masks these secrets too."""
        self._secrets |= set(secrets)
        self._build()

    def add_rotating(self, secret: str) -> None:
        """Masks a rotating key, until a number of newer ones have come."""
        if secret in self._secrets or secret in self._rotating:
            return
        self._rotating.append(secret)
        if len(self._rotating) > _MAX_ROTATING:
            del self._rotating[: _MAX_ROTATING // 2]
            self._build()
        else:
            self._mask(secret)
            self._finish()

    def _build(self) -> None:
        self._short: set[str] = set()
        #: The letters to find, each with the shortest piece that counts.
        self._needles: dict[str, int] = {}
        self._index: dict[str, list[tuple[str, int]]] = {}
        for secret in (*self._secrets, *self._rotating):
            self._mask(secret)
        self._finish()

    def _mask(self, secret: str) -> None:
        if len(secret) < _GRAM or secret.casefold() in _PLACEHOLDERS:
            return
        letters = _alphanumerics(secret)
        if len(letters) < _SHORT:
            self._short.add(secret)
            return
        needles = dict.fromkeys((letters, letters[::-1]), _min_match(len(letters)))
        encoded = secret.encode(errors="replace")
        needles |= {_alphanumerics(form): _MAX_FRAGMENT for form in (*_base64_forms(encoded), encoded.hex())}
        for needle in needles.keys() - self._needles.keys():
            for at in range(len(needle) - _GRAM + 1):
                self._index.setdefault(needle[at : at + _GRAM], []).append((needle, at))
        self._needles |= needles

    def _finish(self) -> None:
        self._plain = re.compile("|".join(map(re.escape, sorted(self._short, key=len, reverse=True))), re.IGNORECASE)
        self._step = min(self._needles.values(), default=_GRAM) - _GRAM + 1

    def redact(self, text: str) -> str:
        """Returns the text with its secrets masked."""
        if not self._has_secret(text):
            return text
        if len(text) > _MAX_MASKED:
            return MASK
        masked = self._masked(text)
        return MASK if self._has_secret(masked) else masked

    def redact_excerpt(self, text: str) -> str:
        """Returns the start of the text with its secrets masked, for an error."""
        cleaned = self.redact(text[:_MAX_MASKED])
        if len(text) >= MAX_READ:
            cleaned = cleaned[:-_CUT_OFF]
        return cleaned[:MAX_SHOWN]

    def redact_value(self, value: Any) -> Any:
        """Returns a JSON value with the secrets in its strings and names masked, also a secret spread over several."""
        if isinstance(value, str):
            return self.redact(value)
        if not isinstance(value, dict | list) or not self._has_secret("".join(_strings(value))):
            return value
        masked = self._masked_value(value)
        return MASK if self._has_secret("".join(_strings(masked))) else masked

    def _masked_value(self, value: Any) -> Any:
        if isinstance(value, str):
            return self.redact(value)
        if isinstance(value, list):
            return [self._masked_value(one) for one in value]
        if isinstance(value, dict):
            return {self.redact(name): self._masked_value(one) for name, one in value.items()}
        return value

    def _has_secret(self, text: str) -> bool:
        for _ in range(_MAX_DEPTH):
            plainer = _ESCAPE.sub(_unescape, text)
            if plainer == text:
                break
            text = plainer
        if self._short and self._plain.search(text):
            return True
        letters, step = _alphanumerics(text), self._step
        for at in range(0, len(letters) - _GRAM + 1, step):
            if letters[at : at + _GRAM] in self._index and self._match_around(letters, at):
                return True
        return False

    def _match_around(self, letters: str, at: int) -> tuple[int, int] | None:
        """Returns start and end of the longest piece of a secret around a place; None if it is too short."""
        best: tuple[int, int] | None = None
        for needle, offset in self._index[letters[at : at + _GRAM]]:
            before, after = 0, _GRAM
            while before < min(at, offset) and letters[at - before - 1] == needle[offset - before - 1]:
                before += 1
            most = min(len(letters) - at, len(needle) - offset)
            while after < most and letters[at + after] == needle[offset + after]:
                after += 1
            if before + after >= self._needles[needle] and (best is None or before + after > best[1] - best[0]):
                best = at - before, at + after
        return best

    def _masked(self, text: str) -> str:
        """Returns the text with a mask in place of each secret."""
        chars, spans = text, [(at, at + 1) for at in range(len(text))]
        for _ in range(_MAX_DEPTH):
            chars, spans = _unescape_with_spans(chars, spans)
        found = [(spans[hit.start()][0], spans[hit.end() - 1][1]) for hit in self._plain.finditer(chars) if hit[0]]
        letters, places = [], []
        for char, span in zip(chars, spans, strict=True):
            for letter in _alphanumerics(char):
                letters.append(letter)
                places.append(span)
        whole = "".join(letters)
        at = 0
        while at <= len(whole) - _GRAM:
            hit = self._match_around(whole, at) if whole[at : at + _GRAM] in self._index else None
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
    """Masks the secrets in a process's log, also in tracebacks and in the lines of libraries."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def filter(self, record: logging.LogRecord) -> bool:
        """Masks the record's message and traceback. Returns True."""
        message = record.getMessage()
        if record.exc_info:
            message += "\n" + logging.Formatter().formatException(record.exc_info)
        cleaned = self._redactor.redact(message)
        if cleaned != message:
            record.msg, record.args, record.exc_info, record.exc_text = cleaned, None, None, None
        return True


def environment_secrets() -> Iterator[str]:
    """Yields the values of all variables that are named like secrets. Shorter values are words, such as `true`."""
    for name, value in os.environ.items():
        if len(value) >= _MIN_SECRET and _SECRET_NAMES.search(name.upper()):
            yield value


def _min_match(size: int) -> int:
    return min(size, max(_MIN_FRAGMENT, min(_MAX_FRAGMENT, size // 3)))


def _alphanumerics(text: str) -> str:
    """Returns only the letters and digits, in one case and one width."""
    if not text.isascii():
        text = unicodedata.normalize("NFKC", text).casefold()
    return _NOT_ALPHANUMERIC.sub("", text.lower())


def _base64_forms(secret: bytes) -> Iterator[str]:
    """Yields the part of its base64 that does not depend on the bytes around it."""
    for shift in range(3):
        encoded = b64encode(bytes(shift) + secret).decode()
        whole = encoded.rstrip("=")
        if len(whole) < len(encoded):
            whole = whole[:-1]
        yield whole[(0, 2, 3)[shift] :]


def _unescape(escape: re.Match[str]) -> str:
    base = 10 if escape[5] else 16
    code = int(next(group for group in escape.groups() if group), base)
    return chr(code) if code <= 0x10FFFF else escape[0]


def _unescape_with_spans(text: str, spans: list[tuple[int, int]]) -> tuple[str, list[tuple[int, int]]]:
    """Returns the text with one level of escapes decoded, and the original span of each character."""
    chars: list[str] = []
    places: list[tuple[int, int]] = []
    end = 0
    for escape in _ESCAPE.finditer(text):
        char = _unescape(escape)
        chars += [text[end : escape.start()], char]
        places += spans[end : escape.start()]
        places += [(spans[escape.start()][0], spans[escape.end() - 1][1])] * len(char)
        end = escape.end()
    return "".join([*chars, text[end:]]), places + spans[end:]


def _strings(value: Any) -> Iterator[str]:
    """Yields all strings and names in a value, in order."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for one in value:
            yield from _strings(one)
    elif isinstance(value, dict):
        for name, one in value.items():
            yield name
            yield from _strings(one)
