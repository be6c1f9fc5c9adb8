"""Objects between two processes of this program: pickled, through a socket, each behind its length."""

import pickle
import select
import socket
import struct
from collections.abc import Callable
from typing import Any

LENGTH = struct.Struct("!Q")


class Pipe:
    """One end. Reading raises EOFError when the other end is closed, writing an OSError."""

    def __init__(self, end: socket.socket) -> None:
        self._end = end
        self._reads, self._does = select.poll(), select.poll()
        self._reads.register(end, select.POLLIN)
        self._does.register(end, select.POLLIN | select.POLLOUT)

    def fileno(self) -> int:
        return self._end.fileno()

    def close(self) -> None:
        self._end.close()

    def readable(self, *, wait: bool) -> bool:
        """Whether there is something to read, or the end."""
        return bool(self._reads.poll(None if wait else 0))

    def send(self, message: object) -> None:
        self._end.sendall(_framed(message))

    def send_and_hear(self, message: object, hear: Callable[[], object]) -> None:
        """Send; `hear` is called to read whatever comes meanwhile.

        The other end may be sending, too, and read nothing until all of it is taken: both would wait for ever.
        """
        left = memoryview(_framed(message))
        while left:
            ((_, event),) = self._does.poll()
            if event & ~select.POLLOUT:
                hear()
            else:
                left = left[self._end.send(left, socket.MSG_DONTWAIT) :]

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
