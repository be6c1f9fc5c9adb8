"""Texts of imessage-exporter."""

from typing import Any

import pytest

from dialogpt.errors import DataError

Read = Any
CHAT = """May 17, 2022  5:29:42 PM (Read by you after 1 hour, 49 seconds)
Ann
Hello!

    indented, and after an empty line
Tapbacks:
    Loved by Me
    May 17, 2022  5:30:42 PM
    Me
    صباح الخير

May 17, 2022  5:30:42 PM
Me
صباح الخير

This message responded to an earlier message.

May 17, 2022  5:31:00 PM
Ann
/Users/ann/Library/Messages/Attachments/ab/11/IMG 1.HEIC

May 17, 2022  5:32:00 PM
Ann

May 17, 2022  5:33:00 PM You renamed the conversation to Tea.

May  7, 2023 12:00:00 AM
Ann
/Users/ann/Library/Messages/Attachments/ab/11/IMG 1.HEIC
look

"""


def test_a_chat(read: Read) -> None:
    (session,), dropped = read(CHAT, file="Ann.txt")
    assert [(turn.speaker, turn.text) for turn in session.turns] == [
        ("Ann", "Hello!\n\n    indented, and after an empty line"), ("Me", "صباح الخير"), ("Ann", "look")
    ]  # fmt: skip
    first, second, last = (turn.time_s for turn in session.turns)
    assert (first, second - first, last) == (1_652_808_582, 60, 1_683_417_600)
    assert dropped == {"media": 1, "message without words": 1, "service message": 1}


@pytest.mark.parametrize(
    "content", ["Hello\n", "Foo 17, 2022  5:29:42 PM\nAnn\nHello\n", "May 17, 2022  5:29:42 PM x\n"]
)
def test_a_file_without_messages(read: Read, content: str) -> None:
    with pytest.raises(DataError, match="no messages"):
        read(content, "imessage")
