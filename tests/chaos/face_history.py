"""Jobs that came by the faces, and what their clients read, written down by hand: two attempts, cuts and resumes."""

from __future__ import annotations

from typing import Any

from tests.chaos.clean_history import QUEUED, clean_history, end
from tests.chaos.history_builder import START, HistoryBuilder, Record, Said, begun, dumped, said, tokens

DONE = "[DONE]"


def attempts(tag: str) -> tuple[list[str], list[str]]:
    """Returns the text of the lost attempt, and that of the whole one."""
    return tokens(tag, 1, 2), tokens(tag, 2, 3)


def face_history() -> HistoryBuilder:
    """f1: chat completions, told of the restart; f2: read after it; f3: a whole one, repeated without a key; f4:
    Responses; f5: one in the background; f6: the AI SDK, and a page that was loaded anew.
    """
    builder = clean_history()
    builder.fault("api_kill", 210.0, 211.0, "api-0", pid=4)
    for tag in ("f1", "f2", "f3", "f4", "f5", "f6"):
        _job(builder, tag)
    first, second = attempts("f1")
    opening = {"role": "assistant", "content": ""}
    told = [chunk("f1", opening), *(chunk("f1", {"content": text}) for text in first)]
    submit(builder, "f1", "openai", 200.0)
    reads(builder, "f1", "openai", [*told, error("restarted"), DONE])
    first, second = attempts("f2")
    submit(builder, "f2", "openai", 200.0)
    told = [chunk("f2", opening), *(chunk("f2", {"content": text}) for text in second)]
    reads(builder, "f2", "openai", [*told, chunk("f2", {}, "stop"), DONE])
    submit(builder, "f3", "openai", 200.0, None)
    submit(builder, "f3", "openai", 201.0)
    reads(builder, "f3", "openai", [completion("f3", "".join(attempts("f3")[1]))], whole=True)
    events = response("f4")
    submit(builder, "f4", "responses", 200.0)
    reads(builder, "f4", "responses", events[:6], events[6:])
    reads(builder, "f4", "responses", events[1:12], events[12:], after=1)
    events = response("f5")
    submit(builder, "f5", "responses", 200.0, background=True)
    reads(builder, "f5", "responses", events)
    chunks = ui_chunks("f6")
    submit(builder, "f6", "ai_sdk", 200.0)
    reads(builder, "f6", "ai_sdk", chunks[:4], chunks[4:])
    reads(builder, "f6", "ai_sdk", chunks)
    reads(builder, "f6", "ai_sdk", chunks[-2:], after=40)
    return builder


def _job(builder: HistoryBuilder, tag: str) -> None:
    first, second = attempts(tag)
    restarted = begun("restarted", 2, 102, reason="worker_lost")
    log: list[Said] = [QUEUED, begun("started", 1, 201), *said(first), restarted, *said(second)]
    log.append(end("done", second, finish_reason="stop"))
    builder.call(f"{tag}.1", 200.2, 201.0, first, "gone")
    builder.call(f"{tag}.2", 203.0, 204.0, second)
    if tag == "f1":
        builder.fault("worker_kill", 201.0, 201.5, "worker-1", pid=201)
    builder.job(tag, log, 200.0, 204.1)


def submit(builder: HistoryBuilder, tag: str, via: str, t: float, status: int | None = 200, **more: Any) -> None:
    builder.submit(tag, t + 0.1, 202 if status == 200 else status)
    line = builder.clients[-1]
    line.update({"status": status, "via": via, "asked": START + t, "late": False, "background": False, **more})
    if via != "ai_sdk":
        line["key"] = None


def reads(
    builder: HistoryBuilder, tag: str, form: str, *connections: list[str], after: int = 0, whole: bool = False
) -> str:
    """Adds a client that reads these lines, and resumes behind each connection. Returns its first watch."""
    first = f"w{builder.watches}"
    name, job = f"f{builder.watches}", f"id-{tag}"
    builder.clients.append({"t": START + 200.2, "kind": "client", "client": name, "job": job, "after": after})
    for place, lines in enumerate(connections):
        builder.watch(name, job, 200.2 + place, [], after=after, how="reset" if lines is not connections[-1] else "end")
        opened, closed = builder.clients[-2:]
        opened.update({"form": form, **({"whole": True} if whole else {})})
        read = [{"t": opened["t"] + 0.01, "kind": "said", "watch": opened["watch"], "data": data} for data in lines]
        builder.clients[-1:] = [*read, closed]
        after += len(lines)
    builder.clients.append({"t": START + 205.0, "kind": "client_end", "client": name, "how": "terminal"})
    return first


