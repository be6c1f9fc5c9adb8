"""Lists of phrases and names, and what is found by them."""

import pickle
import time
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialogpt.data.blocklist import (
    OFFENSIVE_PHRASES,
    OFFENSIVE_SUBREDDITS,
    Blocklist,
    load_names,
    load_phrases,
    shipped,
)
from dialogpt.errors import DataError

LIST = Blocklist(
    ["darn", "Go away", "don't care", "ГАД", "ابن الكلب", "كَلْب", "馬鹿", "バカ", "ไอ้บ้า", "🖕", "straße", "go"]
)


@pytest.mark.parametrize(
    "text, phrase",
    [
        ("DARN it", "darn"),
        ("oh,darn!", "darn"),
        ("...darn", "darn"),
        ("please go - away", "go"),  # of two that begin together, the shorter one
        ("I don’t care", "don't care"),
        ("don't  care", "don't care"),
        ("ну ты и гад.", "ГАД"),
        ("يا ابن الكلـب", "ابن الكلب"),
        ("يا اِبْنُ الكَلْبِ!", "ابن الكلب"),
        ("هذا كلب", "كَلْب"),
        ("この馬鹿者め", "馬鹿"),
        ("お前バカか", "バカ"),
        ("เขาไอ้บ้าจริง", "ไอ้บ้า"),
        ("ok🖕🏽", "🖕"),
        ("die STRASSE", "straße"),
    ],
)
def test_a_phrase_is_found(text: str, phrase: str) -> None:
    assert LIST.find(text) == phrase


@pytest.mark.parametrize(
    "text",
    [
        "",
        "  ",
        "!?",
        "darned",
        "goaway",
        "away",
        "I don't",
        "гады",
        "الكلب",
        "馬と鹿",
        "🖖",
        "e\u0301",
        "going away now",
    ],
)
def test_a_phrase_is_not_found(text: str) -> None:
    assert LIST.find(text) is None


def test_longer_phrases_of_one_start_are_found() -> None:
    phrases = Blocklist(["a b", "a b c d", "a c d", "x"])
    assert [phrases.find(text) for text in ("a c d", "a b c", "a c", "b a c d", "a a b x")] == [
        "a c d", "a b", None, "a c d", "a b"]  # fmt: skip


words = st.sampled_from(["aa", "bb", "cc", "DD", "ß", "Жж"])


@given(st.lists(st.lists(words, min_size=1, max_size=3), max_size=5), st.lists(words, max_size=8))
def test_it_finds_what_a_search_through_all_phrases_finds(phrases: list[list[str]], text: list[str]) -> None:
    folded = [word.casefold() for word in text]
    there = any(
        folded[start : start + len(phrase)] == [word.casefold() for word in phrase]
        for phrase in phrases
        for start in range(len(text))
    )
    assert (Blocklist(" ".join(phrase) for phrase in phrases).find(" - ".join(text)) is not None) == there


@given(st.lists(st.lists(words, min_size=1, max_size=3), max_size=5), st.lists(words, max_size=8))
def test_places_are_where_a_phrases_words_stand(phrases: list[list[str]], text: list[str]) -> None:
    folded = [word.casefold() for word in text]
    expected = {
        (start, start + len(phrase))
        for phrase in phrases
        for start in range(len(text))
        if folded[start : start + len(phrase)] == [word.casefold() for word in phrase]
    }
    found = [*Blocklist(" ".join(phrase) for phrase in phrases).places(" - ".join(text))]
    assert [place[:2] for place in found] == sorted(expected)
    assert all(phrase.casefold().split() == folded[start:end] for start, end, phrase in found)


ARABIC = Blocklist(["شرموطة", "كلب", "ابن الكلب", "قتل نفسي", "لا أريد أن أعيش", "أنتحر", "مرة أخرى"])


@pytest.mark.parametrize(
    "text, phrase",
    [
        ("والشرموطة", "شرموطة"),
        ("للشرموطه", "شرموطة"),
        ("شرموووطة", "شرموطة"),
        ("شر\u200bموطة", "شرموطة"),
        ("".join(chr(code) for code in (0xFEB7, 0xFEAE, 0xFEE3, 0xFEEE, 0xFEC3, 0xFE94)), "شرموطة"),
        ("يا لابن الکلب", "ابن الكلب"),
        ("أفكر بقتل نفسى", "قتل نفسي"),
        ("تعبت ولا أريد أن أعيش", "لا أريد أن أعيش"),
        ("فأنتحر", "أنتحر"),
        ("مررررة أخرى", "مرة أخرى"),
        ("وكلب", None),  # of three letters too much else would be found: وزنا is زنا, and a weight
        ("كلا، أريد أن أعيش", None),  # "no, I want to live" is not "like I do not ..."
        ("انتحر", None),  # he did
        ("وانتحر", None),
        ("مررت أخرى", None),
        ("قتل ونفسي", None),
    ],
)
def test_arabic_is_found_in_the_ways_it_is_written(text: str, phrase: str | None) -> None:
    assert ARABIC.find(text) == phrase
    assert [found for _, _, found in ARABIC.places(text)] == ([phrase] if phrase else [])


