"""Chunks in OpenAI's form to events (pure). Every provider uses it; `accumulator` is the entry."""
