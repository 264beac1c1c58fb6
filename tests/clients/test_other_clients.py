"""Clients of other makers, each in a process of .venv-clients (`others/`): one answer in each of its ways."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path

import pytest

from tests.clients.asked import answer, question
from tests.support.environment import clean_environment
from tests.support.stack import Stack

ROOT = Path(__file__).parents[2]
PYTHON = ROOT / ".venv-clients" / "bin" / "python"

#: The programs of `others/`.
CLIENTS = ("httpx_sse", "langchain", "litellm", "llm", "pydantic_ai", "openai_agents")

pytestmark = pytest.mark.skipif(
    not (ROOT / ".venv-clients" / "done").exists(), reason="make test-all could not make .venv-clients"
)


@pytest.mark.parametrize("name", CLIENTS)
async def test_a_client_gets_the_models_answer(stack: Stack, name: str, tmp_path: Path) -> None:
    asked = question()
    environment = {
        **clean_environment(),
        "HOME": str(tmp_path),
        "LLM_USER_PATH": str(tmp_path),
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",  # it would ask the network for prices
    }
    pipe = asyncio.subprocess.PIPE
    process = await asyncio.create_subprocess_exec(
        *(str(PYTHON), str(Path(__file__).parent / "others" / f"ask_{name}.py")),
        *(f"{stack.url}/v1", "demo-fast", asked),
        env=environment,
        stdout=pipe,
        stderr=pipe,
    )
    output, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    texts = json.loads(output)
    assert len(texts) > 1
    assert set(texts) == {answer("demo-fast", asked)}
