"""Sessions as memory-mapped arrays: the `tokenize` command and `TokenShards`, which reads what it wrote.

A shards folder holds the tokenizer, a manifest, and per shard four arrays:

    shard-00000.tokens.npy         uint16 or uint32   every token, an end token after each turn
    shard-00000.turn_ends.npy      int64              for each turn, the index of the token after it
    shard-00000.learn.npy          bool               for each turn, whether it carries loss
    shard-00000.session_ends.npy   int64              for each session, the index of the turn after it

Turn order is reversed for the backward model when batches are made, so one folder serves both models.
"""

import zlib
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dialogpt.artifact import Manifest, atomic_folder, make_manifest, read_manifest, write_manifest
from dialogpt.errors import DataError, UsageError
from dialogpt.hub import tokenizer_folder
from dialogpt.progress import Progress
from dialogpt.session import Session, read_sessions, sessions_files
from dialogpt.tokens import TokenizeConfig
from dialogpt.tokens.bpe import Tokenizer

TOKENS_PER_SHARD = 1 << 27
SESSIONS_AT_ONCE = 2048
ARRAYS = ("tokens", "turn_ends", "learn", "session_ends")


@dataclass(frozen=True, slots=True)
class TokenSession:
    """One session as tokens: `turns[i]` (with its end token) carries loss when `learn[i]` and i > 0."""

    turns: tuple[np.ndarray, ...]
    learn: tuple[bool, ...]

    def __len__(self) -> int:
        return sum(map(len, self.turns))


class TokenShards:
    """A shards folder, opened without reading it: `shards[i]` is session i, `lengths[i]` its number of tokens."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = read_manifest(folder)
        names = sorted(path.name.removesuffix(".tokens.npy") for path in folder.glob("shard-*.tokens.npy"))
        if not names or self.manifest is None:
            raise DataError(f"{folder} holds no token shards", "make them with `dialogpt tokenize`")
        self.tokenizer_digest = str(self.manifest.config.get("tokenizer_digest", ""))
        self._parts = [_open_shard(folder, name) for name in names]
        self._first = np.cumsum([0] + [len(session_ends) for *_, session_ends in self._parts])
        self.lengths = np.concatenate([_session_lengths(part) for part in self._parts])

    def __len__(self) -> int:
        return int(self._first[-1])

    def __getitem__(self, index: int) -> TokenSession:
        part = int(np.searchsorted(self._first, index, side="right")) - 1
        tokens, turn_ends, learn, session_ends = self._parts[part]
        local = index - int(self._first[part])
        first, last = (int(session_ends[local - 1]) if local else 0), int(session_ends[local])
        starts = np.concatenate([[turn_ends[first - 1] if first else 0], turn_ends[first : last - 1]])
        turns = tuple(tokens[a:b] for a, b in zip(starts, turn_ends[first:last], strict=True))
        return TokenSession(turns, tuple(bool(x) for x in learn[first:last]))


def tokenize(config: TokenizeConfig) -> Manifest:
    """The `tokenize` command: write sessions as token shards; returns the manifest.

    With `config.validation` a share of the conversations, chosen by the hash of their ids, goes to
    OUT/validation, a shards folder of its own.
    """
    if not 0 <= config.validation < 1:
        raise UsageError(f"--validation {config.validation} is no share", "name a number from 0 to below 1")
    if config.max_tokens < 0:
        raise UsageError(f"--max-tokens {config.max_tokens} is below 0", "0 is no limit")
    tokenizer = Tokenizer.load(tokenizer_folder(config.tokenizer))
    dropped: Counter[str] = Counter()
    with atomic_folder(config.out, overwrite=config.overwrite) as folder:
        writers = {"train": _ShardWriter(folder, tokenizer)}
        if config.validation:
            (folder / "validation").mkdir()
            writers["validation"] = _ShardWriter(folder / "validation", tokenizer)
        for sessions in _in_groups(config.sessions):
            for session, turns in zip(sessions, _encode_sessions(tokenizer, sessions), strict=True):
                split = "validation" if _held_out(session, config.validation) else "train"
                learn = [turn.learn for turn in session.turns]
                for window in split_by_turns(turns, learn, config.max_tokens, dropped):
                    writers[split].add(*window)
        for split, writer in writers.items():
            if not writer.counts["sessions"]:
                why = ", ".join(f"{reason}: {count}" for reason, count in dropped.most_common(3))
                raise DataError(
                    f"no session is left for {split} in {', '.join(map(str, config.sessions))}",
                    why
                    or (
                        f"--validation {config.validation} holds out too few or too many; or add sessions"
                        if config.validation
                        else "the files are empty"
                    ),
                )
        if config.validation:
            writers["train"].counts["held_out"] = writers["validation"].counts["sessions"]
        manifests = [writer.finish(config, dropped) for writer in writers.values()]
    return manifests[0]


def split_by_turns(
    turns: Sequence[list[int]], learn: Sequence[bool], max_tokens: int, dropped: Counter[str]
) -> Iterator[tuple[list[list[int]], list[bool]]]:
    """Yield windows of whole turns, each at most `max_tokens` long (0: one window, whatever its length).

    A window after the first opens with the turn that ended the one before it, as context, so that every turn but the
    session's first is learned once. A turn that does not fit with its context is left out, and starts the next window's
    search anew.
    """
    window: list[int] = []
    size = 0

    def take() -> Iterator[tuple[list[list[int]], list[bool]]]:
        if any(learn[i] for i in window[1:]):
            yield [turns[i] for i in window], [learn[i] for i in window]
        elif window or not turns:
            part = "session" if len(window) == len(turns) else "window"
            dropped[f"{part} without a turn to learn"] += 1

    for i, turn in enumerate(turns):
        if max_tokens and len(turn) > max_tokens // 2:
            dropped["turn over half of --max-tokens"] += 1
            yield from take()
            window, size = [], 0
            continue
        if max_tokens and size + len(turn) > max_tokens:
            yield from take()
            window = window[-1:]
            size = len(turns[window[0]]) if window else 0
        window.append(i)
        size += len(turn)
    yield from take()


class _ShardWriter:
    """Collects sessions and writes a shard whenever it holds enough tokens."""

    def __init__(self, folder: Path, tokenizer: Tokenizer) -> None:
        self.folder, self.tokenizer = folder, tokenizer
        self.dtype = np.uint16 if tokenizer.vocab_size <= 1 << 16 else np.uint32
        self.counts: Counter[str] = Counter(sessions=0, turns=0, tokens=0, shards=0)
        self._clear()

    def _clear(self) -> None:
        self._tokens: list[np.ndarray] = []
        self._turn_lengths: list[int] = []
        self._learn: list[bool] = []
        self._session_ends: list[int] = []
        self._held = 0

    def add(self, turns: list[list[int]], learn: list[bool]) -> None:
        lengths = [len(turn) for turn in turns]
        self._tokens.append(np.array([token for turn in turns for token in turn], dtype=self.dtype))
        self._turn_lengths += lengths
        self._learn += learn
        self._session_ends.append(len(self._turn_lengths))
        self._held += sum(lengths)
        self.counts.update(sessions=1, turns=len(turns), tokens=sum(lengths))
        if self._held >= TOKENS_PER_SHARD:
            self._write()

    def _write(self) -> None:
        name = f"shard-{self.counts['shards']:05}"
        np.save(self.folder / f"{name}.tokens.npy", np.concatenate(self._tokens))
        np.save(self.folder / f"{name}.turn_ends.npy", np.cumsum(self._turn_lengths, dtype=np.int64))
        np.save(self.folder / f"{name}.learn.npy", np.array(self._learn, dtype=bool))
        np.save(self.folder / f"{name}.session_ends.npy", np.array(self._session_ends, dtype=np.int64))
        self.counts["shards"] += 1
        self._clear()

    def finish(self, config: TokenizeConfig, dropped: Counter[str]) -> Manifest:
        if self._session_ends:
            self._write()
        self.tokenizer.save(self.folder)
        manifest = make_manifest(
            "token shards", config=config, inputs=config.sessions, counts=self.counts, dropped=dropped
        )
        manifest.config["tokenizer_digest"] = self.tokenizer.digest
        write_manifest(self.folder, manifest)
        return manifest


def _encode_sessions(tokenizer: Tokenizer, sessions: Sequence[Session]) -> Iterator[list[list[int]]]:
    """The turns' tokens of each session; all texts go to the encoder at once, which spreads them over the cores."""
    encoded = iter(tokenizer.encode_turns([turn for session in sessions for turn in session.turns]))
    for session in sessions:
        yield [next(encoded) for _ in session.turns]


