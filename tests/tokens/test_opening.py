"""Tokenizer files as models of the hub have them: the tokens are those of `transformers`."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from transformers import AutoTokenizer, GPT2TokenizerFast

from dialogpt.errors import DataError
from dialogpt.model.config import check_vocabulary
from dialogpt.session import Turn
from dialogpt.tokens.bpe import Tokenizer

TEXTS = ["does money buy happiness?", " you and Morty", "صباح الخير 😀", "Rick and Morty, Mortymer"]
Make = Callable[[Path], None]


def with_special(**names: Any) -> Make:
    """Special tokens as `transformers` adds and saves them."""

    def make(folder: Path) -> None:
        theirs = AutoTokenizer.from_pretrained(folder)
        theirs.add_special_tokens(names)
        (folder / "special_tokens_map.json").unlink(missing_ok=True)
        theirs.save_pretrained(folder)

    return make


@pytest.mark.parametrize("asks", [True, False])
def test_a_token_before_each_text_is_not_put_there_and_that_is_said(
    tiny_tokenizer: Tokenizer, tmp_path: Path, caplog: pytest.LogCaptureFixture, asks: bool
) -> None:
    tiny_tokenizer.save(tmp_path)
    file = tmp_path / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"add_bos_token": asks}))
    assert Tokenizer.load(tmp_path).encode("hi") == tiny_tokenizer.encode("hi")
    assert ("add_bos_token" in caplog.text) == asks


def in_two_files(folder: Path) -> None:
    """As older `transformers` wrote: what stands beyond the vocabulary in added_tokens.json."""
    model = json.loads((folder / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    (folder / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    (folder / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).unlink()


def two_files_and(config: dict[str, Any], added: dict[str, int], names: dict[str, Any]) -> Make:
    def make(folder: Path) -> None:
        in_two_files(folder)
        for name, content in (("tokenizer_config", config), ("added_tokens", added), ("special_tokens_map", names)):
            (folder / f"{name}.json").write_text(json.dumps(content))

    return make


def with_blank(folder: Path) -> None:
    GPT2TokenizerFast.from_pretrained(folder, add_prefix_space=True).save_pretrained(folder)


def blank_in_config(folder: Path) -> None:
    file = folder / "tokenizer_config.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | {"add_prefix_space": True}))


SLOW = {"tokenizer_class": "GPT2Tokenizer"}
FORMS: dict[str, Make] = {
    "as we write it": lambda folder: None,
    "two files": two_files_and(SLOW, {}, {}),
    "a token for padding": with_special(pad_token="[PAD]"),
    "another end": with_special(eos_token="</s>", pad_token="<pad>"),
    "two ends": two_files_and(SLOW | {"eos_token": "<|endoftext|>"}, {"</s>": 360}, {"eos_token": "</s>"}),
    "two ends and a decoder": two_files_and(
        SLOW | {"eos_token": "</s>", "added_tokens_decoder": {"360": {"content": "</s>", "special": True}}},
        {"Morty": 361},
        {"eos_token": "<|endoftext|>"},
    ),
    "another end, two files": two_files_and(SLOW, {"</s>": 360}, {"eos_token": {"content": "</s>"}}),
    "words, two files": two_files_and(SLOW, {"Morty": 360}, {}),
    "a decoder of added tokens": two_files_and(
        SLOW | {"added_tokens_decoder": {"360": {"content": "[PAD]", "special": True}, "361": {"content": "Morty"}}},
        {},
        {"pad_token": "[PAD]"},
    ),
    "a blank before words": with_blank,
    "a blank by the configuration": blank_in_config,
    "a blank, two files": two_files_and(SLOW | {"add_prefix_space": True}, {}, {}),
}


@pytest.fixture
def folder(tiny_tokenizer: Tokenizer, tmp_path: Path) -> Path:
    """A tokenizer of 360 tokens, as it is written here."""
    tiny_tokenizer.save(tmp_path)
    return tmp_path


@pytest.mark.parametrize("make", FORMS.values(), ids=FORMS)
def test_the_tokens_are_those_of_transformers(folder: Path, make: Make, tmp_path_factory: Any) -> None:
    make(folder)
    ours, theirs = Tokenizer.load(folder), AutoTokenizer.from_pretrained(folder)
    expected = [[*theirs.encode(text), theirs.eos_token_id] for text in TEXTS]
    assert ours.encode_turns([Turn(text) for text in TEXTS]) == expected
    assert ours.end_id == theirs.eos_token_id
    ids = list(range(len(theirs)))
    assert ours.decode(ids) == theirs.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    written = tmp_path_factory.mktemp("written")
    ours.save(written)
    again = AutoTokenizer.from_pretrained(written)
    assert [[*again.encode(text), again.eos_token_id] for text in TEXTS] == expected
    assert Tokenizer.load(written).digest == ours.digest


def test_another_end_is_another_vocabulary(folder: Path) -> None:
    before = Tokenizer.load(folder).digest
    with_special(eos_token="</s>")(folder)
    assert Tokenizer.load(folder).digest != before


def test_special_tokens_need_no_row(folder: Path) -> None:
    """Whoever pads by a new token often leaves the embedding as it is, and no text is made of that token."""
    with_special(pad_token="[PAD]")(folder)
    ours = Tokenizer.load(folder)
    assert ours.vocab_size == 361
    check_vocabulary(folder, ours, 360)
    assert max(ours.encode("[PAD]")) < 360
    with_special(eos_token="</s>")(folder)
    assert Tokenizer.load(folder).rows_needed == 362


def test_an_end_that_is_not_there(folder: Path) -> None:
    two_files_and(SLOW | {"eos_token": "</s>"}, {}, {})(folder)
    with pytest.raises(DataError, match=r"the vocabulary has no </s> token") as caught:
        Tokenizer.load(folder)
    assert str(folder) in caught.value.message
    assert caught.value.message.endswith("the eos_token of tokenizer_config.json")


@pytest.mark.parametrize("name", ["tokenizer_config.json", "special_tokens_map.json"])
def test_damaged_settings(folder: Path, name: str) -> None:
    (folder / name).write_text('{"eos_token": 7}')
    with pytest.raises(DataError, match=name):
        Tokenizer.load(folder)
    (folder / name).unlink()
    (folder / name).mkdir()
    with pytest.raises(DataError, match=f"{name} cannot be read"):
        Tokenizer.load(folder)
