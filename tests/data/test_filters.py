"""Filters: each one's reason, and what it lets pass."""

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from dialogpt.data import filters
from dialogpt.data.filters import (
    count_words,
    first_reason,
    has_markers,
    has_url,
    path_filters,
    post_filters,
    words_up_to,
)
from dialogpt.data.reddit import Post


def post(text: str, score: int = 1) -> Post:
    return Post("t1_1", "t3_1", "t3_1", "a", text, score, "s", 0)


@pytest.mark.parametrize(
    "text",
    ["see http://a.b", "HTTPS://X.Y/z", "www.site.org", "try youtu.be/abc", "at imgur.com/a1b2", "(ftp://files.x)"],
)
def test_urls_are_found(text: str) -> None:
    assert has_url(text) == "url"


@pytest.mark.parametrize("text", ["and/or", "r/books", "1/2", "Amazon.com is big", "end.Then/now", "awww. So", "w.w.w"])
def test_what_is_no_url(text: str) -> None:
    assert has_url(text) is None


@pytest.mark.parametrize("text", ["[citation needed]", "a ] b", "**a", "~~x", "|a|b|", "&nbsp;", "x</b>", "__init"])
def test_special_markers_are_found(text: str) -> None:
    assert has_markers(text) == "special markers"


@pytest.mark.parametrize("text", ["(aside)", "2 * 3", "~5", "a | b", "<3", "*sigh", "5 _____ 6", "¯\\_(ツ)_/¯"])
def test_what_is_no_special_marker(text: str) -> None:
    assert has_markers(text) is None


@pytest.mark.parametrize(
    "text, words",
    [
        ("", 0),
        ("one two  three", 3),
        ("私も好きです。", 4),  # six characters of kana and kanji make three words; the full stop stands alone
        ("こんにちは world", 4),
        ("Привет, как дела?", 3),
        ("كيف حالك؟", 2),
        ("안녕하세요 여러분", 2),
        ("สวัสดีครับ", 5),
        ("🍜🍜", 1),
    ],
)
def test_words_are_counted_in_every_script(text: str, words: int) -> None:
    assert count_words(text) == words


def test_post_filters_in_order() -> None:
    of = post_filters(min_words=2, max_words=4)
    assert list(of) == ["url", "markers", "few words", "many words"]
    assert first_reason("one two three four", of) is None
    assert first_reason("one", of) == "too few words"
    assert first_reason("one two three four five", of) == "too many words"
    assert first_reason("a b c d e", of) == "too many words"
    assert first_reason("http://a.b [", of) == "url"


def test_word_limits_are_exact() -> None:
    for most in range(1, 30):
        assert filters.too_many_words("a " * most, most) is None
        assert filters.too_many_words("a " * (most + 1), most) == "too many words"
        assert filters.too_many_words("本" * 2 * most, most) is None
        assert filters.too_many_words("本" * (2 * most + 1), most) == "too many words"


def test_path_filters() -> None:
    of = path_filters(min_turns=2, min_score=1, max_session_words=4)
    assert first_reason([post("a"), post("b")], of) is None
    assert first_reason([post("a b"), post("c d")], of) is None
    assert first_reason([post("a b"), post("c d e")], of) == "too many words"
    assert first_reason([post("a")], of) == "too few turns"
    assert first_reason([post("a"), post("b", score=0)], of) == "low score"
    assert first_reason([post("a", score=-5), post("b")], of) is None
    assert first_reason([post("a"), post("no No NO")], of) == "repeated word"
    assert first_reason([post("no no no"), post("yes")], of) is None


@example("\x85 a", 1)  # white space that takes two bytes, which are no word
@given(
    st.lists(
        st.sampled_from(["a", "word", "é", "おはよう", " ", "  ", "\n", "\t", "\x1c", "\x85", "\u3000", "x" * 300])
    ).map("".join),
    st.integers(1, 12),
)
def test_words_are_counted_as_far_as_it_matters(text: str, most: int) -> None:
    words, found = len(text.split()), words_up_to(text, most)
    assert found == words if words <= most else found > most
