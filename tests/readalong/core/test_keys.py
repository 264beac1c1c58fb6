"""Names of Redis keys, and the values that may be part of one."""

from __future__ import annotations

import inspect
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from redis.crc import key_slot

from readalong.core.keys import Keys, is_job_id, new_job_id

JOB = "abcdefghijklmnop"


def test_the_names_are_those_that_the_documents_promise() -> None:
    keys = Keys("readalong")
    assert keys.of_job(JOB) == (
        f"readalong:job:{{{JOB}}}",
        f"readalong:job:{{{JOB}}}:events",
        f"readalong:job:{{{JOB}}}:cancel",
        f"readalong:job:{{{JOB}}}:live",
    )
    assert keys.jobs == "readalong:jobs"
    assert keys.active == "readalong:active"
    assert keys.worker("w") == "readalong:worker:w"
    assert keys.alive("w") == "readalong:alive:w"
    assert keys.workers == "readalong:workers"
    assert keys.control == "readalong:control"
    assert keys.sweep == "readalong:sweep"
    assert keys.wake == "readalong:wake"
    assert keys.presence == "readalong:presence"
    assert keys.orphans_from == "readalong:presence:from"
    assert keys.idempotency("d") == "readalong:idempotency:d"
    assert keys.heartbeat("p") == "readalong:heartbeat:p"


def test_the_queue_has_the_names_that_arq_looks_for() -> None:
    keys = Keys("p")
    assert keys.queue == "arq:queue:p"
    assert keys.arq_job(JOB) == f"arq:job:{JOB}"
    assert keys.arq_in_progress(JOB) == f"arq:in-progress:{JOB}"
    assert keys.arq_retry(JOB) == f"arq:retry:{JOB}"


def every_name(keys: Keys) -> list[str]:
    """Returns all names that Keys can give. It finds the methods itself, so that a new one is tested too."""
    names = []
    for name, member in inspect.getmembers(Keys):
        if name.startswith("_") or name == "prefix":
            continue
        if name in ("shared", "type_of"):  # the prefix of names that others give
            continue
        if isinstance(member, property):
            named = getattr(keys, name)
            names += named if isinstance(named, list) else [named]
        elif inspect.isfunction(member):
            answer: Any = getattr(keys, name)(JOB)
            names += answer if isinstance(answer, tuple) else [answer]
    return names


def test_no_two_things_have_the_same_name() -> None:
    names = every_name(Keys())
    twice = {*Keys().of_job(JOB), Keys().thread(JOB), Keys().thread_jobs(JOB)}
    assert len(set(names)) == len(names) - len(twice)


def test_two_prefixes_share_no_name_but_arqs_own() -> None:
    shared = set(every_name(Keys("a"))) & set(every_name(Keys("b")))
    assert shared == {Keys().arq_job(JOB), Keys().arq_in_progress(JOB), Keys().arq_retry(JOB)}


@given(st.from_regex(r"[A-Za-z0-9_-]{16,64}", fullmatch=True))
def test_the_keys_of_one_job_and_of_one_thread_are_in_one_cluster_slot(job_id: str) -> None:
    assert len({key_slot(name.encode()) for name in Keys().of_job(job_id)}) == 1
    assert len({key_slot(name.encode()) for name in Keys().of_thread(job_id)}) == 1


def test_a_new_id_is_an_id_and_never_the_same() -> None:
    ids = {new_job_id() for _ in range(2_000)}
    assert len(ids) == 2_000
    assert all(is_job_id(job_id) for job_id in ids)


def test_a_new_id_never_looks_like_an_option_on_a_command_line() -> None:
    assert not any(new_job_id().startswith("-") for _ in range(2_000))


def test_a_new_id_has_at_least_96_random_bits() -> None:
    ids = [new_job_id() for _ in range(500)]
    places = zip(*ids, strict=True)
    # 64 characters are 6 bits a place. Over 500 draws a place of full range shows far more than 32 of them. The last of
    # 22 places holds the remaining 2 bits.
    assert sum(len(set(place)) > 32 for place in places) >= 16


@pytest.mark.parametrize(
    "text",
    [
        "",
        "short",
        "a" * 15,
        "a" * 65,
        "a" * 16 + "\n",
        "a" * 15 + "}",
        "a" * 15 + ":",
        "a" * 15 + "é",
        "a/../bbbbbbbbbbbbbb",
    ],
)
def test_what_could_break_out_of_a_key_is_no_id(text: str) -> None:
    assert not is_job_id(text)


@given(st.text())
def test_an_id_holds_nothing_but_safe_characters(text: str) -> None:
    if is_job_id(text):
        assert re.fullmatch(r"[\x21-\x7e]{16,64}", text)
        assert not set(text) & set("{}:*?[]\\'\" ")