def chunk(tag: str, delta: Record, finish: str | None = None) -> str:
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    head = {"id": f"chatcmpl-id-{tag}", "object": "chat.completion.chunk", "created": 1, "model": "demo-numbered"}
    return dumped({**head, "choices": [choice]})


def completion(tag: str, content: str) -> str:
    message = {"role": "assistant", "content": content, "refusal": None}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return dumped({"id": f"chatcmpl-id-{tag}", "object": "chat.completion", "choices": [choice], "usage": None})


def error(code: str) -> str:
    return dumped({"error": {"message": "It failed.", "type": "server_error", "param": None, "code": code}})


def response(tag: str) -> list[str]:
    """Returns the events of the response: the lost attempt's item, and the other's."""
    first, second = attempts(tag)
    old, new = f"msg_id-{tag}", f"msg_id-{tag}_a2"
    lost, whole = _item(old, "incomplete", first), _item(new, "completed", second)
    events: list[tuple[str, Record]] = [
        ("created", _response(tag, "queued", [])),
        ("queued", _response(tag, "queued", [])),
        ("in_progress", _response(tag, "in_progress", [])),
        *_begin(old, 0),
        *_deltas(old, 0, first),
        ("output_item.done", {"output_index": 0, "item": lost}),
        ("in_progress", _response(tag, "in_progress", [lost])),
        *_begin(new, 1),
        *_deltas(new, 1, second),
        ("output_text.done", {**_place(new, 1), "text": "".join(second)}),
        ("content_part.done", {**_place(new, 1), "part": _part("".join(second))}),
        ("output_item.done", {"output_index": 1, "item": whole}),
        ("completed", _response(tag, "completed", [whole])),
    ]
    return [
        dumped({"type": f"response.{kind}", "sequence_number": number, **fields})
        for number, (kind, fields) in enumerate(events)
    ]


def _response(tag: str, status: str, output: list[Record]) -> Record:
    whole = {"id": f"resp_id-{tag}", "object": "response", "status": status, "error": None, "output": output}
    return {"response": whole}


def _begin(item_id: str, index: int) -> list[tuple[str, Record]]:
    added = ("output_item.added", {"output_index": index, "item": _item(item_id, "in_progress", None)})
    return [added, ("content_part.added", {**_place(item_id, index), "part": _part("")})]


def _deltas(item_id: str, index: int, texts: list[str]) -> list[tuple[str, Record]]:
    return [("output_text.delta", {**_place(item_id, index), "delta": text, "logprobs": []}) for text in texts]


def _place(item_id: str, index: int) -> Record:
    return {"item_id": item_id, "output_index": index, "content_index": 0}


def _item(item_id: str, status: str, texts: list[str] | None) -> Record:
    content = [] if texts is None else [_part("".join(texts))]
    return {"id": item_id, "type": "message", "status": status, "role": "assistant", "content": content}


def _part(text: str) -> Record:
    return {"type": "output_text", "annotations": [], "logprobs": [], "text": text}


def ui_chunks(tag: str) -> list[str]:
    first, second = attempts(tag)
    return [
        dumped({"type": "start", "messageId": f"msg_id-{tag}", "messageMetadata": {"jobId": f"id-{tag}"}}),
        dumped({"type": "start-step"}),
        dumped({"type": "text-start", "id": "1"}),
        *(dumped({"type": "text-delta", "id": "1", "delta": text}) for text in first),
        dumped({"type": "text-end", "id": "1"}),
        dumped({"type": "reset-step"}),
        dumped({"type": "text-start", "id": "2"}),
        *(dumped({"type": "text-delta", "id": "2", "delta": text}) for text in second),
        dumped({"type": "text-end", "id": "2"}),
        dumped({"type": "finish-step"}),
        dumped({"type": "finish", "finishReason": "stop"}),
        DONE,
    ]
