"""OpenAI's Responses format, over a log of chat-completions events (pure).

`responses_format` numbers and encodes the events of a stream. `output` folds the log into output items, which `items`
open and close. `response_object` builds the Response object of JSON bodies and of events. `starting_after` is the cut
of a client that resumes.
"""
