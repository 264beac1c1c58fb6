"""The API serves the JavaScript client beside the page, and nothing else of its folder."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Final

import httpx2
import pytest

from readalong.api.app import create_app
from readalong.core.settings import Settings

CLIENT: Final = Path(__file__).parents[2] / "clients" / "js"
MODULES: Final = sorted(
    path.relative_to(CLIENT).as_posix() for path in (CLIENT / "readalong.js", *(CLIENT / "readalong").glob("*.js"))
)


async def get(path: str) -> httpx2.Response:
    transport = httpx2.ASGITransport(app=create_app(Settings()))
    async with httpx2.AsyncClient(transport=transport, base_url="http://localhost", verify=False) as client:
        return await client.get(path)


@pytest.mark.parametrize("module", MODULES)
async def test_a_module_is_served_with_the_headers_of_a_page(module: str) -> None:
    reply = await get(f"/page/{module}")
    assert (reply.status_code, reply.content) == (200, (CLIENT / module).read_bytes())
    assert reply.headers["content-type"].startswith("text/javascript")
    assert reply.headers["cache-control"] == "no-cache"
    assert reply.headers["content-security-policy"] == (await get("/")).headers["content-security-policy"]


@pytest.mark.parametrize("path", ["package.json", "react.js", "readalong", "readalong/../react.js", "readalong/no.js"])
async def test_the_rest_is_not_served(path: str) -> None:
    assert (await get(f"/page/{path}")).status_code == 404


@pytest.mark.parametrize("module", MODULES)
def test_a_module_imports_only_modules_that_are_served(module: str) -> None:
    """By paths that are the same in a package and below `/page/`."""
    for name in re.findall(r'from "([^"]+)"', (CLIENT / module).read_text("utf-8")):
        assert name.startswith("./")
        assert ((CLIENT / module).parent / name).resolve().relative_to(CLIENT).as_posix() in MODULES


@pytest.mark.parametrize("path", sorted(CLIENT.rglob("*.*s")), ids=lambda path: path.name)
def test_no_file_of_the_client_is_long(path: Path) -> None:
    assert len(path.read_text("utf-8").splitlines()) <= 400
