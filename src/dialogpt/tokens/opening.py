"""A folder's tokenizer files -> the BPE that `transformers` makes of them, and the text of its end token.

`tokenizer.json` has all of it but the end token's name; beside `vocab.json` and `merges.txt`, further tokens are in
`added_tokens.json` or `tokenizer_config.json`, which also says whether a blank comes before the first word. The end
token of `special_tokens_map.json` takes precedence, unless `tokenizer_config.json` lists all added tokens.
"""

import logging
from pathlib import Path

import msgspec
from tokenizers import AddedToken, decoders, models, pre_tokenizers, processors
from tokenizers import Tokenizer as HFTokenizer

from dialogpt.artifact import read_json
from dialogpt.errors import DataError

log = logging.getLogger(__name__)

END_TEXT = "<|endoftext|>"


class _Token(msgspec.Struct):
    content: str
    special: bool = False
    lstrip: bool = False
    rstrip: bool = False
    single_word: bool = False
    normalized: bool | None = None


class _Settings(msgspec.Struct):
    """What is read from tokenizer_config.json and special_tokens_map.json."""

    eos_token: str | _Token | None = None
    bos_token: str | _Token | None = None
    unk_token: str | _Token | None = None
    pad_token: str | _Token | None = None
    sep_token: str | _Token | None = None
    cls_token: str | _Token | None = None
    mask_token: str | _Token | None = None
    additional_special_tokens: list[str | _Token] | None = None
    add_prefix_space: bool | None = None
    add_bos_token: bool | None = None
    added_tokens_decoder: dict[int, _Token] | None = None

    @property
    def special(self) -> set[str]:
        named = (self.eos_token, self.bos_token, self.unk_token, self.pad_token, self.sep_token, self.cls_token,
                 self.mask_token, *(self.additional_special_tokens or ()))  # fmt: skip
        return {_text(token) for token in named if token is not None}


def open_tokenizer(folder: Path) -> tuple[HFTokenizer, str]:
    """The tokenizer of a folder, and the text of its end token; DataError, or nearly any error when it is damaged."""
    file, vocab, merges = folder / "tokenizer.json", folder / "vocab.json", folder / "merges.txt"
    config, names = (_settings(folder / name) for name in ("tokenizer_config.json", "special_tokens_map.json"))
    if file.is_file():
        bpe = HFTokenizer.from_file(str(file))
    elif vocab.is_file() and merges.is_file():
        bpe = byte_level(models.BPE.from_file(str(vocab), str(merges)))
        bpe.add_special_tokens([END_TEXT])
        bpe.add_tokens(_added(folder, config, names))
    else:
        raise DataError(
            f"{folder} holds no tokenizer.json, nor vocab.json and merges.txt", "make one with `dialogpt tokenizer`"
        )
    if config.add_bos_token:
        log.warning(
            "%s: a token before each text, as tokenizer_config.json asks for (add_bos_token), is not put there: "
            "contexts begin with the first turn, as DialoGPT's do", folder,
        )  # fmt: skip
    if config.add_prefix_space is not None and isinstance(bpe.pre_tokenizer, pre_tokenizers.ByteLevel):
        bpe.pre_tokenizer = pre_tokenizers.ByteLevel(
            add_prefix_space=config.add_prefix_space, use_regex=bpe.pre_tokenizer.use_regex
        )
    ends = [("special_tokens_map.json", names.eos_token), ("tokenizer_config.json", config.eos_token)]
    for name, token in ends[config.added_tokens_decoder is not None :]:
        if token is None:
            continue
        if bpe.token_to_id(_text(token)) is None:
            raise DataError(
                f"{folder}: the vocabulary has no {_text(token)} token, the eos_token of {name}",
                "name one there that the vocabulary has",
            )
        return bpe, _text(token)
    return bpe, END_TEXT


def byte_level(model: models.BPE) -> HFTokenizer:
    """GPT-2's byte-level rules around a vocabulary."""
    bpe = HFTokenizer(model)
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    bpe.post_processor = processors.ByteLevel(trim_offsets=False)
    return bpe


def _settings(file: Path) -> _Settings:
    return read_json(file, _Settings) if file.exists() else _Settings()


def _added(folder: Path, config: _Settings, names: _Settings) -> list[AddedToken]:
    """The tokens beyond the vocabulary, in the order of their ids."""
    found, file = config.added_tokens_decoder, folder / "added_tokens.json"
    if found is None:
        special, added = config.special | names.special, read_json(file, dict[str, int]) if file.is_file() else {}
        found = {number: _Token(text, special=text in special) for text, number in added.items()}
    return [
        AddedToken(
            token.content, special=token.special, lstrip=token.lstrip, rstrip=token.rstrip,
            single_word=token.single_word,
            normalized=not token.special if token.normalized is None else token.normalized,
        )
        for _, token in sorted(found.items())
    ]  # fmt: skip


def _text(token: str | _Token) -> str:
    return token if isinstance(token, str) else token.content
