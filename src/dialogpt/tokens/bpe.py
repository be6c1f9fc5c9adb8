"""Text <-> tokens by byte-level BPE, thin over `tokenizers`; the files are those of a Hugging Face GPT-2 folder.

Special tokens exist only as ids: "<|endoftext|>" inside a text is encoded as the ordinary characters it is made of, so
nobody can end a turn by typing it.
"""

import hashlib
import json
import logging
import re
from array import array
from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any, Self

import numpy as np
from tokenizers import Tokenizer as HFTokenizer
from tokenizers import models, pre_tokenizers, trainers

from dialogpt.artifact import Manifest, atomic_folder, make_manifest, write_json, write_manifest
from dialogpt.errors import DataError, UsageError, given
from dialogpt.progress import Progress
from dialogpt.session import Turn, read_sessions, sessions_files
from dialogpt.tokens import TokenizerConfig
from dialogpt.tokens.opening import END_TEXT, byte_level, open_tokenizer

log = logging.getLogger(__name__)

# How other engines tokenize messages: as here, each turn ended by the end token, without names.
CHAT_TEMPLATE = "{% for message in messages %}{{ message.content }}{{ eos_token }}{% endfor %}"
_SURROGATE = re.compile(r"[\ud800-\udfff]")
SHORT = 256  # characters of a turn whose tokens are remembered
REMEMBERED = 4096  # of them
PIECE = 10_000  # characters of a text to train on: a word of megabytes, such as a picture's bytes, would take hours
TEXTS_AT_ONCE = 8192  # an encoding takes about 150 bytes a token until its ids are taken out


