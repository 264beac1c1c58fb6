"""The seven uses, each an example of at most twenty lines that runs."""

from __future__ import annotations

import re
import subprocess
import sys
from typing import Final

import httpx2
import pytest

from tests.clients.asked import answer
from tests.examples.served import EXAMPLES, endpoint
from tests.support.environment import clean_environment
from tests.support.stack import Stack
from tests.support.waiting import until

FILES: Final = sorted(path.name for path in EXAMPLES.iterdir() if path.suffix in (".py", ".html"))


def run(stack: Stack, name: str, *words: str, **variables: str) -> str:
    """Runs an example; returns what it prints."""
    done = subprocess.run(
        [sys.executable, EXAMPLES / name, *words],
        env={**clean_environment(), "READALONG_URL": stack.url, **variables},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


@pytest.mark.parametrize("name", FILES)
def test_an_example_is_short_and_listed(name: str) -> None:
    """Twenty lines are what a person reads at a glance."""
    assert len((EXAMPLES / name).read_text("utf-8").splitlines()) <= 20
    assert f"[{name}]({name})" in (EXAMPLES / "README.md").read_text("utf-8")


def test_basic(stack: Stack) -> None:
    assert run(stack, "basic.py") == answer("demo-fast", "How did this get here?") + "\n"


def test_basic_async(stack: Stack) -> None:
    answers = [answer("demo-fast", asked) for asked in ("What is a queue?", "What is a log?")]
    assert run(stack, "basic_async.py") == "".join(f"{each}\n" for each in answers)


def test_function_calls(stack: Stack) -> None:
    """Without a model of its own: as it is, it shows a call at the demo, too."""
    printed = run(stack, "function_calls.py").splitlines()
    assert re.fullmatch(r"call look_up \{.*\}", printed[-1])
    pieces = [line for line in printed if not line.startswith("call ")]
    assert len(pieces) > len(printed) - len(pieces)
    assert all(line.startswith("look_up ") for line in pieces)


def test_progress(stack: Stack) -> None:
    last = run(stack, "progress.py").splitlines()[-1]
    assert re.fullmatch(r"first token after [0-9.]+ s, [1-9][0-9]* tokens, [0-9.]+ a second", last)


async def test_cancelling(stack: Stack) -> None:
    """It ends with the event, and the model's stream is closed."""
    assert run(stack, "cancelling.py", "demo-endless").splitlines()[-1].strip() == "cancelled"
    assert [each["state"] for each in stack.generations("Tell me a long story.")] == ["gone"]


def test_sse_endpoint(stack: Stack) -> None:
    with endpoint(stack) as url, httpx2.Client(trust_env=False, timeout=60) as client:
        body = client.get(f"{url}/ask", params={"q": "Why?"}).text
        *pieces, end, rest = body.split("\n\n")
        assert (end, rest) == ("event: end\ndata: 1", "")
        said = "".join(httpx2.Response(200, content=piece.removeprefix("data: ")).json() for piece in pieces)
        assert said == answer("demo-fast", "Why?")


async def test_a_reader_of_the_endpoint_who_leaves_cancels_the_generation(stack: Stack) -> None:
    asked = "Who stays?"
    stack.apis[0].restart(READALONG_MODEL="demo-endless")
    stack.wait_ready()
    with endpoint(stack) as url, httpx2.Client(trust_env=False, timeout=60) as client:
        with client.stream("GET", f"{url}/ask", params={"q": asked}) as response:
            next(response.iter_bytes())
        await until(lambda: [each["state"] for each in stack.generations(asked)] == ["gone"])