@given(st.text())
def test_any_text_can_be_asked(text: str) -> None:
    assert Blocklist([]).find(text) is None
    LIST.find(text)


def test_it_travels_to_other_processes() -> None:
    copy = pickle.loads(pickle.dumps(LIST))
    assert (copy.find("この馬鹿"), copy.find("GO"), len(copy)) == ("馬鹿", "go", 12)


def test_the_time_does_not_grow_with_the_list() -> None:
    text = "well you know that is what i said to you and nobody listened at all"

    def seconds(phrases: int) -> float:
        made = Blocklist(f"you {number} times" for number in range(phrases))
        start = time.perf_counter()
        for _ in range(2000):
            assert made.find(text) is None
        return time.perf_counter() - start

    assert min(seconds(20_000) for _ in range(3)) < 5 * max(seconds(20) for _ in range(3))


def test_lists_have_comments_and_blank_lines(tmp_path: Path) -> None:
    file = tmp_path / "mine.txt"
    file.write_bytes("\ufeff# mine\r\n\r\n  Bad Word \r\n# no\nбес\nbad word\n".encode())
    phrases = load_phrases(file)
    assert (len(phrases), phrases.find("bad, word"), phrases.find("БЕС"), phrases.find("mine no")) == (
        2, "Bad Word", "бес", None)  # fmt: skip


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "the list is empty"),
        (b"# only\n\n", "the list is empty"),
        (b"ok\n\xe3\xe4\n", r"mine\.txt:2: not UTF-8"),
        (b"ok\n:-(\n", r"mine\.txt:2: no word in ':-\('"),
        ("ok\nـــ\n".encode(), r"mine\.txt:2: no word"),
        (b"[" * 100_000, r"mine\.txt:1: no word in '\[{60}' "),
    ],
)
def test_a_list_that_is_none_is_an_error(tmp_path: Path, content: bytes, reason: str) -> None:
    file = tmp_path / "mine.txt"
    file.write_bytes(content)
    with pytest.raises(DataError, match=reason):
        load_phrases(file)


def test_names_are_folded(tmp_path: Path) -> None:
    file = tmp_path / "names.txt"
    file.write_text("# x\nPics\n/r/AskReddit\nr/News\nR/pics\nrickandmorty\n", encoding="utf-8")
    assert load_names(file) == {"pics", "askreddit", "news", "rickandmorty"}
    file.write_text("pics\nnot a name\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"names\.txt:2: 'not a name'"):
        load_names(file)
    with pytest.raises(DataError, match="does not exist"):
        load_names(tmp_path / "none.txt")


def test_the_lists_that_ship() -> None:
    phrases = load_phrases(shipped(OFFENSIVE_PHRASES))
    assert 60 <= len(phrases) <= 120
    assert phrases.find("You should... kill yourself!") == "kill yourself"
    assert phrases.find("كُس أمك") is not None
    for innocent in ("Scunthorpe is nice", "a raccoon", "damn, what the hell", "العربية جميلة", "that's shit"):
        assert phrases.find(innocent) is None
    names = load_names(shipped(OFFENSIVE_SUBREDDITS))
    assert len(names) >= 30
    assert not names & {"askreddit", "pics", "news"}


def test_phrases_of_several_words_are_found_with_and_without_hamza() -> None:
    listed = Blocklist(["أريد أن أموت", "انهي حياتي", "أنتحر"])
    for text in ("اريد أن أموت", "أريد ان أموت", "واريد ان اموت", "إريد آن أموت"):
        assert listed.find(text) == "أريد أن أموت"
        assert [place[:2] for place in listed.places(text)] == [(0, 3)]
    assert listed.find("سوف أنهي حياتي") == "انهي حياتي"
    assert listed.find("سوف أنتحر") == "أنتحر"
    assert listed.find("انتحر في برلين") is None  # he did
    assert listed.find("اريد ان") is None
