"""`readalong doctor`: tries what must work, and says of each fault what to do.

# Layout

- `examination`   the order of the checks; runs them and gives their results
- `check`         the result of one check
- `api_checks`    what the API says of itself, of Redis, of the workers and of the clocks
- `redis_checks`  Redis as this machine reaches it
- `stream_checks` whether a proxy holds back what is streamed
- `lines`         a result as text
- `model_checks`  two small jobs: one that is answered, one that is cancelled
"""