class Tokenizer:
    """A byte-level BPE with a special token, `end_id`, that ends every turn."""

    def __init__(self, bpe: HFTokenizer, end_text: str = END_TEXT) -> None:
        end_id = bpe.token_to_id(end_text)
        if end_id is None:
            raise DataError(f"the vocabulary has no {end_text} token", "use a GPT-2 style vocabulary")
        bpe.encode_special_tokens = True
        bpe.no_truncation()
        bpe.no_padding()
        self._bpe = bpe
        self.end_id: int = end_id
        self.end_text = end_text
        self.vocab_size: int = bpe.get_vocab_size()
        self._remembered = lru_cache(REMEMBERED)(self.encode)

    @classmethod
    def train(cls, texts: Iterable[str], vocab_size: int) -> Self:
        """Learn a vocabulary of at most `vocab_size` tokens from texts."""
        bpe = byte_level(models.BPE())
        trainer = trainers.BpeTrainer(
            vocab_size=vocab_size,
            special_tokens=[END_TEXT],
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        )
        bpe.train_from_iterator(texts, trainer)
        return cls(bpe)

    @classmethod
    def load(cls, folder: Path) -> Self:
        """Read a folder's files (see `opening`); DataError when they are missing or damaged."""
        try:
            bpe, end_text = open_tokenizer(folder)
        except DataError:
            raise
        except Exception as error:  # `tokenizers` raises bare Exception for a damaged file
            raise DataError(f"the tokenizer in {folder} does not load: {error}", "make or fetch it again") from error
        try:
            return cls(bpe, end_text)
        except DataError as error:
            raise DataError(f"{folder}: {error.message}", error.hint) from error

    def save(self, folder: Path) -> None:
        """Write `tokenizer.json` and the two small files with which `AutoTokenizer` opens the folder."""
        names = dict.fromkeys(("bos_token", "eos_token", "unk_token"), self.end_text)
        (folder / "tokenizer.json").write_text(self._bpe.to_str(pretty=True), encoding="utf-8")
        write_json(
            folder / "tokenizer_config.json",
            {
                "tokenizer_class": "GPT2TokenizerFast",
                **names,
                "add_prefix_space": getattr(self._bpe.pre_tokenizer, "add_prefix_space", False),
                "chat_template": CHAT_TEMPLATE,
            },
        )
        write_json(folder / "special_tokens_map.json", names)

    def encode(self, text: str) -> list[int]:
        ids: list[int] = self._bpe.encode(_encodable(text), add_special_tokens=False).ids
        return ids

    def _turn(self, text: str) -> Sequence[int]:
        return self._remembered(text) if len(text) <= SHORT else self.encode(text)

    def encode_flat(self, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """The tokens of all texts in one array (N,), uint32, an end token after each text; and where each text ends.

        The ends are (len(texts),), int64: the index of the token after the text's end token. All cores
        encode, and other threads run meanwhile.
        """
        tokens = array("I")
        lengths: list[int] = []
        for start in range(0, len(texts), TEXTS_AT_ONCE):
            batch = [_encodable(text) for text in texts[start : start + TEXTS_AT_ONCE]]
            for encoding in self._bpe.encode_batch_fast(batch, add_special_tokens=False):
                tokens.fromlist(encoding.ids)
                tokens.append(self.end_id)
                lengths.append(len(encoding) + 1)
        return np.frombuffer(tokens, dtype=np.uint32), np.cumsum(lengths, dtype=np.int64)

    def encode_turns(self, turns: Iterable[Turn]) -> list[list[int]]:
        """The tokens of each turn, its end token included; short ones are remembered, since conversations come back."""
        return [[*self._turn(turn.text), self.end_id] for turn in turns]

    def decode(self, ids: Sequence[int]) -> str:
        """Text of the tokens, special ones left out; bytes that are no whole code point become U+FFFD."""
        text: str = self._bpe.decode([i for i in ids if i != self.end_id], skip_special_tokens=True)
        return text

    @property
    def rows_needed(self) -> int:
        """Rows of an embedding for all tokens that are made of text, and the end token: special ones may not."""
        added = [number for number, token in self._bpe.get_added_tokens_decoder().items() if not token.special]
        return max(
            self._bpe.get_vocab_size(with_added_tokens=False), self.end_id + 1, *(number + 1 for number in added)
        )

    @property
    def definition(self) -> dict[str, Any]:
        """What `tokenizer.json` says."""
        definition: dict[str, Any] = json.loads(self._bpe.to_str())
        return definition

    @property
    def digest(self) -> str:
        """Sixteen hex digits that are equal for equal vocabularies: token shards and checkpoints are matched by it."""
        state = self.definition["model"]
        merges = [tuple(m.split(" ")) if isinstance(m, str) else tuple(m) for m in state["merges"]]
        end = [] if self.end_text == END_TEXT else [self.end_text]
        content = json.dumps([sorted(state["vocab"].items()), merges, *end])
        return hashlib.sha256(content.encode()).hexdigest()[:16]


def make_tokenizer(config: TokenizerConfig) -> Manifest:
    """The `tokenizer` command: train on sessions or take GPT-2's files, and write the folder; returns its manifest."""
    if (config.gpt2 is None) == (not config.sessions):
        raise UsageError("a tokenizer is made either from sessions or from --gpt2", "name sessions, or --gpt2 DIR")
    if config.gpt2 is not None and given(config, "vocab_size"):
        raise UsageError("--vocab-size is for training: GPT-2's vocabulary has its own size", "leave one of them out")
    if config.gpt2 is None and config.vocab_size < 257:
        raise UsageError(f"--vocab-size {config.vocab_size} is too small", "256 bytes and the end token need 257")
    with atomic_folder(config.out, overwrite=config.overwrite) as folder:
        if config.gpt2 is not None:
            tokenizer = Tokenizer.load(config.gpt2)
        else:
            tokenizer = Tokenizer.train(_texts(config.sessions), config.vocab_size)
            if tokenizer.vocab_size == 257:  # not a single pair of bytes
                raise DataError(f"no text in {', '.join(map(str, config.sessions))}", "name sessions that hold text")
            if tokenizer.vocab_size < config.vocab_size:
                log.info("%d tokens, not %d: nothing else repeats", tokenizer.vocab_size, config.vocab_size)
        tokenizer.save(folder)
        inputs = (config.gpt2,) if config.gpt2 is not None else config.sessions
        counts = {"tokens": tokenizer.vocab_size}
        manifest = make_manifest("tokenizer", config=config, inputs=inputs, counts=counts)
        write_manifest(folder, manifest)
    return manifest


def _texts(paths: Iterable[Path]) -> Iterator[str]:
    files = [file for path in paths for file in sessions_files(path)]
    total = sum(file.stat().st_size for file in files if file.is_file())
    with Progress("read", total, "B") as bar:
        for file in files:
            for session in read_sessions(file, bar.advance):
                for text in (turn.text for turn in session.turns):
                    yield from (text[at : at + PIECE] for at in range(0, len(text), PIECE))


def _encodable(text: str) -> str:
    """Lone surrogates, which UTF-8 cannot hold, become U+FFFD."""
    return text if text.isascii() else _SURROGATE.sub("\ufffd", text)
