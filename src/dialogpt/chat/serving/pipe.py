"""Objects between two processes of this program: pickled, through a socket, each behind its length."""

import pickle
import select
import socket
import struct
from typing import Any

LENGTH = struct.Struct("!Q")


class Pipe:
    """One end. Reading raises EOFError when the other end is closed, writing an OSError."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._left = b""  # to be sent
        self._reads = select.poll()
        self._reads.register(end, select.POLLIN)

    def fileno(self) -> int:
        return self._end.fileno()

    def close(self) -> None:
        self._end.close()

    def readable(self, *, wait: bool) -> bool:
        """Whether there is something to read, or the end."""
        return bool(self._reads.poll(None if wait else 0))

    def send(self, message: object) -> None:
        """Send, and wait until all of it is taken."""
        self._end.sendall(self._left + _framed(message))
        self._left = b""

    def send_soon(self, message: object) -> bool:
        """Send what is taken without waiting; whether that is all. `send_more` goes on."""
        self._left += _framed(message)
        return self.send_more()

    def send_more(self) -> bool:
        try:
            while self._left:
                self._left = self._left[self._end.send(self._left, socket.MSG_DONTWAIT) :]
        except BlockingIOError:
            return False
        return True

    def recv(self) -> Any:
        (size,) = LENGTH.unpack(self._read(LENGTH.size))
        return pickle.loads(self._read(size))

    def _read(self, size: int) -> bytearray:
        found = bytearray(size)
        left = memoryview(found)
        while left:
            if not (count := self._end.recv_into(left)):
                raise EOFError
            left = left[count:]
        return found


def _framed(message: object) -> bytes:
    data = pickle.dumps(message)
    return LENGTH.pack(len(data)) + data
