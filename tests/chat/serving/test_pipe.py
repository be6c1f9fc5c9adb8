"""Messages of any size, whole, both ways at once."""

import socket
import threading
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


def test_both_ends_may_send_at_once(pair: tuple[Pipe, Pipe]) -> None:
    ours, theirs = pair
    heard = []
    sender = threading.Thread(target=ours.send, args=[LARGE], daemon=True)  # it reads nothing meanwhile
    sender.start()
    answered = threading.Thread(
        target=theirs.send_and_hear, args=[LARGE + "!", lambda: heard.append(theirs.recv())], daemon=True
    )
    answered.start()
    sender.join(30)
    assert not sender.is_alive()
    assert ours.recv() == LARGE + "!"
    answered.join(30)
    assert heard == [LARGE]


def test_the_other_end_is_gone(pair: tuple[Pipe, Pipe]) -> None:
    ours, theirs = pair
    theirs.close()
    with pytest.raises(EOFError):
        ours.recv()
    with pytest.raises(BrokenPipeError):
        ours.send("x")
    with pytest.raises(EOFError):
        ours.send_and_hear("x", ours.recv)
