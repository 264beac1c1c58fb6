"""The tree of errors: each has a code, and the docstring shows the whole tree."""

from __future__ import annotations

import re

import pytest

from readalong.core import errors
from readalong.core.errors import Fenced, InvalidRequest, ModelError, QueueFull, ReadalongError, StoreUnavailable


def tree() -> list[type[ReadalongError]]:
    found: list[type[ReadalongError]] = [ReadalongError]
    for kind in found:
        # Not one of the worker's errors: another test of this process may have imported those.
        found.extend(below for below in kind.__subclasses__() if below.__module__ == errors.__name__)
    return found


def test_the_docstring_draws_the_tree_as_it_is() -> None:
    drawn: dict[str, str | None] = {}
    parents: dict[int, str] = {}
    for line in (errors.__doc__ or "").splitlines():
        match = re.match(r"^    ((?:[│ ]   )*(?:[├└]── )?)([A-Z]\w+)(?:  |$)", line)
        if match:
            depth = len(match[1]) // 4
            parents[depth] = match[2]
            drawn[match[2]] = parents.get(depth - 1)
    real: dict[str, str | None] = {kind.__name__: kind.__bases__[0].__name__ for kind in tree()}
    real["ReadalongError"] = None
    assert drawn == real


def test_every_error_has_a_code_of_its_own() -> None:
    made: list[ReadalongError] = []
    for kind in tree():
        made.append(ModelError("model_x", "m", retryable=False) if kind is ModelError else kind("m"))
    codes = [error.code for error in made]
    assert len(set(codes)) == len(codes)
    assert all(re.fullmatch(r"[a-z_]+", code) for code in codes)


@pytest.mark.parametrize("kind", [QueueFull, StoreUnavailable])
def test_what_passes_by_itself_is_retryable(kind: type[ReadalongError]) -> None:
    assert kind("m", retry_after=2.5).retryable
    assert kind("m", retry_after=2.5).retry_after == 2.5


def test_what_the_client_did_wrong_is_not_retryable_and_names_the_field() -> None:
    error = InvalidRequest("no such role", code="bad_role", field="messages.0.role")
    assert (error.code, error.field, error.retryable) == ("bad_role", "messages.0.role", False)


def test_an_errors_own_code_does_not_change_its_class() -> None:
    error = Fenced("m", code="gone")
    assert (error.code, Fenced("m").code) == ("gone", "fenced")


def test_a_models_error_says_itself_whether_to_retry() -> None:
    error = ModelError("model_rate_limited", "slow down", retryable=True, retry_after=3)
    assert (error.code, error.message, str(error), error.retryable, error.retry_after) == (
        "model_rate_limited",
        "slow down",
        "slow down",
        True,
        3,
    )
    assert not ModelError("model_x", "m", retryable=False).retryable
