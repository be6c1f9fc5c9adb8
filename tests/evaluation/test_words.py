"""Words as mteval and the authors' cleaner have them."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st
from nltk.tokenize import TweetTokenizer
from sacrebleu.tokenizers.tokenizer_13a import Tokenizer13a

from dialogpt.evaluation.words import blank_words, mteval_words, released_clean

MARKS = "aZ09 .,-!?'\":;()[]{}/@#$%^*+=_~`|\\>\t\n’…é"
TEXTS = st.text(st.sampled_from(MARKS) | st.characters(exclude_characters="&<", exclude_categories=["Cs"]), max_size=30)


@given(st.lists(TEXTS, max_size=5))
def test_mteval_words_are_sacrebleus_13a(texts: list[str]) -> None:
    tokenizer = Tokenizer13a()
    assert mteval_words(texts) == [tokenizer(text.lower()).split() for text in texts]


@pytest.mark.parametrize(
    "text, words",
    [
        ("", []),
        (" \t ", []),
        ("I don't know.", ["i", "don't", "know", "."]),
        ("1,000.5 is 1-2, ok", ["1,000.5", "is", "1", "-", "2", ",", "ok"]),
        ("R&B <3", ["r", "b", "3"]),  # & and < are blanks, for mteval reads XML
        ("&amp;", ["amp", ";"]),
        ("Привет, Мир!", ["привет", ",", "мир", "!"]),
        ("صباح الخير، كيف", ["صباح", "الخير،", "كيف"]),
        ("今日は。", ["今日は。"]),
        ("ok😀👍🏽", ["ok😀👍🏽"]),
        ("end-\nof line\nhere", ["endof", "line", "here"]),
    ],
)
def test_words_of_mteval(text: str, words: list[str]) -> None:
    assert mteval_words([text, text]) == [words, words]


def test_words_between_blanks_keep_their_case() -> None:
    assert blank_words(["So let em", "", " a  b\t"]) == [["So", "let", "em"], [], ["a", "b"]]


def authors_clean(text: str) -> str:
    """`clean_str` of the released dstc/tokenizers.py, step by step, on NLTK."""
    text = f" {text.lower()} "
    words = []
    for word in text.split():
        at = word.find("http")
        words.append((word[:at] + " __url__" if at >= 0 else word).strip())
    text = re.sub(r"\[([^\]]*)\] \( *__url__ *\)", r"\1", " ".join(words))
    text = re.sub("URL", "__url__", re.sub(r"[^A-Za-z0-9():,.!?\"\']", " ", re.sub("__url__", "URL", text)))
    text = " " + " ".join(TweetTokenizer(preserve_case=False).tokenize(text)) + " "
    text = text.replace(" won't ", " will n't ").replace(" can't ", " can n't ")
    for ending in ["'s", "'m", "'re", "n't", "'ll", "'ve", "'d", "'em"]:
        text = text.replace(ending + " ", " " + ending + " ")
    return re.sub(r"\s+", " ", text).strip()


@pytest.mark.parametrize(
    "text, cleaned",
    [
        (" I don't know:). how about this?https://github.com/x", "i do n't know :) . how about this ? __url__"),
        ("please try [ GitHub ] ( https://github.com )", "please try github"),
        ('he said "won\'t" and "can\'t!!!!!"', 'he said " will n\'t " and " can n\'t ! ! ! "'),
        ("see www.a.com :D (555) 123-4567 ....", None),
        ("it's they're I'd we'll I've give 'em", None),
        ('""""', '" " "'),
        ("", ""),
        ("صباح الخير", ""),
        ("Привет ok 😀", "ok"),
    ],
)
def test_cleaning_is_the_authors(text: str, cleaned: str | None) -> None:
    assert released_clean(text) == authors_clean(text)
    assert cleaned is None or released_clean(text) == cleaned


LETTERS = ["I'm", "won't", "http://a.b/c", "[x]", "'em", "a.com", "URL", "__url__", "é", "don't.", "'s", "x'd", "D:"]
SIGNS = ["(", ")", '"', ":", ":)", "no!!!!!", ". . .", "...", "1,000", "8)", "😀", "(555) 123-4567", "!!!!", "=)"]


@given(st.lists(st.sampled_from(LETTERS + SIGNS), max_size=8), st.sampled_from([" ", ""]))
def test_cleaning_is_the_authors_for_any_words(words: list[str], between: str) -> None:
    text = between.join(words)
    assert released_clean(text) == authors_clean(text)
