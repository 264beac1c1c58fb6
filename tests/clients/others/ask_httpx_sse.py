"""httpx-sse: a completion, a response whose events have names, and the same response once more."""

import json
import sys
from collections.abc import Iterator
from typing import Any

import httpx
from httpx_sse import connect_sse

url, model, question = sys.argv[1:]


def read(method: str, path: str, **more: Any) -> Iterator[dict[str, Any]]:
    with httpx.Client(timeout=60) as client, connect_sse(client, method, url + path, **more) as source:
        for event in source.iter_sse():
            if event.data != "[DONE]":
                data = json.loads(event.data)
                assert event.event == data.get("type", "message")
                yield data


def text(events: list[dict[str, Any]]) -> str:
    return "".join(event["delta"] for event in events if event["type"] == "response.output_text.delta")


asked = {"model": model, "messages": [{"role": "user", "content": question}], "stream": True}
chunks = read("POST", "/chat/completions", json=asked)
texts = ["".join(chunk["choices"][0]["delta"].get("content") or "" for chunk in chunks)]
first = list(read("POST", "/responses", json={"model": model, "input": question, "stream": True}))
again = list(read("GET", f"/responses/{first[0]['response']['id']}", params={"stream": "true"}))
print(json.dumps([*texts, text(first), text(again)]))
