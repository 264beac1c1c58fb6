"""Models that are asked by `POST /responses`: the request, the events of its stream, and its errors (all pure).

`request` and `input_items` make a Responses request of a chat-completions request. `event_translator` makes
chat-completions chunks of the stream's events, so that one accumulator, one budget and one redaction serve both forms.
`answer_parser` reads the stream.
"""
