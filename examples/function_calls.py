"""A tool call as it builds up, then with its arguments parsed."""

from typing import Any

from readalong.client import Client

look_up: dict[str, Any] = {"name": "look_up", "parameters": {"type": "object", "properties": {"query": {}}}}
tools = [{"type": "function", "function": look_up}]

with Client() as client:
    stream = client.stream_chat("Use look_up to find out what a queue is.", tools=tools)
    for event in stream.events():
        if event.type == "tool_call_delta":
            call = stream.transcript.tool_calls[event.index]
            print(call.name, call.arguments)
        elif event.type == "tool_call":
            print("call", event.name, event.arguments)
