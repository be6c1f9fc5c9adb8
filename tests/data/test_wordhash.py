"""Hashes of words and n-grams against the same made one text at a time."""

import re
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialogpt.data import wordhash
from dialogpt.data.wordhash import between_blanks, grams, letters, letters_and_digits, text_hashes, whole_hashes

TEXTS = [
    "",
    "One two  three",
    "  ",
    "Привет, как дела? Хорошо!",
    "three one two three",
    "😂",
    "مرحبا كيف حالك اليوم",
    "a b c d e f g",
]
any_texts = st.lists(st.one_of(st.sampled_from(TEXTS), st.text(max_size=12)), max_size=6)


def hashes_of(text: str, n: int = 1, kinds: wordhash.Kinds | None = None) -> list[int]:
    return grams([text], n, letters_and_digits() if kinds is None else kinds).hashes.tolist()


@given(any_texts, st.integers(1, 4))
def test_a_text_has_the_same_hashes_alone_and_among_others(texts: list[str], n: int) -> None:
    for kinds in (between_blanks(), letters_and_digits(), letters()):
        found = grams(texts, n, kinds)
        split = np.split(found.hashes, found.ends[:-1]) if texts else []
        assert [part.tolist() for part in split] == [hashes_of(text, n, kinds) for text in texts]
        assert found.counts.tolist() == [len(part) for part in split]


@given(any_texts, st.integers(1, 4))
def test_equal_n_grams_have_equal_hashes_and_others_do_not(texts: list[str], n: int) -> None:
    words = [re.findall(r"\S+", text.casefold()) for text in texts]
    expected = [tuple(found[i : i + n]) for found in words for i in range(len(found) - n + 1)]
    hashes = grams(texts, n, between_blanks()).hashes.tolist()
    assert len(hashes) == len(expected)
    assert len(set(zip(hashes, expected, strict=True))) == len(set(hashes)) == len(set(expected))


@given(st.lists(st.text(max_size=6), max_size=8))
def test_texts_and_lists_of_hashes(texts: list[str]) -> None:
    hashes = text_hashes(texts)
    assert len(set(hashes.tolist())) == len(set(texts))
    ends = np.array([0, len(texts) // 2, len(texts)])
    first, second, third = whole_hashes(hashes, ends).tolist()
    assert first == 0
    assert (second == third) == (texts[: ends[1]] == texts[ends[1] :])


@pytest.mark.parametrize(
    "one, other",
    [
        ("Don't STOP!", "dont... stop"),
        ("don’t", "don't"),
        ("snake_case", "snake case"),
        ("كُتِبَ الكتـــاب", "كتب الكتاب"),
        ("Straße ⚽️", "strasse"),
        ("私は猫です。", "私 は 猫 で す"),
        ("हिन्दी", "हिन्दी!"),
        ("42nd", "42ND"),
    ],
)
def test_spellings_that_are_one_to_letters_and_digits(one: str, other: str) -> None:
    assert hashes_of(one) == hashes_of(other) != []


@pytest.mark.parametrize("one, other", [("ab cd", "a bcd"), ("b a", "a b"), ("कि", "की"), ("猫犬", "犬猫"), ("1", "2")])
def test_words_that_differ(one: str, other: str) -> None:
    assert hashes_of(one) != hashes_of(other)


def test_digits_are_blanks_to_letters_alone() -> None:
    assert hashes_of("season 3 of 10, 2nd", 1, letters()) == hashes_of("season of nd", 1, letters())
    assert hashes_of("٣ ४ 5", 1, letters()) == []


def test_sums_per_text() -> None:
    found = grams(["a b a", "", "a"], 1, between_blanks())
    assert found.sums(found.hashes == found.hashes[0]).tolist() == [2, 0, 1]


def test_hashes_do_not_change() -> None:
    """Files of counts and keys are written by one machine and read by another."""
    texts = ["Hello there world", "سلام عليكم يا عالم"]
    script = (
        "from dialogpt.data.wordhash import *\n"
        f"texts = {texts!r}\n"
        "print(grams(texts, 3, between_blanks()).hashes.tolist(), text_hashes(texts).tolist())"
    )
    result = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == (
        "[963007516013019100, 17183747017248419565, 5425539943492067899] [4610077087309212783, 10907477851187441457]"
    )
