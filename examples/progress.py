"""Time to first token, count and rate: while the generation runs, and as the server measured them at its end."""

from readalong.client import Client

with Client() as client:
    stream = client.stream_chat("How did this get here?")
    for _ in stream:
        now = stream.progress
        print(f"{now.count} tokens in {now.total_seconds:.1f} s", end="\r")
    now = stream.progress
    print(f"\nfirst token after {now.time_to_first_token} s, {now.count} tokens, {now.tokens_per_second} a second")
