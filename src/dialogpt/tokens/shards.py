"""Sessions as memory-mapped arrays: the `tokenize` command and `TokenShards`, which reads what it wrote.

A shards folder holds the tokenizer, a manifest, and per shard four arrays:

    shard-00000.tokens.npy         uint16 or uint32   every token, an end token after each turn
    shard-00000.turn_ends.npy      int64              for each turn, the index of the token after it
    shard-00000.learn.npy          bool               for each turn, whether it carries loss
    shard-00000.session_ends.npy   int64              for each session, the index of the turn after it

Turn order is reversed for the backward model when batches are made, so one folder serves both models.
"""

import logging
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from itertools import chain
from pathlib import Path

import numpy as np

from dialogpt.artifact import Manifest, atomic_folder, make_manifest, read_manifest, write_manifest
from dialogpt.errors import DataError, UsageError
from dialogpt.hub import tokenizer_folder
from dialogpt.tokens import TokenizeConfig
from dialogpt.tokens.bpe import Tokenizer
from dialogpt.tokens.groups import Group, encoded_groups
from dialogpt.tokens.holdout import HoldOut
from dialogpt.tokens.preferences import KIND, all_pairs, fit_pair
from dialogpt.tokens.windows import TOO_LONG, split_by_turns

log = logging.getLogger(__name__)

TOKENS_PER_SHARD = 1 << 27
ARRAYS = ("tokens", "turn_ends", "learn", "session_ends")
MANY = 0.1  # share of turns left out as too long that gives a warning
# Tokens a character, and a byte, of text for which a tokenizer was not made; of its own text a quarter of a token for a
# character is usual, and nearly one where characters are words (of Chinese, a third for a byte).
STRANGE, STRANGE_BYTES = 0.8, 0.45


@dataclass(frozen=True, slots=True)
class TokenSession:
    """One session as tokens: `turns[i]` (with its end token) carries loss when `learn[i]` and i > 0."""

    turns: tuple[np.ndarray, ...]
    learn: tuple[bool, ...]

    def __len__(self) -> int:
        return sum(map(len, self.turns))


