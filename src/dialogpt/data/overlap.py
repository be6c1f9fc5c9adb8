"""Test-set overlap: how much of a turn's text occurs in held-out responses or references, in 4-grams of words.

Held-out files, plain or compressed, are told apart by their first line: JSONL sessions, JSONL of `EvalItem`, or text.
In text, every column between tabs and every turn between ` EOS ` counts, without the `score|` that may stand before a
reference. Words are casefolded runs of letters and digits.
"""

import re
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import msgspec
import numpy as np
from numpy.typing import NDArray

from dialogpt.data.wordhash import Hashes, grams, letters_and_digits
from dialogpt.errors import DataError
from dialogpt.files import decode_text, read_lines
from dialogpt.session import Session, Turn, sessions_files

WORDS = 4
TEXTS_AT_ONCE = 4096

_PARTS = re.compile(r"\t| EOS ")
SCORE = re.compile(r"\A\s*-?\d+(?:\.\d+)?\|")  # before a reference


class HeldOut:
    """The 4-grams of held-out texts as sorted hashes, 16 to 24 bytes each; may be pickled."""

    def __init__(self, texts: Iterable[str]) -> None:
        parts, batch = [np.zeros(0, np.uint64)], list[str]()
        for text in texts:
            batch.append(text)
            if len(batch) == TEXTS_AT_ONCE:
                parts.append(_four_grams(batch))
                batch.clear()
        parts.append(_four_grams(batch))
        self._hashes = np.unique(np.concatenate(parts))
        # The first bits already rule out nearly all others, in a tenth of a search's time.
        bits = len(self._hashes).bit_length() + 3
        self._shift = np.uint64(64 - bits)
        self._begun = np.zeros(1 << bits, np.bool_)
        self._begun[self._hashes >> self._shift] = True

    def __len__(self) -> int:
        return len(self._hashes)

    def overlaps(self, texts: Sequence[str]) -> NDArray[np.float64]:
        """The share of each text's 4-grams that are held out, (T,); 0 for fewer than 4 words. Fast with hundreds."""
        found = grams(texts, WORDS, letters_and_digits())
        held_out = self._begun[found.hashes >> self._shift]
        likely = found.hashes[held_out]
        places = np.searchsorted(self._hashes, likely)
        held_out[held_out] = self._hashes.take(places, mode="clip") == likely if len(likely) else False
        shares: NDArray[np.float64] = found.sums(held_out) / np.maximum(found.counts, 1)
        return shares

    def overlap(self, text: str) -> float:
        """The share of one text's 4-grams that are held out."""
        return float(self.overlaps([text])[0])


def contaminated(sessions: Sequence[Session], held_out: HeldOut, most: float) -> NDArray[np.bool_]:
    """Which sessions hold a turn of 4 words or more whose overlap is `most` or above, (S,)."""
    ends = np.cumsum([len(session.turns) for session in sessions], dtype=np.int64)
    shares = held_out.overlaps([turn.text for session in sessions for turn in session.turns])
    found = np.concatenate(([0], np.cumsum((shares > 0) & (shares >= most))))[ends]
    return np.diff(found, prepend=0) > 0


def load_held_out(paths: Sequence[Path]) -> HeldOut:
    """Read held-out files and sessions folders; DataError names the file and line, or says that none has 4 words."""
    held_out = HeldOut(text for path in paths for file in sessions_files(path) for text in read_texts(file))
    if not len(held_out):
        raise DataError(
            f"no text of {WORDS} words in {', '.join(map(str, paths))}", "give references or responses, one per line"
        )
    return held_out


def read_texts(path: Path) -> Iterator[str]:
    """Yield every text of a held-out file; a line that does not fit the first one is a DataError with its place."""
    decoder = msgspec.json.Decoder(_Line)
    form = ""
    for number, line in enumerate(read_lines(path), 1):
        text = decode_text(line, path, number)
        if not text.strip():
            continue
        form = form or ("json" if text.lstrip().startswith("{") else "text")
        if form == "text":
            yield from (SCORE.sub("", part) for part in _PARTS.split(text))
            continue
        try:
            yield from decoder.decode(text).texts()
        except (msgspec.DecodeError, ValueError) as error:
            raise DataError(
                f"{path}:{number}: neither a session nor an evaluation item: {error}",
                'a line is {"turns": [{"text": ...}, ...]} or {"context": [...], "references": [...]}',
            ) from error


class _Line(msgspec.Struct):
    """A session or an evaluation item, whose context may be plain texts."""

    turns: tuple[Turn, ...] = ()
    context: tuple[Turn | str, ...] = ()
    references: tuple[str, ...] = ()
    human: str = ""

    def texts(self) -> list[str]:
        if not (self.turns or self.context or self.references or self.human):
            raise ValueError("it has no text")
        turns = (turn if isinstance(turn, str) else turn.text for turn in (*self.turns, *self.context))
        return [*turns, *self.references, self.human]


def _four_grams(texts: Sequence[str]) -> Hashes:
    return grams(texts, WORDS, letters_and_digits()).hashes
