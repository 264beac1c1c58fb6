"""The fenced blocks of README.md and docs/, and the tests that run each.

A block of a program is here under its page, or its page and its first line, with the tests that run it. A block with
the same text as another one has that one's tests. `tests/docs/test_blocks.py` fails for a block without a test.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Final

ROOT: Final = Path(__file__).parents[2]
#: Output, pictures and requests: nothing that runs.
NO_PROGRAMS: Final = frozenset({"", "text", "http", "mermaid"})

_FENCE: Final = re.compile(r"^(?P<indent> *)```(?P<language>\w*)[^\n]*\n(?P<text>.*?)^(?P=indent)```$", re.M | re.S)

_SHELL: Final = "tests/docs/test_shell_blocks.py::test_a_block_runs_in_a_shell"
_PYTHON: Final = "tests/docs/test_program_blocks.py::test_a_block_runs_in_python"
_PROVIDER: Final = "tests/docs/test_program_blocks.py::test_a_provider_answers_as_the_page_asks"
_SERVED: Final = "tests/docs/test_program_blocks.py::test_an_application_of_a_recipe_streams"
_LANGCHAIN: Final = "tests/docs/test_program_blocks.py::test_a_block_runs_with_langchain"
_NODE: Final = "tests/docs/test_node_blocks.py::test_a_block_runs_in_node"
_BROWSER: Final = "tests/docs/test_node_blocks.py::test_a_block_runs_in_a_page"
_COMPONENT: Final = "tests/docs/test_node_blocks.py::test_a_component_runs_in_a_page"
_USE_CHAT: Final = "tests/clients/test_react_page.py"
_MAKE: Final = "tests/docs/test_blocks.py::test_a_target_of_make_exists"

#: By page, language, and how the block begins ("" for each block of the language).
TESTS: Final[dict[tuple[str, str, str], tuple[str, ...]]] = {
    ("README.md", "sh", "make demo"): (_MAKE, "tests/cli/test_demo.py::test_ctrl_c_ends_all_in_order"),
    ("README.md", "sh", "curl"): (_SHELL,),
    ("README.md", "sh", "readalong ask"): (_SHELL,),
    ("README.md", "sh", "redis-cli"): ("tests/docs/test_cookbook.py::test_every_line_of_the_cookbook_is_tried",),
    ("README.md", "sh", "export OPENAI_API_KEY"): (
        "tests/test_compose.py::test_the_compose_file_fits_the_schema",
        "tests/test_compose.py::test_the_models_variables_are_passed_on_to_workers_alone",
    ),
    ("README.md", "sh", "pip install"): (
        "tests/test_wheel.py::test_the_demo_of_the_wheel_answers_a_client_of_the_base_install",
        "tests/test_wheel.py::test_an_environment_gains_one_name",
        "tests/cli/test_commands.py::test_settings_shows_every_setting",
    ),
    ("README.md", "python", "from openai import OpenAI"): (_PYTHON,),
    ("README.md", "python", "async def echo"): (_PROVIDER,),
    ("README.md", "tsx", "const transport"): (f"{_USE_CHAT}::test_an_answer_is_whole_over_reloads",),
    ("README.md", "js", "const events = new EventSource"): (_BROWSER,),
    ("docs/ag-ui.md", "ts", "import { HttpAgent }"): (_NODE,),
    ("docs/ai-sdk.md", "tsx", "import { Chat, useChat }"): (f"{_USE_CHAT}::test_an_answer_is_whole_over_reloads",),
    ("docs/ai-sdk.md", "tsx", "const start"): (f"{_USE_CHAT}::test_a_lost_worker_leaves_one_text",),
    ("docs/ai-sdk.md", "tsx", "const ended"): (
        f"{_USE_CHAT}::test_an_answer_is_whole_over_reloads",
        f"{_USE_CHAT}::test_an_answer_is_whole_after_breaks",
    ),
    ("docs/ai-sdk.md", "tsx", "const halt"): (f"{_USE_CHAT}::test_a_stop_after_a_reload_cancels_the_job",),
    ("docs/ai-sdk.md", "tsx", "import { WorkflowChatTransport }"): (
        f"{_USE_CHAT}::test_an_answer_is_whole_over_reloads",
        "tests/clients/test_ai_sdk.py::test_the_workflow_transport_reloads",
    ),
    ("docs/cli.md", "sh", "readalong ask"): (_SHELL,),
    ("docs/cli.md", "sh", "readalong status"): (_SHELL,),
    ("docs/cli.md", "sh", "readalong --install-completion"): (
        "tests/cli/test_completion.py::test_every_shell_has_a_script",
        "tests/cli/test_completion.py::test_bash_completes_in_earnest",
    ),
    ("docs/clients/javascript.md", "sh", "npm install ./clients/js"): (
        "tests/clients/test_js_client.py::test_it_installs",
    ),
    ("docs/clients/javascript.md", "js", ""): (
        "tests/clients/test_js_client.py::test_an_example_of_its_documentation_runs",
    ),
    ("docs/clients/javascript.md", "tsx", "import { useJob }"): (
        "tests/clients/test_js_client_page.py::test_a_component_shows_a_job_as_it_grows_and_stops_it",
    ),
    ("docs/clients/javascript.md", "html", ""): (
        "tests/clients/test_js_client_page.py::test_a_page_needs_no_build_and_no_address",
    ),
    ("docs/clients/python.md", "python", ""): (
        "tests/clients/test_python_client.py::test_an_example_of_the_documentation_runs",
    ),
    ("docs/demo-model.md", "sh", "readalong model"): (
        "tests/docs/test_shell_blocks.py::test_the_demo_model_answers_the_lines_of_its_page",
    ),
    ("docs/embedding.md", "python", "from fastapi"): (
        "tests/api/test_embedding.py::"
        "test_the_lines_of_the_docs_mount_it_with_its_addresses_and_the_end_of_its_streams",
    ),
    ("docs/embedding.md", "python", "from readalong.api.auth.policy"): (
        "tests/api/test_embedding.py::test_the_policy_of_the_docs_keeps_owners_apart",
    ),
    ("docs/models.md", "python", "from azure.identity"): (
        "tests/docs/test_blocks.py::test_azures_lines_make_a_function_of_keys",
    ),
    ("docs/openai.md", "python", ""): (_PYTHON,),
    ("docs/openai-responses.md", "python", ""): (_PYTHON,),
    ("docs/operations.md", "sh", "READALONG_REDIS_URL=unix"): (
        "tests/docs/test_blocks.py::test_lines_of_settings_are_accepted",
        "tests/e2e/test_unix_socket.py::test_jobs_run_are_watched_and_cancelled_over_a_unix_socket",
    ),
    ("docs/operations.md", "sh", "READALONG_REDIS_URL=redis"): (
        "tests/docs/test_blocks.py::test_lines_of_settings_are_accepted",
        "tests/e2e/test_sentinel.py::test_a_sentinel_that_wants_a_password_gets_that_of_redis",
    ),
    ("docs/operations.md", "nginx", "location /ai/"): (
        "tests/api/http/test_nginx.py::test_all_holds_behind_nginx_with_a_prefix",
    ),
    ("docs/providers.md", "python", "import asyncio"): (_PROVIDER,),
    ("docs/providers.md", "sh", "export PYTHONPATH"): (_PROVIDER,),
    ("docs/quickstart.md", "sh", "make demo"): (_MAKE, "tests/cli/test_demo.py::test_ctrl_c_ends_all_in_order"),
    ("docs/quickstart.md", "sh", "readalong ask"): (_SHELL,),
    ("docs/quickstart.md", "sh", "curl"): (_SHELL,),
    ("docs/quickstart.md", "sh", "kill -9"): (
        "tests/cli/test_demo.py::test_a_killed_worker_is_replaced_its_job_goes_on_and_a_sighup_ends_all_in_order",
    ),
    ("docs/quickstart.md", "sh", "pip install"): (
        "tests/test_wheel.py::test_the_demo_of_the_wheel_answers_a_client_of_the_base_install",
        "tests/cli/test_demo.py::test_a_model_that_cannot_be_used_is_the_workers_own_words",
    ),
    ("docs/quickstart.md", "python", "from openai import OpenAI"): (_PYTHON,),
    ("docs/recipes/browser.md", "html", ""): (_BROWSER,),
    ("docs/recipes/browser.md", "js", "const events"): (_BROWSER,),
    ("docs/recipes/django.md", "python", ""): (_SERVED,),
    ("docs/recipes/fastapi.md", "python", "from collections"): (_SERVED,),
    ("docs/recipes/langchain.md", "python", ""): (_LANGCHAIN,),
    ("docs/recipes/nextjs.md", "js", "export default"): (
        "tests/docs/test_node_blocks.py::test_next_passes_the_calls_on",
    ),
    ("docs/recipes/nextjs.md", "tsx", '"use client"'): (_COMPONENT,),
    ("docs/redis.md", "sh", "# The newest jobs"): (
        "tests/docs/test_cookbook.py::test_every_line_of_the_cookbook_is_tried",
    ),
    ("docs/threads.md", "sh", "curl"): (_SHELL,),
}


@dataclass(frozen=True)
class Block:
    page: str
    line: int
    language: str
    text: str

    @property
    def name(self) -> str:
        return f"{self.page}:{self.line}"

    @property
    def entry(self) -> tuple[str, str, str] | None:
        """The key in TESTS, the longest that fits; None if there is none."""
        fitting = [
            key for key in TESTS if key[:2] == (self.page, self.language) and self.text.lstrip().startswith(key[2])
        ]
        return max(fitting, key=lambda key: len(key[2]), default=None)


def blocks_of(path: Path) -> list[Block]:
    """Returns the blocks of a page, without their indentation."""
    page, text = path.relative_to(ROOT).as_posix(), path.read_text("utf-8")
    return [
        Block(
            page,
            text.count("\n", 0, found.start()) + 1,
            found["language"],
            re.sub(rf"^{found['indent']}", "", found["text"], flags=re.M),
        )
        for found in _FENCE.finditer(text)
    ]


PAGES: Final = [ROOT / "README.md", *sorted((ROOT / "docs").rglob("*.md"))]
BLOCKS: Final = [block for page in PAGES for block in blocks_of(page)]
PROGRAMS: Final = [block for block in BLOCKS if block.language not in NO_PROGRAMS]


def proofs_of(block: Block) -> tuple[str, ...]:
    """Returns the tests that run the block, or the same text elsewhere."""
    entries = [same.entry for same in PROGRAMS if same.text == block.text]
    return next((TESTS[entry] for entry in entries if entry is not None), ())


def blocks_for(test: str) -> list[Block]:
    """Returns the blocks that a test is to run."""
    return [block for block in PROGRAMS if block.entry is not None and test in TESTS[block.entry]]