def _in_groups(paths: Sequence[Path]) -> Iterator[list[Session]]:
    files = [file for path in paths for file in sessions_files(path)]
    with Progress("tokenize", sum(f.stat().st_size for f in files if f.is_file()), "B") as bar:
        group: list[Session] = []
        for file in files:
            for session in read_sessions(file, bar.advance):
                group.append(session)
                if len(group) == SESSIONS_AT_ONCE:
                    yield group
                    group = []
        if group:
            yield group


def _held_out(session: Session, share: float) -> bool:
    """Windows of one conversation (`id#0`, `id#1`) and paths of one thread (`thread/leaf`) stay on one side.

    A session without an id is known by how it begins.
    """
    conversation = session.id.split("#")[0] or "".join(turn.text for turn in session.turns[:1])
    if conversation.startswith("t3_"):
        conversation = conversation.split("/")[0]
    return zlib.crc32(conversation.encode("utf-8", "replace")) < share * 2**32


def _open_shard(folder: Path, name: str) -> tuple[np.ndarray, ...]:
    part = tuple(_open_array(folder / f"{name}.{array}.npy") for array in ARRAYS)
    tokens, turn_ends, learn, session_ends = part
    ends = (turn_ends[-1], session_ends[-1]) if len(turn_ends) and len(session_ends) else (0, 0)
    if ends != (len(tokens), len(turn_ends)) or len(learn) != len(turn_ends):
        raise DataError(f"{folder}: the arrays of {name} do not fit together", "run `dialogpt tokenize` again")
    return part


def _open_array(path: Path) -> np.ndarray:
    try:
        array: np.ndarray = np.load(path, mmap_mode="r")
    except (OSError, ValueError, EOFError) as error:
        raise DataError(f"{path} is missing or damaged: {error}", "run `dialogpt tokenize` again") from error
    return array


def _session_lengths(part: tuple[np.ndarray, ...]) -> np.ndarray:
    _, turn_ends, _, session_ends = part
    return np.diff(turn_ends[session_ends - 1], prepend=0)
