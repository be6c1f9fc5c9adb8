"""Trees of messages: every one is in a branch or counted, whatever answers what."""

import itertools
from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from dialogpt.data import shaping
from dialogpt.data.readers.chatlog import ChatLog
from dialogpt.data.readers.trees import branches, plant
from dialogpt.session import Session, Turn

FORESTS = st.dictionaries(st.sampled_from("abcdefgh"), st.sampled_from(["", *"abcdefghx"]), min_size=1)


def turn_of(message: str) -> Turn | None:
    """The turn of a message; b is left out, and e, which another says, has no words."""
    return None if message == "b" else Turn("", "B") if message == "e" else Turn(message, "A")


@given(FORESTS, st.sampled_from("abcdefghx"))
def test_every_message_is_in_the_branch_or_counted(parents: dict[str, str], leaf: str) -> None:
    asked: list[str] = []
    dropped: Counter[str] = Counter()

    def asking(message: str) -> Turn | None:
        asked.append(message)
        return turn_of(message)

    found = list(branches(plant(parents, leaf), asking, Session((), "t", "s"), dropped, replies=False))
    parts = [[turn.text for turn in session.turns] for session in found if isinstance(session, Session)]
    cut = asked.index("e") if "e" in asked else 0
    expected = [[message for message in some if message not in "be"] for some in (asked[:cut], asked[cut:])]
    assert parts == ([part for part in expected if part] or [[]])
    assert len(asked) + dropped["message of another branch"] == len(parents)
    for above, below in itertools.pairwise(asked):
        assert parents[below] == above


@given(FORESTS, st.sampled_from("abcdefghx"))
def test_every_message_is_learned_once_where_all_branches_are_read(parents: dict[str, str], leaf: str) -> None:
    dropped: Counter[str] = Counter()
    logs = list(branches(plant(parents, leaf), turn_of, Session((), "t", "s"), dropped, replies=True))
    learned = [
        turn.text
        for log in logs
        if isinstance(log, ChatLog)
        for session in shaping.by_replies(log, 0)
        for turn in session.turns
        if turn.learn
    ]
    assert len(learned) == len(set(learned))
    lost = len(parents) - len(learned) - sum(message in parents for message in "be")
    assert 0 <= lost <= dropped["message that answers itself"]


def test_the_chosen_branch_is_the_first() -> None:
    parents = {"a": "", "b": "a", "c": "a", "d": "b", "e": "c"}
    assert plant(parents, "d") == {"": ["a"], "a": ["b", "c"], "b": ["d"], "c": ["e"]}
    assert plant(parents, "gone") == {"": ["a"], "a": ["c", "b"], "b": ["d"], "c": ["e"]}
