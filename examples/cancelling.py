"""A cancel from another thread: the loop ends once the connection to the model is closed."""

import sys
from threading import Thread

from readalong.client import Client

with Client() as client:
    stream = client.stream_chat("Tell me a long story.", model=next(iter(sys.argv[1:]), None))
    for count, text in enumerate(stream):
        print(text, end="", flush=True)
        if count == 3:
            Thread(target=stream.cancel).start()
    print("\n", stream.end and stream.end.type)
