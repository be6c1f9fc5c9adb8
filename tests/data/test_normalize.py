"""Cleaning: marks go, words stay, in every script."""

import time
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialogpt.data.normalize import clean

GOLDEN = {
    # entities: escaped once by the dump, once more by the writer
    "Tom &amp; Jerry &lt;3": "Tom & Jerry <3",
    "&amp;#3232;_&amp;#3232;": "ಠ_ಠ",
    "a&amp;nbsp;b &amp;#x200B; c": "a b c",
    "rock&amp;roll, AT&not T": "rock&roll, AT&not T",
    # marks
    "[this article](http://a.b/c_(d)?e=1 \"title\") says": "this article says",
    "see [the [old] one](/r/x)!": "see the [old] one!",
    "I **really** mean *it*, __yes__ and _yes_.": "I really mean it, yes and yes.",
    "**bold and *it* in it**": "bold and it in it",
    "***both***": "both",
    "~~wrong~~ right": "wrong right",
    "*so* \U000f0041": "so",  # an icon of some fonts, where escaped characters wait
    "use `print` here": "use print here",
    "># hm": "",
    ">!the butler!< did it": "the butler did it",
    "^this ^is ^tiny and ^(so is this)": "this is tiny and so is this",
    # what looks like a mark and is none
    "2 * 3 * 4 = 24": "2 * 3 * 4 = 24",
    "10^80 atoms": "10^80 atoms",
    "snake_case_name": "snake_case_name",
    "f*ck that sh*t": "f*ck that sh*t",
    "*Matrix": "*Matrix",
    ">:( and >.< and -_- and ^_^": ">:( and >.< and -_- and ^_^",
    "-_- no -_-": "-_- no -_-",
    "#hashtag": "#hashtag",
    "I'm #1": "I'm #1",
    "-5 degrees": "-5 degrees",
    r"\*cough\*": "*cough*",
    r"\&gt;sub": ">sub",
    r"¯\\\_(ツ)\_/¯": r"¯\_(ツ)_/¯",
    r"¯\_(ツ)_/¯": r"¯\_(ツ)_/¯",
    # blocks
    "&gt; you said\n\nno I did not": "no I did not",
    "yes\n\n&gt;so\n&gt;so\n\nno": "yes no",
    "# Title\n\ntext\n\n* one\n* two\n- three": "Title text one two three",
    "##TOM": "TOM",
    "a\n\n---\n\nb\n***\nc": "a b c",
    "before\n\n```\nx = [1]\n```\nafter": "before after",
    "before\n\n    x = [1]\n    y = 2\n\nafter": "before after",
    "fine.\n\nEDIT: thanks for the gold!": "fine.",
    "fine.\n\n*Edit 2*: a word\n\nmore": "fine.",
    "Edit: I was wrong": "Edit: I was wrong",
    "I edit: videos": "I edit: videos",
    # white space and junk
    "  a\r\n\tb\u00a0c\u3000d\n": "a b c d",
    "a\u200bb\ufeff\x00\x1bc\u202ed\xad": "abcd",
    "cafe\u0301": "café",
    "": "",
    " \n\t ": "",
}  # fmt: skip


@pytest.mark.parametrize("raw", GOLDEN)
def test_golden(raw: str) -> None:
    assert clean(raw) == GOLDEN[raw]


@pytest.mark.parametrize(
    "text",
    [
        "مرحبًا، كيف حالك؟ هل قرأتَ «موسم الهجرة»؟",
        "می\u200cخواهم",  # Persian needs the zero-width non-joiner
        "Привет! Как дела — хорошо?",
        "最近読んだ本で、一番好きなのは?「こころ」です。",
        "👩\u200d👩\u200d👧 and 🏳️\u200d🌈 and 👍🏽 ❤️",
        "हिन्दी में क्\u200dष",
        "( ͡° ͜ʖ ͡°)",
        "it's 5 o'clock — “quoted”, (in brackets)…",
    ],
)
def test_every_script_survives(text: str) -> None:
    assert clean(text) == unicodedata.normalize("NFC", text) == text


@given(st.text(max_size=300))
def test_the_result_is_one_clean_line(text: str) -> None:
    result = clean(text)
    assert result == " ".join(result.split())
    assert unicodedata.is_normalized("NFC", result)
    assert not any(unicodedata.category(c) == "Cc" for c in result)


@given(st.text(alphabet="ab *_~`^>#-[]()\\&;\n\t|!.", max_size=200))
def test_marks_never_invent_words(text: str) -> None:
    letters = [c for c in clean(text) if c in "ab"]
    rest = iter(c for c in text if c in "ab")
    assert all(c in rest for c in letters)  # a subsequence


@given(st.lists(st.from_regex(r"[a-zа-яء-ي]{1,8}", fullmatch=True).filter(lambda w: w != "edit"), max_size=30))
def test_plain_words_stay_as_they_are(words: list[str]) -> None:
    assert clean(" ".join(words)) == unicodedata.normalize("NFC", " ".join(words))


@pytest.mark.parametrize(
    "mark",
    [
        "*",
        "_",
        "**a ",
        "[",
        "[[",
        "](",
        "~~",
        "`",
        "^(",
        "> ",
        "    \n\n",
        "\\",
        "- - ",
        "|-",
        "-|",
        "&#",
        "* a",
        "*a ",
        ">!a",
        "__a ",
    ],
)
def test_cleaning_is_linear_in_marks(mark: str) -> None:
    started = time.perf_counter()
    for end in ("", "x"):
        clean(mark * (10_000 // len(mark)) + end)  # Reddit's limit is 10,000 characters
    assert time.perf_counter() - started < 1.0
