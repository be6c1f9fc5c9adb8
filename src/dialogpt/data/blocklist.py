"""Lists of offensive phrases and of subreddits: text files -> a search for listed phrases in turns.

A list has one phrase per line; blank lines and lines that begin with `#` are ignored. A phrase in a script written
with blanks is matched as whole words in any case, whatever punctuation or white space is between them. Arabic is
compared without vowel signs, tatweel and lengthened letters, in one form of its letters, and with what is written
joined to a phrase's first word (and, for, the); phrases of several words without hamza, too, but not a single one: "I
kill myself" (أنتحر) without it is "he killed himself". A phrase in a script written without blanks, or an emoji, is
matched anywhere. The time per text does not grow with the list: only phrases that begin with one of its words
are looked up.
"""

import re
import unicodedata
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec

from dialogpt.data.filters import UNSPACED
from dialogpt.data.normalize import ARABIC_HAMZA, ARABIC_LETTER, ARABIC_LETTERS, ARABIC_SIGNS
from dialogpt.errors import DataError
from dialogpt.files import decode_text, read_lines
from dialogpt.session import Turn

LISTS = Path(__file__).parent / "lists"
OFFENSIVE_PHRASES = "offensive_phrases.txt"
OFFENSIVE_SUBREDDITS = "offensive_subreddits.txt"
DISTRESS_PHRASES = "distress_phrases.txt"
HARMLESS_PHRASES = "harmless_phrases.txt"

_WORD = re.compile(r"\w+")
# ASCII other than `\w` becomes a blank: translating and splitting is three times as fast as searching for words.
_BLANKS = "".join(chr(code) if _WORD.match(chr(code)) else " " for code in range(128))
# Arabic signs; the variation selector and joiner that make emoji of one look differ; unseen blanks.
_OPTIONAL = re.compile(f"[\xad{ARABIC_SIGNS}\u200b-\u200d\u2060\ufe0f]")
_LENGTHENED = re.compile(f"({ARABIC_LETTER.pattern})\\1{{2,}}")
_HAMZA = re.compile(f"[{''.join(map(chr, ARABIC_HAMZA))}]")
_ARTICLES = ("ال", "بال", "كال", "لل", "ب", "ل", "ك")  # the, in the, like the, for the; in, for, like
_JOINED = (*"وف", *_ARTICLES, *(conjunction + article for conjunction in "وف" for article in _ARTICLES))


class Blocklist:
    """Phrases to be found in texts; may be pickled. Raises ValueError for a phrase with neither word nor symbol."""

    def __init__(self, phrases: Iterable[str]) -> None:
        self._words: dict[tuple[str, ...], str] = {}  # a phrase's words (`_key`) -> the phrase as it is listed
        self._parts: dict[str, str] = {}  # the same for phrases that are matched anywhere
        for phrase in phrases:
            folded = _fold(phrase.strip())
            words = tuple(_words(folded))
            if words and not UNSPACED.search(folded):
                self._words.setdefault(_key(words), phrase)
            elif folded and not folded.isascii():
                self._parts.setdefault(folded, phrase)
            else:
                raise ValueError(f"no word in {phrase!r}")
        self._size = len(self._words) + len(self._parts)
        for words, phrase in list(self._words.items()):
            for joined in _joined(words):
                self._words.setdefault(_key(joined), phrase)
        self._word_lengths = _lengths_by_start(map(_bare, self._words))
        self._part_lengths = _lengths_by_start(self._parts)

    def __len__(self) -> int:
        return self._size

    def find(self, text: str) -> str | None:
        """A listed phrase that the text holds, as it is listed, or None.

        Of several it is the one that begins first, then the shortest; those that are matched anywhere come last.
        """
        folded = _fold(text)
        words = _words(folded)
        bare = words if folded.isascii() else _bare(words)
        if not self._word_lengths.keys().isdisjoint(bare):
            for start, first in enumerate(bare):
                for length in self._word_lengths.get(first, ()):
                    found = tuple(bare[start : start + length]) if length > 1 else (words[start],)
                    if phrase := self._words.get(found):
                        return phrase
        if self._part_lengths and not folded.isascii():
            for start, character in enumerate(folded):
                for length in self._part_lengths.get(character, ()):
                    if phrase := self._parts.get(folded[start : start + length]):
                        return phrase
        return None

    def places(self, text: str) -> Iterator[tuple[int, int, str]]:
        """Where listed phrases of words are: first word, word after the last, and the phrase as listed."""
        words = _words(_fold(text))
        bare = _bare(words)
        for start, first in enumerate(bare):
            for length in self._word_lengths.get(first, ()):
                found = tuple(bare[start : start + length]) if length > 1 else (words[start],)
                if len(found) == length and (phrase := self._words.get(found)):
                    yield start, start + length, phrase


