"""Two answers at once, in an event loop."""

import asyncio

from readalong.client import AsyncClient


async def ask(client: AsyncClient, question: str) -> str:
    return "".join([text async for text in client.stream_chat(question)])


async def main() -> None:
    async with AsyncClient() as client:
        for answer in await asyncio.gather(ask(client, "What is a queue?"), ask(client, "What is a log?")):
            print(answer)


asyncio.run(main())
