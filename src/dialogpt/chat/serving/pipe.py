"""Objects between two processes of this program: pickled, through a socket, each after its length.

An end may be watched by an event loop, which makes its socket one that does not wait: whatever waits here does so by
asking the system for what it needs.
"""

import pickle
import select
import socket
import struct
from collections.abc import Iterator
from typing import Any

LENGTH = struct.Struct("!Q")
AT_ONCE = 1 << 16  # bytes per read; a larger buffer would be mapped anew each time


class Pipe:
    """One end. Reading raises EOFError once the other end is closed and all is read, or an OSError, as writing does."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._left = bytearray()  # still to be sent
        self._came = bytearray()  # of messages not taken yet
        self._reads, self._writes = select.poll(), select.poll()
        self._reads.register(end, select.POLLIN)
        self._writes.register(end, select.POLLOUT)

    def fileno(self) -> int:
        return self._end.fileno()

    def close(self) -> None:
        self._end.close()

    def send(self, message: object) -> None:
        """Send, and wait until all of it is taken."""
        gone = self.send_soon(message)
        while not gone:
            self._writes.poll()
            gone = self.send_more()

    def send_soon(self, message: object) -> bool:
        """Send what fits without waiting; whether that is all. `send_more` continues."""
        data = pickle.dumps(message)
        self._left += LENGTH.pack(len(data)) + data
        return self.send_more()

    def send_more(self) -> bool:
        try:
            while self._left:
                del self._left[: self._end.send(self._left, socket.MSG_DONTWAIT)]
        except BlockingIOError:
            return False
        return True

    def readable(self, *, wait: bool) -> bool:
        """Whether there is something to read, or the end."""
        return self._is_whole or bool(self._reads.poll(None if wait else 0))

    def recv(self) -> Any:
        """The next message; waits for it."""
        while not self._is_whole:
            if not self._read():
                raise EOFError
            if not self._is_whole:
                self._reads.poll()
        return self._take()

    def come(self) -> Iterator[Any]:
        """The complete messages so far, without waiting for more."""
        ended = not self._read()
        while self._is_whole:
            yield self._take()
        if ended:
            raise EOFError

    def _read(self) -> bool:
        """Read what is there; False at the end."""
        try:
            data = self._end.recv(AT_ONCE, socket.MSG_DONTWAIT)
        except BlockingIOError:
            return True
        self._came += data
        return bool(data)

    @property
    def _is_whole(self) -> bool:
        return len(self._came) >= LENGTH.size and len(self._came) >= self._end_of_first

    @property
    def _end_of_first(self) -> int:
        size: int = LENGTH.unpack_from(self._came)[0]
        return LENGTH.size + size

    def _take(self) -> Any:
        end = self._end_of_first
        message = pickle.loads(self._came[LENGTH.size : end])
        del self._came[:end]
        return message
