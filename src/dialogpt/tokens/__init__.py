"""Stage 2: sessions -> token shards -> batches.

`tokenizer` makes a byte-level BPE (trained on sessions, or GPT-2's own files); `tokenize` writes sessions as
memory-mapped arrays of tokens, an end token after each turn; `batches` decides, as a pure function of
(seed, epoch), which sessions stand together in which batch.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizerConfig:
    """Settings of `tokenizer`: a byte-level BPE, trained on sessions or taken from GPT-2's files."""

    sessions: Annotated[tuple[Path, ...], "sessions folders or files to train on (none with --gpt2)"]
    out: Annotated[Path, "folder to write tokenizer.json to"]
    gpt2: Annotated[Path | None, "take vocab.json and merges.txt from this folder instead of training"] = None
    vocab_size: Annotated[int, "number of tokens, the end token among them"] = 8192
    overwrite: Annotated[bool, "replace an existing folder"] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class TokenizeConfig:
    """Settings of `tokenize`: sessions -> token shards."""

    sessions: Annotated[tuple[Path, ...], "sessions folders or files; or preferences, to train a ranker on"]
    out: Annotated[Path, "folder to write the shards to"]
    tokenizer: Annotated[str, "folder made by `dialogpt tokenizer`, or a model: folder, hub name, `bundled`"]
    max_tokens: Annotated[int, "split a longer session by whole turns, cut a pair's context (0: never)"] = 1024
    validation: Annotated[float, "share of conversations held out in OUT/validation"] = 0.0
    overwrite: Annotated[bool, "replace an existing folder"] = False