def mark(turns: Sequence[Turn], phrases: Blocklist) -> tuple[tuple[Turn, ...], int]:
    """The turns, without loss for those with a listed phrase; and how many these are."""
    listed = [phrases.find(turn.text) is not None for turn in turns]
    marked = (
        msgspec.structs.replace(turn, learn=False) if found else turn for turn, found in zip(turns, listed, strict=True)
    )
    return tuple(marked), sum(listed)


def load_phrases(path: Path) -> Blocklist:
    """Read a list of phrases; DataError with file and line for an invalid phrase, and for an empty list."""
    phrases = []
    for number, phrase in _entries(path):
        folded = _fold(phrase)
        if folded.isascii() and not _WORD.search(folded):
            raise DataError(
                f"{path}:{number}: no word in {phrase[:60]!r}", "a line is a phrase; a comment begins with #"
            )
        phrases.append(phrase)
    return Blocklist(phrases)


def load_names(path: Path) -> frozenset[str]:
    """Read a list of subreddits, casefolded, without their `r/`; DataError for a line with blanks and an empty list."""
    names = set()
    for number, name in _entries(path):
        bare = name.casefold().removeprefix("/").removeprefix("r/").rstrip("/")
        if not bare or len(name.split()) > 1:
            raise DataError(
                f"{path}:{number}: {name[:60]!r} is not a subreddit's name", "a line is one name: r/pics or pics"
            )
        names.add(bare)
    return frozenset(names)


def shipped(name: str) -> Path:
    """The path of a list that comes with the package: OFFENSIVE_PHRASES, say."""
    return LISTS / name


def _entries(path: Path) -> Iterator[tuple[int, str]]:
    """The lines that are entries, with their numbers; DataError after the last one when there was none."""
    found = False
    for number, line in enumerate(read_lines(path), 1):
        entry = decode_text(line, path, number).strip()
        if entry and not entry.startswith("#"):
            found = True
            yield number, entry
    if not found:
        raise DataError(f"{path}: the list is empty", "write one phrase or name per line")


def _fold(text: str) -> str:
    if text.isascii():
        return text.casefold()
    folded = _OPTIONAL.sub("", unicodedata.normalize("NFKC", text).casefold())
    return _LENGTHENED.sub(r"\1", folded.translate(ARABIC_LETTERS)) if ARABIC_LETTER.search(folded) else folded


def _joined(words: tuple[str, ...]) -> list[tuple[str, ...]]:
    """An Arabic phrase with each of the small words that may be written joined to its front.

    A short single word gets none, since the result might be another word. A word of two letters gets only `and`:
    "no" (لا) with "like" is "certainly not" (كلا).
    """
    first, *others = words
    if not ARABIC_LETTER.match(first) or (len(first) < 4 and not others):
        return []
    return [(prefix + first, *others) for prefix in _JOINED if len(first) > 2 or prefix in "وف"]


def _words(folded: str) -> list[str]:
    return folded.translate(_BLANKS).split() if folded.isascii() else _WORD.findall(folded)


def _key(words: tuple[str, ...]) -> tuple[str, ...]:
    return words if len(words) == 1 else tuple(_bare(words))


def _bare(words: Sequence[str]) -> Sequence[str]:
    """The words without hamza; the same object if they have none."""
    together = " ".join(words)
    return together.translate(ARABIC_HAMZA).split() if _HAMZA.search(together) else words


def _lengths_by_start(phrases: Iterable[Sequence[str]]) -> dict[str, tuple[int, ...]]:
    """First word (or character) -> the lengths of the phrases that begin with it, the shortest first."""
    lengths: dict[str, set[int]] = {}
    for phrase in phrases:
        lengths.setdefault(phrase[0], set()).add(len(phrase))
    return {start: tuple(sorted(found)) for start, found in lengths.items()}
