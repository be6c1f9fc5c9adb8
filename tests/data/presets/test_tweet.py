"""The released extractor's tokens: equal to those of NLTK's TweetTokenizer on every text that can come."""

from functools import cache
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialogpt.data.presets.tweet import tweet_words

ALPHABET = "abdopxzADOPZ0123489()[]:,.!?'“” _"
# What the patterns are about stands close together in the first kind of text, and in nearly none of the second.
PIECES = st.sampled_from(
    [
        *("8", ":", "8)", "(8", ":'(", "d:", "p8", "555", "1234", "(555) ", "1", "0 ", ".", " . ", "...", "com"),
        *("reddit.com", "a.b.c", "x9.io", "1.5", "10:30", "1,000", "'", "''", "don't", "rock'n'roll", "dogs'"),
        *("!!!!", "????", ",,,,", "((((", "[", "]", "“", "”", "““““"),
        *("__mention__", "__url__", "_", "a__url__", " ", "  ", "Hi", "the"),
    ]
)
TEXTS = st.one_of(st.lists(PIECES, max_size=8).map("".join), st.text(ALPHABET, max_size=40))


@cache
def tokenizer() -> Any:
    casual = pytest.importorskip("nltk.tokenize.casual", reason="needs nltk, of the extra `test`")
    return casual.TweetTokenizer(preserve_case=True)


def joined(words: list[str]) -> str:
    """As the released script joins them, which takes the blanks of an ellipsis for those between words."""
    return " ".join(" ".join(words).split())


@settings(max_examples=1500)
@given(TEXTS)
def test_the_words_are_nltks(text: str) -> None:
    assert joined(tweet_words(text)) == joined(tokenizer().tokenize(text))


@pytest.mark.parametrize(
    "text, words",
    [
        ("", ""),
        ("   ", ""),
        ("Hello, world! How are you?", "Hello , world ! How are you ?"),
        ("don't rock'n'roll dogs' 'quoted'", "don't rock'n'roll dogs ' ' quoted '"),
        ("I'm I'd o' it's.", "I'm I'd o ' it's ."),
        ("“so he said”", "“ so he said ”"),
        # 8 may be a pair of eyes
        ("8) (8 8p at 8:30 or 18:30", "8) (8 8p at 8: 30 or 18:30"),
        (":) :'( (: d: :D", ":) :'( (: d: :D"),
        # phone numbers, and what looks like one
        ("call 555 1234 or (212) 555.1234", "call 555 1234 or (212) 555.1234"),
        ("1 800 555 1234", "1 800 555 1234"),
        ("in 20152016 of 12345678901", "in 2015201 6 of 12345678901"),
        ("2015 and 1234567", "2015 and 1234567"),
        # numbers
        ("1,000,000 3.14 10:30 5.", "1,000 , 000 3.14 10:30 5 ."),
        # bare domains, which a missing blank makes of two sentences
        ("reddit.com en.wikipedia.org", "reddit.com en.wikipedia.org"),
        ("done.Now e.g. i.e. u.s.a", "done.Now e . g . i . e . u . s . a"),
        ("a.b a.bc 1.ab x.y9", "a . b a.bc 1.ab x . y9"),
        ("x.abcdefghijklm x.abcdefghijklmn", "x.abcdefghijklm x . abcdefghijklmn"),
        # ellipses, with and without blanks; a mark more than three times is three times
        ("well... . . .  ok. .", "well ... . . . ok . ."),
        ("no!!!!!! what????? so,,,,,", "no ! ! ! what ? ? ? so , , ,"),
        ("((((x))))", "( ( ( x ) ) )"),
        ("a!!! b!! c", "a ! ! ! b ! ! c"),
        ("__mention__ a_b _ __", "__mention__ a_b _ __"),
    ],
)
def test_golden_words(text: str, words: str) -> None:
    assert joined(tweet_words(text)) == words
    assert joined(tokenizer().tokenize(text)) == words


@pytest.mark.parametrize("piece", ["1", "a.1", "a.", "000 . ) ", "a'", "_'", "1 ", ". ", "8)", "(((( ", "1,"])
def test_ten_thousand_of_anything_are_no_trouble(piece: str) -> None:
    words = tweet_words(piece * 10_000)
    assert "".join("".join(words).split())[:3] == (piece * 3).replace(" ", "")[:3]
