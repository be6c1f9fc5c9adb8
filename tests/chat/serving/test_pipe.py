"""Messages of any size, whole, and without waiting where that is asked for."""

import os
import socket
import threading
import time
from collections.abc import Iterator

import pytest

from dialogpt.chat.serving.pipe import Pipe

LARGE = "ب" * 1_000_000  # more than sockets hold


@pytest.fixture
def pair() -> Iterator[tuple[Pipe, Pipe]]:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        yield Pipe(ours), Pipe(theirs)


def test_messages_come_whole_and_in_order(pair: tuple[Pipe, Pipe]) -> None:
    ours, theirs = pair
    messages = [None, 3, (1, "صباح الخير"), {"a": [1.5, float("inf")]}, ValueError("x")]
    for message in messages:
        ours.send(message)
    assert theirs.readable(wait=True)
    assert [repr(theirs.recv()) for _ in messages] == [repr(message) for message in messages]
    assert not theirs.readable(wait=False)
    sender = threading.Thread(target=ours.send, args=[LARGE])
    sender.start()
    assert theirs.recv() == LARGE
    sender.join()


@pytest.mark.parametrize("ends", [0, 1])
def test_an_end_that_does_not_wait_is_as_any(pair: tuple[Pipe, Pipe], ends: int) -> None:
    """As an event loop makes it."""
    os.set_blocking(pair[ends].fileno(), False)
    sender = threading.Thread(target=lambda: [pair[0].send(LARGE), pair[0].send(2)], daemon=True)
    sender.start()
    assert pair[1].recv() == LARGE
    assert pair[1].recv() == 2
    sender.join(30)


def test_what_has_come_is_told_without_waiting(pair: tuple[Pipe, Pipe]) -> None:
    ours, theirs = pair
    assert list(theirs.come()) == []
    ours.send(1)
    assert not ours.send_soon(LARGE)
    assert list(theirs.come()) == [1]
    found: list[object] = []
    while not found:
        ours.send_more()
        found = list(theirs.come())
    assert found == [LARGE]
    ours.send(3)
    ours.close()
    assert list(theirs.come()) == [3]
    with pytest.raises(EOFError):
        list(theirs.come())


def test_what_is_not_taken_is_sent_later(pair: tuple[Pipe, Pipe]) -> None:
    ours, theirs = pair
    assert ours.send_soon("first")
    assert not ours.send_soon(LARGE)
    assert not ours.send_soon("last")
    assert theirs.recv() == "first"
    reader = threading.Thread(target=lambda: heard.extend([theirs.recv(), theirs.recv()]), daemon=True)
    heard: list[object] = []
    reader.start()
    until = time.monotonic() + 30
    while not ours.send_more():
        assert time.monotonic() < until
    reader.join(30)
    assert heard == [LARGE, "last"]
    assert ours.send_more()


def test_the_other_end_is_gone(pair: tuple[Pipe, Pipe]) -> None:
    ours, theirs = pair
    theirs.close()
    with pytest.raises(EOFError):
        ours.recv()
    with pytest.raises(BrokenPipeError):
        ours.send("x")
    with pytest.raises(BrokenPipeError):
        ours.send_soon("x")
