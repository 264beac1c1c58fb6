"""Error replies: the exceptions are those that redis-py raises itself."""

from __future__ import annotations

from typing import Any

import pytest
from redis.asyncio.connection import DefaultParser

from readalong.redis.error_replies import error_of

#: A module's and AUTH's errors, which no command of ours gets once redis-py has greeted.
_NOT_OURS = {"ModuleError", "AuthenticationError", "AuthenticationWrongNumberOfArgsError"}


def _replies() -> list[str]:
    """Returns a reply of each kind that redis-py tells apart, and some that it does not."""
    codes, texts = [*DefaultParser.EXCEPTION_CLASSES], DefaultParser.EXCEPTION_CLASSES["ERR"]
    assert isinstance(texts, dict)
    some = ("WRONGTYPE Operation against a key", "ERR syntax error", "MISCONF no disk", "ERR", "OOMX is no OOM", "")
    return [
        *(f"{code} some text" for code in codes),
        *(f"ERR {text}" for text, kind in texts.items() if kind.__name__ not in _NOT_OURS),
        *some,
    ]


@pytest.mark.parametrize("reply", _replies())
def test_an_error_reply_is_what_redis_py_makes_of_it(reply: str) -> None:
    """It fails with a redis-py that has a new class for an error: add the class to `error_of`."""
    parser: Any = DefaultParser
    theirs = parser.parse_error(reply)
    ours = error_of(reply)
    assert (type(ours), str(ours)) == (type(theirs), str(theirs))
