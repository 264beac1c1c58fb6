"""An answer, printed as it comes."""

from readalong.client import Client

with Client() as client:
    for text in client.stream_chat("How did this get here?"):
        print(text, end="", flush=True)
print()
