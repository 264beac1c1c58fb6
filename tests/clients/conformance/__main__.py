"""`python -m tests.clients.conformance`: serves the scenarios until stdin closes."""

from __future__ import annotations

import asyncio
import sys

from tests.clients.conformance.server import serve


async def main() -> None:
    async with serve() as url:
        print("ready", url, flush=True)
        await asyncio.get_running_loop().run_in_executor(None, sys.stdin.read)


asyncio.run(main())