class TokenShards:
    """A shards folder, opened without reading it: `shards[i]` is session i."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.manifest = read_manifest(folder)
        names = sorted(path.name.removesuffix(".tokens.npy") for path in folder.glob("shard-*.tokens.npy"))
        if not names or self.manifest is None:
            raise DataError(f"{folder} holds no token shards", "make them with `dialogpt tokenize`")
        self._parts = [_open_shard(folder, name) for name in names]
        self._first = np.cumsum([0] + [len(session_ends) for *_, session_ends in self._parts])

    @cached_property
    def lengths(self) -> np.ndarray:
        """(N,) int32, tokens of each session; the first use reads where all turns and sessions end."""
        return np.concatenate([_session_lengths(part) for part in self._parts])

    def last_turns(self, count: int) -> np.ndarray:
        """(N, count), tokens of the last turns of each session, which has more."""
        back = np.arange(-count - 1, 0)
        ends = [turn_ends[session_ends[:, None] + back] for _, turn_ends, _, session_ends in self._parts]
        return np.diff(np.concatenate(ends), axis=1)

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
        raise UsageError(f"--validation {config.validation} is not a share", "name a number from 0 to below 1")
    if config.max_tokens < 0:
        raise UsageError(f"--max-tokens {config.max_tokens} is below 0", "0 is no limit")
    tokenizer = Tokenizer.load(tokenizer_folder(config.tokenizer))
    holdout = HoldOut(config.validation)
    try:
        return _written(config, tokenizer, holdout)
    except _NothingLeftError as error:
        if not (config.validation and holdout.move()):
            raise
        log.info("%s by its share, so one conversation is moved there", error.message)
        return _written(config, tokenizer, holdout)


class _NothingLeftError(DataError):
    """No session for one of the splits."""


def _written(config: TokenizeConfig, tokenizer: Tokenizer, holdout: HoldOut) -> Manifest:
    dropped: Counter[str] = Counter()
    made_of: Counter[str] = Counter()
    pairs = all_pairs(config.sessions)
    with atomic_folder(config.out, overwrite=config.overwrite) as folder:
        writers = {"train": _ShardWriter(folder, tokenizer, KIND if pairs else "token shards")}
        if config.validation:
            (folder / "validation").mkdir()
            writers["validation"] = _ShardWriter(folder / "validation", tokenizer, writers["train"].kind)
        for group in encoded_groups(tokenizer, config.sessions, pairs=pairs):
            windows = _windows(group, config, holdout, dropped, pairs=pairs)
            made_of.update(
                tokens=int(group.lengths.sum()) - len(group.texts), characters=sum(map(len, group.texts)),
                turns=len(group.texts), bytes=sum(len(text.encode("utf-8", "surrogatepass")) for text in group.texts),
            )  # fmt: skip
            for split, writer in writers.items():
                writer.add(group, windows[split])
        for split, writer in writers.items():
            if not writer.counts[writer.what]:
                raise _NothingLeftError(
                    f"no {writer.what.removesuffix('s')} is left for {split} in {', '.join(map(str, config.sessions))}",
                    _why_nothing(config, holdout, dropped),
                )
        if config.validation:
            writers["train"].counts["held_out"] = writers["validation"].counts[writers["validation"].what]
        manifests = [writer.finish(config, dropped) for writer in writers.values()]
    if made_of["tokens"] > max(STRANGE * made_of["characters"], STRANGE_BYTES * made_of["bytes"]):
        log.warning(
            "the tokenizer takes %.1f tokens per character: it was made for other text (`dialogpt tokenizer` "
            "trains one on this, for a model from scratch)", made_of["tokens"] / max(made_of["characters"], 1),
        )  # fmt: skip
    if (long := dropped[TOO_LONG]) > MANY * made_of["turns"]:
        log.warning(
            "%d of %d turns are longer than half of --max-tokens %d and are left out: raise it",
            long, made_of["turns"], config.max_tokens,
        )  # fmt: skip
    return manifests[0]


def _why_nothing(config: TokenizeConfig, holdout: HoldOut, dropped: Counter[str]) -> str:
    if dropped:
        return ", ".join(f"{reason}: {count}" for reason, count in dropped.most_common(3))
    if not config.validation:
        return "the files are empty"
    if holdout.is_one:
        return "it is all one conversation, which stays on one side: cut it into scenes, or leave --validation out"
    return "the files are empty, or --validation holds out everything"


def _windows(
    group: Group, config: TokenizeConfig, holdout: HoldOut, dropped: Counter[str], *, pairs: bool
) -> dict[str, list[range]]:
    """The windows of each split, as the numbers of their turns in the group."""
    windows: dict[str, list[range]] = {"train": [], "validation": []}
    lengths = group.lengths.tolist()
    first = 0
    for session in group.sessions:
        stop = first + len(session.turns)
        split = holdout.split(session) if config.validation else "train"
        if pairs:
            found = fit_pair(lengths[first:stop], config.max_tokens, dropped)
        else:
            found = split_by_turns(lengths[first:stop], group.learn[first:stop], config.max_tokens, dropped)
        windows[split] += [range(first + window.start, first + window.stop) for window in found]
        first = stop
    return windows


class _ShardWriter:
    """Writes the shards of one folder, a new one whenever the last holds enough tokens."""

    def __init__(self, folder: Path, tokenizer: Tokenizer, kind: str) -> None:
        self.folder, self.tokenizer, self.kind = folder, tokenizer, kind
        self.what = "pairs" if kind == KIND else "sessions"
        self.counts: Counter[str] = Counter({self.what: 0, "turns": 0, "tokens": 0, "shards": 0})
        self._shard: dict[str, _GrowingArray] = {}

    def add(self, group: Group, windows: list[range]) -> None:
        """Write windows of a group's turns; a shard ends after the window with which it holds TOKENS_PER_SHARD."""
        if not windows:
            return
        turns = np.fromiter(chain.from_iterable(windows), np.int64)
        tokens, learn = group.tokens_of(turns), np.array(group.learn)[turns]
        turn_ends, window_ends = np.cumsum(group.lengths[turns]), np.cumsum([len(window) for window in windows])
        self.counts.update({self.what: len(windows), "turns": len(turns), "tokens": len(tokens)})
        window = turn = token = 0  # the first of each that is not written yet
        while window < len(windows):
            shard = self._shard = self._shard or self._new_shard()
            room = TOKENS_PER_SHARD - len(shard["tokens"])
            fits = int(np.searchsorted(turn_ends[window_ends[window:] - 1], token + room))
            stop = min(window + fits + 1, len(windows))
            last_turn = int(window_ends[stop - 1])
            last_token = int(turn_ends[last_turn - 1])
            shard["turn_ends"].append(turn_ends[turn:last_turn] + (len(shard["tokens"]) - token))
            shard["session_ends"].append(window_ends[window:stop] + (len(shard["learn"]) - turn))
            shard["tokens"].append(tokens[token:last_token])
            shard["learn"].append(learn[turn:last_turn])
            window, turn, token = stop, last_turn, last_token
            if len(shard["tokens"]) >= TOKENS_PER_SHARD:
                self._finish_shard()

    def finish(self, config: TokenizeConfig, dropped: Counter[str]) -> Manifest:
        self._finish_shard()
        self.tokenizer.save(self.folder)
        manifest = make_manifest(self.kind, config=config, inputs=config.sessions, counts=self.counts, dropped=dropped)
        manifest.config["tokenizer_digest"] = self.tokenizer.digest
        write_manifest(self.folder, manifest)
        return manifest

    def _new_shard(self) -> "dict[str, _GrowingArray]":
        kinds = (np.uint16 if self.tokenizer.vocab_size <= 1 << 16 else np.uint32, np.int64, np.bool_, np.int64)
        name = f"shard-{self.counts['shards']:05}"
        self.counts["shards"] += 1
        return {
            array: _GrowingArray(self.folder / f"{name}.{array}.npy", kind)
            for array, kind in zip(ARRAYS, kinds, strict=True)
        }

    def _finish_shard(self) -> None:
        for array in self._shard.values():
            array.finish()
        self._shard = {}


class _GrowingArray:
    """A .npy file of one dimension, written piece by piece: nothing of it stays in memory, and no file open."""

    def __init__(self, path: Path, kind: type[np.generic]) -> None:
        self.path, self.dtype = path, np.dtype(kind)
        self._length = 0
        self._write_header("wb")

    def __len__(self) -> int:
        return self._length

    def append(self, values: np.ndarray) -> None:
        with self.path.open("ab") as file:
            file.write(values.astype(self.dtype).tobytes())
        self._length += len(values)

    def finish(self) -> None:
        self._write_header("r+b")

    def _write_header(self, mode: str) -> None:
        """NumPy leaves room in a header for the array to grow, so the final one is as long as the first."""
        header = {"descr": self.dtype.str, "fortran_order": False, "shape": (self._length,)}
        with self.path.open(mode) as file:
            np.lib.format.write_array_header_1_0(file, header)


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
    lengths: np.ndarray = np.diff(turn_ends[session_ends - 1], prepend=0).astype(np.int32)
    return lengths
