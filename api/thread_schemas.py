"""The bodies of what a thread tells."""

from __future__ import annotations

from typing import Any

from pydantic import BaseModel, ConfigDict, Field, RootModel

from readalong.api.schemas import Metadata


class ThreadMessage(RootModel[dict[str, Any]]):
    """A message of chat completions."""


class ThreadItem(RootModel[dict[str, Any]]):
    """An item of OpenAI's Responses API."""


class ThreadEntry(BaseModel):
    """One entry of a thread."""

    id: str
    message: ThreadMessage | None = Field(description="Null for an entry that the model does not get.")
    item: ThreadItem = Field(description="The same as an item.")


class ThreadLinks(BaseModel):
    """The paths of a thread's calls."""

    self: str
    running: str
    jobs: str


class Thread(BaseModel):
    """A thread and a page of its entries."""

    model_config = ConfigDict(
        json_schema_extra={
            "examples": [
                {
                    "id": "trip",
                    "created_at": "2026-11-22T22:20:00.123Z",
                    "metadata": {},
                    "running": None,
                    "next": None,
                    "links": {
                        "self": "/v1/threads/trip",
                        "running": "/v1/threads/trip/running",
                        "jobs": "/v1/threads/trip/jobs",
                    },
                    "entries": [
                        {
                            "id": "msg_1",
                            "message": {"role": "user", "content": "What is a log?"},
                            "item": {
                                "id": "msg_1",
                                "type": "message",
                                "role": "user",
                                "status": "completed",
                                "content": [{"type": "input_text", "text": "What is a log?"}],
                            },
                        }
                    ],
                }
            ]
        }
    )

    id: str
    created_at: str = Field(description="RFC 3339, UTC.")
    metadata: Metadata
    running: str | None = Field(description="The job whose turn runs.")
    entries: list[ThreadEntry]
    next: str | None = Field(description="The path of the next page; null at the end.")
    links: ThreadLinks
