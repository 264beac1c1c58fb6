"""Tables that fit their terminal."""

from __future__ import annotations

import pytest
from rich.text import Text

from readalong.cli.render.columns import Column, table
from tests.cli.samples import job
from tests.cli.scripted_api import ScriptedApi, answer
from tests.cli.terminals import in_terminal

ID = "abcdefghijklmnopqrstuv"
FAILED = job(
    ID,
    status="cancelled",
    model="a-model-with-a-rather-long-name",
    error={"code": "model_rate_limited", "message": "The model answered 429 for a minute."},
    metrics={"time_to_first_token": 1.5, "tokens_per_second": 31.25},
)


@pytest.mark.parametrize("columns", [200, 100, 80, 60, 45, 30])
def test_columns_drop_from_the_right_and_never_id_status_and_age(api: ScriptedApi, columns: int) -> None:
    """At each width the lines fit, if id, status and age do, and an id is never cut."""
    api.routes["GET /v1/jobs"] = answer(200, {"jobs": [FAILED, job("b" * 22)], "next": None})
    with in_terminal("jobs", columns=columns, READALONG_URL=api.url) as terminal:
        assert terminal.ended() == 0
    text = terminal.text.replace("\n", "") if columns < 45 else terminal.text
    assert ID in text
    assert "cancelled" in text
    head = terminal.text.split()[: terminal.text.split().index(ID)]
    assert head[:3] == ["job", "status", "age"]
    whole = ["job", "status", "age", "model", "error", "attempt", "first", "token", "tokens/s", "events", "message"]
    assert head == whole[: len(head)]
    if columns >= 45:
        assert max(map(len, terminal.text.splitlines())) <= columns
    assert (len(head) > 3) == (columns > 45)


def test_a_column_without_content_is_left_out() -> None:
    """It would push out one that has some."""
    columns = (Column("id", keep=True), Column("error", cut=4), Column("n", right=True))
    lines = table(columns, [[Text("a"), Text(""), Text("1")], [Text("b"), Text(""), Text("22")]], 10)
    assert [line.plain for line in lines] == ["id   n", "a    1", "b   22"]


def test_wide_characters_keep_the_columns() -> None:
    """A Chinese character takes two cells."""
    columns = (Column("id", keep=True), Column("model", cut=3), Column("n"))
    lines = table(columns, [[Text("a"), Text("模型模型"), Text("1")], [Text("b"), Text("m"), Text("2")]], 80)
    assert [line.plain for line in lines] == ["id  model     n", "a   模型模型  1", "b   m         2"]
