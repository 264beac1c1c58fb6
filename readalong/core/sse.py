"""Server-sent events, written and read (WHATWG HTML, section 9.2)."""

from __future__ import annotations

from typing import NamedTuple

#: A comment line: it keeps proxies and clients from giving up, and means nothing.
HEARTBEAT = b": still here\n\n"

CONTENT_TYPE = b"text/event-stream; charset=utf-8"


class Message(NamedTuple):
    """What the stream dispatched: `id` is the last one seen, also on an earlier message."""

    event: str
    data: bytes
    id: str


class MessageTooLong(ValueError):
    """A line or a message of a stream exceeds its limit; `what` it exceeds."""

    def __init__(self, what: str) -> None:
        super().__init__(f"an event stream has more than {what}")
        self.what = what


def frame(data: bytes, *, event: str | None = None, id: str | None = None) -> bytes:
    """Returns the bytes of one event. `data` must hold no line end (JSON on one line does not)."""
    head = b"" if id is None else b"id: %s\n" % id.encode()
    if event is not None:
        head += b"event: %s\n" % event.encode()
    return b"%sdata: %s\n\n" % (head, data)


class Decoder:
    """Reads a stream piece by piece, wherever the pieces are cut.

    Lines end with LF, CR or CR LF and nothing else: U+2028 inside JSON is text (str.splitlines would cut there).
    """

    def __init__(
        self, *, max_line: int = 16_777_216, max_message: int = 67_108_864, max_lines: int = 1_000_000
    ) -> None:
        """Bytes of a line, bytes of the data of a message, and lines of it."""
        #: An unfinished line.
        self._rest = bytearray()
        self._max_line = max_line
        self._max_message = max_message
        self._max_lines = max_lines
        self._data_size = 0
        self._begun = False
        self._after_cr = False
        self._data: list[bytes] = []
        self._event = ""
        self._id = ""
        #: Milliseconds that the server asked clients to wait before they come back, if it did.
        self.retry: int | None = None

    def feed(self, piece: bytes) -> list[Message]:
        """Returns the messages that this piece completes. Raises MessageTooLong."""
        if self._is_one_message(piece):
            return [Message("message", piece[6:-2], self._id)]
        if self._after_cr and piece:
            # The CR has ended its line; an LF here is the other half of a CR LF.
            piece = piece.removeprefix(b"\n")
            self._after_cr = False
        if self._begun and b"\n" not in piece and b"\r" not in piece:
            self._keep(piece)
            return []
        buffer = piece
        if self._rest:
            self._rest += piece
            buffer, self._rest = bytes(self._rest), bytearray()
        if not self._begun:
            if b"\xef\xbb\xbf".startswith(buffer[:3]) and len(buffer) < 3:
                self._keep(buffer)
                return []
            buffer = buffer.removeprefix(b"\xef\xbb\xbf")
            self._begun = True
        if b"\r" in buffer:
            self._after_cr = buffer.endswith(b"\r")
            buffer = buffer.replace(b"\r\n", b"\n").replace(b"\r", b"\n")
        *lines, rest = buffer.split(b"\n")
        self._keep(rest)
        messages = []
        for line in lines:
            if not line:
                if self._data:
                    messages.append(Message(self._event or "message", b"\n".join(self._data), self._id))
                self._data, self._event, self._data_size = [], "", 0
            elif line.startswith(b"data:"):
                self._add(line[6:] if line[5:6] == b" " else line[5:])
            elif line[0] != 0x3A and (message := self._field(line)) is not None:  # not a comment
                messages.append(message)
        return messages

    def close(self) -> list[Message]:
        """Returns a last message without its empty line, which some servers leave out. The specification discards it,
        and it may be cut off."""
        return self.feed(b"\n\n") if self._rest or self._data else []

    @property
    def last_id(self) -> str:
        """The last id that the stream has sent, also one without an event."""
        return self._id

    @property
    def between(self) -> bool:
        """Whether the pieces so far ended with the end of a message."""
        return self._begun and not (self._rest or self._data or self._event or self._after_cr)

    def _is_one_message(self, piece: bytes) -> bool:
        """Returns whether it is one line of data from its start to its end, which is how most models' tokens come."""
        # No line ends before the last two bytes, which are two of them.
        return (
            self.between
            and piece.startswith(b"data: ")
            and piece.endswith(b"\n\n")
            and piece.find(b"\n") == len(piece) - 2
            and b"\r" not in piece
        )

    def _keep(self, piece: bytes) -> None:
        self._rest += piece
        if len(self._rest) > self._max_line:
            raise MessageTooLong(f"{self._max_line} bytes in a line")

    def _add(self, line: bytes) -> None:
        self._data.append(line)
        self._data_size += len(line)
        if self._data_size > self._max_message:
            raise MessageTooLong(f"{self._max_message} bytes")
        if len(self._data) > self._max_lines:
            raise MessageTooLong(f"{self._max_lines} lines")

    def _field(self, line: bytes) -> Message | None:
        """Takes in a line that is no comment. Returns None; a kind of stream may have lines that are messages."""
        name, _, value = line.partition(b":")
        value = value.removeprefix(b" ")
        if name == b"data":
            self._add(value)
        elif name == b"event":
            self._event = value.decode(errors="replace")
        elif name == b"id" and b"\0" not in value:
            self._id = value.decode(errors="replace")
        elif name == b"retry" and value.isdigit() and len(value) < 10:
            self.retry = int(value)
        return None
