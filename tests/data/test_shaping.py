"""From conversations to sessions: silences, reply trees, merging, windows."""

from collections import Counter

from hypothesis import given
from hypothesis import strategies as st

from dialogpt.data import shaping
from dialogpt.data.readers.chatlog import ChatLog, ChatTurn
from dialogpt.session import Session, Turn


def log(*turns: tuple[float | None, str]) -> ChatLog:
    """A chat of turns (minute, reply link), with their places as ids and texts."""
    found = [
        ChatTurn(str(i), "AB"[i % 2], time_s=None if minute is None else 60 * minute, id=str(i), reply_to=link)
        for i, (minute, link) in enumerate(turns)
    ]
    return ChatLog(iter(found), "chat", "source")


def shown(sessions: object) -> list[tuple[str, str]]:
    """Id and texts of sessions; a turn without loss stands in brackets."""
    assert hasattr(sessions, "__iter__")
    return [(s.id, " ".join(t.text if t.learn else f"({t.text})" for t in s.turns)) for s in sessions]


def test_a_silence_begins_a_new_conversation() -> None:
    minutes = [0, 1, 61, 121.5, 122, 100, 160, None, 500, 501]
    turns = [(minute, "") for minute in minutes]
    hour = [("chat/0", "0 1 2"), ("chat/1", "3 4 5 6 7 8 9")]  # back in time or without a time: no silence
    assert shown(shaping.by_silence(log(*turns), 3600)) == hour
    assert shown(shaping.by_silence(log(*turns), 0)) == [("chat/0", "0 1 2 3 4 5 6 7 8 9")]
    assert shown(shaping.by_silence(log(), 3600)) == []


def test_replies_make_paths_and_each_turn_is_learned_once() -> None:
    turns = [(0, ""), (1, ""), (2, "0"), (3, ""), (4, "2"), (99, "1"), (300, ""), (301, "5"), (302, "6")]
    assert shown(shaping.by_replies(log(*turns), 3600)) == [
        ("chat/0#3", "0 2 3"),
        ("chat/0#4", "(0) (2) 4"),
        ("chat/0#7", "(0) 1 5 7"),
        ("chat/6#8", "6 8"),
    ]


def test_a_link_to_nowhere_or_to_a_later_turn_is_no_link() -> None:
    assert shown(shaping.by_replies(log((0, "99"), (1, "2"), (2, "2"), (3, "gone")), 0)) == [("chat/0#3", "0 1 2 3")]


def test_a_path_begins_with_few_turns_of_earlier_ones() -> None:
    chain = [(i, "") for i in range(50)]
    first, second = shaping.by_replies(log(*chain, (50, "40")), 0)
    assert len(first.turns) == 50
    assert [turn.text for turn in second.turns] == [*(str(i) for i in range(31, 41)), "50"]


@given(st.lists(st.tuples(st.integers(0, 300), st.integers(0, 40))), st.sampled_from([0, 60, 3600]))
def test_every_turn_is_learned_in_one_session(turns: list[tuple[int, int]], gap_s: float) -> None:
    for split in (shaping.by_silence, shaping.by_replies):
        sessions = list(split(log(*((minute, str(link)) for minute, link in turns)), gap_s))
        learned = Counter(turn.text for session in sessions for turn in session.turns if turn.learn)
        assert learned == Counter(str(i) for i in range(len(turns)))
        assert len({session.id for session in sessions}) == len(sessions)
        assert all(session.turns[-1].learn for session in sessions)


def test_merge_joins_the_turns_of_one_named_speaker() -> None:
    turns = [Turn("a", "A"), Turn("b", "A"), Turn("c", "B"), Turn("d", "B", learn=False), Turn("e"), Turn("f")]
    expected = [Turn("a b", "A"), Turn("c", "B"), Turn("d", "B", learn=False), Turn("e"), Turn("f")]
    assert shaping.merge(turns) == expected
    assert shaping.merge([]) == []


def test_clean_tidies_texts_and_names() -> None:
    dropped: Counter[str] = Counter()
    same = Turn("as it is", "A")
    turns = [same, ChatTurn(" أهلا\u200f\n", "ليلى\u200e", time_s=1.0), Turn("\u200e", "B"), Turn("\x07", "B")]
    found = shaping.clean(turns, dropped)
    assert found == [same, Turn("أهلا", "ليلى")]
    assert found[0] is same
    assert dropped == {"empty turn": 2}


def test_windows_teach_their_last_turn() -> None:
    turns = tuple(Turn(str(i), "AB"[i % 2], learn=i % 2 == 0) for i in range(7))
    dropped: Counter[str] = Counter()
    found = list(shaping.windows(Session(turns, id="x", source="s"), 3, dropped))
    assert shown(found) == [("x#2", "(0) (1) 2"), ("x#4", "(1) (2) (3) 4"), ("x#6", "(3) (4) (5) 6")]
    assert {session.source for session in found} == {"s"}
    assert dropped == {"turn without context": 1}


@given(st.lists(st.booleans(), min_size=1, max_size=12), st.integers(1, 14))
def test_each_learnable_turn_but_the_first_has_one_window(learn: list[bool], width: int) -> None:
    session = Session(tuple(Turn(str(i), learn=value) for i, value in enumerate(learn)), id="x")
    dropped: Counter[str] = Counter()
    found = list(shaping.windows(session, width, dropped))
    assert [int(s.turns[-1].text) for s in found] == [i for i, value in enumerate(learn) if value and i > 0]
    assert dropped.total() == learn[0]
    for window in found:
        texts = [int(turn.text) for turn in window.turns]
        assert texts == list(range(texts[-1] - len(texts) + 1, texts[-1] + 1))
        assert len(texts) == min(width, texts[-1]) + 1
        assert [turn.learn for turn in window.turns] == [False] * (len(texts) - 1) + [True]
