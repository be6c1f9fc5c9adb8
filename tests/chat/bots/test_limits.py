"""How much is answered and said: hand-computed cases, and properties of the cutting."""

import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from dialogpt.chat.bots.limits import RateLimit, cut
from dialogpt.chat.bots.words import ARABIC, ENGLISH, command_in, words_for


def test_so_many_in_any_minute() -> None:
    now = [0.0]
    limit = RateLimit(2, lambda: now[0])
    admitted = []
    for now[0] in (0, 10, 20, 59, 60, 61, 70, 71):
        admitted.append(limit.admits("ann"))
    assert admitted == [True, True, False, False, True, False, True, False]
    assert limit.admits("bo")


def test_the_refusal_is_said_once_a_minute() -> None:
    now = [0.0]
    limit = RateLimit(1, lambda: now[0])
    said = []
    for now[0] in (0, 1, 2, 59, 61, 62):
        if not limit.admits("ann"):
            said.append((now[0], limit.refuses_aloud("ann")))
    assert said == [(1, True), (2, False), (59, False), (62, True)]


def test_who_is_quiet_is_forgotten() -> None:
    now = [0.0]
    limit = RateLimit(1, lambda: now[0])
    for number in range(1000):
        now[0] += 1
        limit.admits(str(number))
    assert len(limit) == 60


def test_no_limit() -> None:
    limit = RateLimit(0)
    assert all(limit.admits("ann") for _ in range(1000))


@given(st.text(st.characters(exclude_categories=["Cs"])), st.integers(2, 30))
def test_nothing_but_blanks_is_lost_by_cutting(text: str, most: int) -> None:
    pieces = list(cut(text, most))
    assert "".join("".join(pieces).split()) == "".join(text.split())
    assert all(0 < len(piece.encode("utf-16-le")) // 2 <= most for piece in pieces)


def test_it_is_cut_between_words_where_there_are_any() -> None:
    assert list(cut("one two three", 7)) == ["one two", "three"]
    assert list(cut("abcdefghij", 4)) == ["abcd", "efgh", "ij"]
    assert list(cut("😀😀😀", 4)) == ["😀😀", "😀"]


def test_what_is_read_as_one_character_is_not_cut() -> None:
    family = "👨\u200d👩\u200d👧"
    assert list(cut("ab" + family, 9)) == ["ab", family]
    marked = "سلا" + "مٌ"
    (first, second) = cut(marked, 4)
    assert (first, second) == ("سلا", "مٌ")
    assert not unicodedata.combining(second[0])


def test_the_language_of_the_words() -> None:
    assert words_for("ar-EG", "hello") is ARABIC
    assert words_for("", "أهلا hi") is ARABIC
    assert words_for("en", "hello أ") is ENGLISH
    assert words_for("", "😀") is ENGLISH
    assert ARABIC.about.keys() == ENGLISH.about.keys()


def test_what_is_a_command() -> None:
    assert [command_in(text) for text in ("/reset", "/Reset now", "/a.b", "reset", "/")] == [
        "reset", "reset", None, None, None,
    ]  # fmt: skip
