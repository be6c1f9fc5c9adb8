"""Sessions encoded in groups, the next ones while one is written."""

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from dialogpt.progress import Progress
from dialogpt.session import Session, read_sessions, sessions_files
from dialogpt.tokens.bpe import Tokenizer
from dialogpt.tokens.preferences import read_pairs

TEXT_AT_ONCE = 1 << 20  # characters of a group of sessions: about 250,000 tokens
GROUPS_AHEAD = 2  # groups in the encoder while another is written: it is never idle, and memory holds no more


@dataclass(slots=True)
class Group:
    """Sessions that are encoded together, and their turns in order, numbered from 0.

    Each text is encoded once: the paths of a Reddit thread share turns. Then turn i has `lengths[i]` tokens, with its
    end token, and they end at `ends[i]` in `tokens`.
    """

    sessions: list[Session] = field(default_factory=list)
    texts: list[str] = field(default_factory=list)
    learn: list[bool] = field(default_factory=list)
    size: int = 0  # characters, plus one per turn and session: empty ones take memory too
    tokens: np.ndarray = field(default_factory=lambda: np.empty(0, np.uint32))
    ends: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    lengths: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))

    def add(self, session: Session) -> None:
        texts = [turn.text for turn in session.turns]
        self.sessions.append(session)
        self.texts += texts
        self.learn += [turn.learn for turn in session.turns]
        self.size += sum(map(len, texts)) + len(texts) + 1

    def encode(self, tokenizer: Tokenizer) -> "Group":
        number_of = {text: number for number, text in enumerate(dict.fromkeys(self.texts))}
        self.tokens, ends = tokenizer.encode_flat(list(number_of))
        numbers = np.fromiter(map(number_of.__getitem__, self.texts), np.int64, len(self.texts))
        self.ends, self.lengths = ends[numbers], np.diff(ends, prepend=0)[numbers]
        return self

    def tokens_of(self, turns: np.ndarray) -> np.ndarray:
        """The tokens of these turns, one turn after the other."""
        lengths = self.lengths[turns]
        shifts = self.ends[turns] - np.cumsum(lengths)
        tokens: np.ndarray = self.tokens[np.arange(lengths.sum()) + np.repeat(shifts, lengths)]
        return tokens


def encoded_groups(tokenizer: Tokenizer, paths: Sequence[Path], *, pairs: bool = False) -> Iterator[Group]:
    """Groups in the order of their sessions; while one is written, the next are read and encoded.

    pairs: the files hold preferences.
    """
    waiting: deque[Future[Group]] = deque()
    with ThreadPoolExecutor(GROUPS_AHEAD) as pool:
        for group in _in_groups(paths, read_pairs if pairs else read_sessions):
            waiting.append(pool.submit(group.encode, tokenizer))
            if len(waiting) > GROUPS_AHEAD:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()


def _in_groups(paths: Sequence[Path], read: Callable[..., Iterator[Session]]) -> Iterator[Group]:
    files = [file for path in paths for file in sessions_files(path)]
    with Progress("tokenize", sum(f.stat().st_size for f in files if f.is_file()), "B") as bar:
        group = Group()
        for file in files:
            for session in read(file, bar.advance):
                group.add(session)
                if group.size >= TEXT_AT_ONCE:
                    yield group
                    group = Group()
        if group.sessions:
            yield group
