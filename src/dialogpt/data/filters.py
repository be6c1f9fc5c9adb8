"""Why a post or a path is not used: pure functions `-> str | None`, the reason or None, in an ordered dict.

Post filters see the cleaned text, path filters the posts from the first turn to the leaf. The paper's filters (section
3.1) that need no word list are here; options are bound with functools.partial.
"""

import re
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import TypeVar

from dialogpt.data.reddit import Post

T = TypeVar("T")
PostFilter = Callable[[str], str | None]
PathFilter = Callable[[Sequence[Post]], str | None]

_URL = re.compile(
    r"https?:/|\bftp://|\bwww\.[a-z0-9]"
    r"|[a-z0-9-]\.(?:com|org|net|edu|gov|info|io|co|be|ly|gd|gl|it|me|tv|uk|de|fr|nl|eu|ca|au|jp|ru)/[^\s,.)]",
    re.IGNORECASE,
)
_MARKS = re.compile(r"[\[\]*~_`|&<]")  # a single class is ten times as fast to search as the next pattern
_MARKERS = re.compile(r"[\[\]]|\*\*|~~|(?<!_)__[^\W_]|```|\|.*\|.*\||&\w+;|</[a-z]+>|<br")
# Scripts written without blanks between words: Thai to Khmer, kana, Han.
UNSPACED = re.compile(
    "[\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u31f0-\u31ff"
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff]"
)

_BITS = bytes(ord("0" if chr(code).isspace() else "1") for code in range(128)).ljust(256)  # of ASCII


def post_filters(min_words: int, max_words: int) -> dict[str, PostFilter]:
    """The filters of a single post's text, in the order they are applied."""
    return {
        "url": has_url,
        "markers": has_markers,
        "few words": partial(too_few_words, least=min_words),
        "many words": partial(too_many_words, most=max_words),
    }


def path_filters(min_turns: int, min_score: int, max_session_words: int) -> dict[str, PathFilter]:
    """The filters of a path of posts, in the order they are applied."""
    return {
        "few turns": partial(too_few_turns, least=min_turns),
        "low score": partial(low_score, least=min_score),
        "many words": partial(session_too_long, most=max_session_words),
        "repeated word": repeated_word,
    }


def first_reason(item: T, filters: Mapping[str, Callable[[T], str | None]]) -> str | None:
    """The first filter's reason against the item, or None when it passes all."""
    for reject in filters.values():
        if reason := reject(item):
            return reason
    return None


def count_words(text: str) -> int:
    """Words divided by blanks; in scripts written without blanks, two characters count as a word (rounded up).

    Two is near the mean length of a Japanese or Chinese word; a Thai one has about four, so Thai counts high.
    """
    if text.isascii():
        return len(text.split())
    spaced, characters = UNSPACED.subn(" ", text)
    return len(spaced.split()) + (characters + 1) // 2


def words_up_to(text: str, most: int) -> int:
    """Words divided by white space: their number, when that is `most` or less, else any number above `most`.

    Splitting makes an object of each word; making a number with a bit for each letter takes two thirds of the time.
    """
    if text.isascii():  # other characters may be white space
        # Few texts of `most` words are longer. A word begins at a letter that no letter stands before.
        letters = int(text[: 8 * most].encode().translate(_BITS) or b"0", 2)
        words = (letters & ~(letters >> 1)).bit_count()
        if words > most or len(text) <= 8 * most:
            return words
    return len(text.split(None, most))


def has_url(text: str) -> str | None:
    """Reject a visible address; markdown links have already become their plain text."""
    return "url" if ("/" in text or "www." in text.lower()) and _URL.search(text) else None


def has_markers(text: str) -> str | None:
    """Reject text with brackets (the paper's rule), or marks that cleaning could not remove."""
    return "special markers" if _MARKS.search(text) and _MARKERS.search(text) else None


def too_few_words(text: str, least: int) -> str | None:
    return "too few words" if count_words(text) < least else None


def too_many_words(text: str, most: int) -> str | None:
    # Shorter than two characters a word in all: no need to count.
    return "too many words" if len(text) > 2 * most - 1 and count_words(text) > most else None


def too_few_turns(path: Sequence[Post], least: int) -> str | None:
    return "too few turns" if len(path) < least else None


def session_too_long(path: Sequence[Post], most: int) -> str | None:
    """Reject a path of more words than `most`; 0 is no limit."""
    return "too many words" if most and sum(count_words(post.text) for post in path) > most else None


def low_score(path: Sequence[Post], least: int) -> str | None:
    return "low score" if path[-1].score < least else None


def repeated_word(path: Sequence[Post]) -> str | None:
    """Reject a response with the same word three times in a row, in any case."""
    return "repeated word" if repeats(path[-1].text.casefold().split()) else None


def repeats(words: Sequence[str]) -> bool:
    """Is there a word three times in a row?"""
    if len(set(words)) > len(words) - 2:  # quickly told
        return False
    return any(a == b == c for a, b, c in zip(words, words[1:], words[2:], strict=False))
