"""Our ids are GPT-2's ids: by the tokenizer of `transformers`, and by the algorithm as OpenAI published it."""

import json
from collections.abc import Callable
from functools import cache
from itertools import pairwise
from pathlib import Path

import pytest
import regex
from hypothesis import assume, given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, GPT2Tokenizer

from dialogpt import Tokenizer, Turn
from dialogpt.tokens.bpe import END_TEXT

TEXTS = [
    "Does money buy happiness?",
    "I'll say it: they've WON'T  do   that...\n\nNever!\t(1,234.50 €) it's don't",
    "هل يشتري المال السعادة؟ لا أعتقد ذلك، ١٢٣",
    "السَّلامُ عَلَيْكُم \u200fRTL\u200e",
    "😀👍🏽 👨‍👩‍👧‍👦 🇪🇬❤️",
    "お金で幸せは買えますか？ 東京タワー",
    "Привет, как дела?",
    "e\u0301 \u00a0\u2003\ufeff x\u0000y",
    " leading and trailing ",
    "",
]
Pair = tuple[Tokenizer, GPT2Tokenizer]


@pytest.fixture(scope="module")
def gpt2(shared: Path) -> Pair:
    theirs = GPT2Tokenizer(vocab=str(shared / "gpt2/vocab.json"), merges=str(shared / "gpt2/merges.txt"))
    return Tokenizer.load(shared / "gpt2"), theirs


@pytest.fixture(scope="module")
def published(shared: Path) -> Callable[[str], list[int]]:
    """Byte-pair encoding as in OpenAI's gpt-2/src/encoder.py, with none of the library that ours and theirs share."""
    vocabulary = json.loads((shared / "gpt2/vocab.json").read_text(encoding="utf-8"))
    lines = (shared / "gpt2/merges.txt").read_text(encoding="utf-8").split("\n")[1:]
    ranks = {tuple(line.split()): rank for rank, line in enumerate(line for line in lines if line)}
    printable = [*range(ord("!"), ord("~") + 1), *range(ord("¡"), ord("¬") + 1), *range(ord("®"), ord("ÿ") + 1)]
    others = [byte for byte in range(256) if byte not in printable]
    letter = {byte: chr(byte) for byte in printable} | {byte: chr(256 + n) for n, byte in enumerate(others)}
    pieces = regex.compile(r"""'s|'t|'re|'ve|'m|'ll|'d| ?\p{L}+| ?\p{N}+| ?[^\s\p{L}\p{N}]+|\s+(?!\S)|\s+""")

    @cache
    def merged(piece: str) -> tuple[int, ...]:
        word = [letter[byte] for byte in piece.encode()]
        while pairs := [(ranks[pair], pair) for pair in pairwise(word) if pair in ranks]:
            left, right = min(pairs)[1]
            out: list[str] = []
            for symbol in word:
                if out and (out[-1], symbol) == (left, right):
                    out[-1] = left + right + "\0"  # marked: a symbol just made takes no part in this round
                else:
                    out.append(symbol)
            word = [symbol.rstrip("\0") for symbol in out]
        return tuple(vocabulary[symbol] for symbol in word)

    return lambda text: [token for piece in pieces.findall(text) for token in merged(piece)]


@pytest.fixture(scope="module")
def reopened(tiny_checkpoint: Path) -> Tokenizer:
    return Tokenizer.load(tiny_checkpoint)


def test_every_line_of_the_papers_human_responses(
    shared: Path, gpt2: Pair, published: Callable[[str], list[int]]
) -> None:
    ours, theirs = gpt2
    lines = (shared / "eval/human.ref.6k.txt").read_text(encoding="utf-8").removesuffix("\n").split("\n")
    assert len(lines) == 6000
    batch = [ours.encode(line) for line in lines]
    assert batch == theirs(lines).input_ids
    assert batch == [published(line) for line in lines]
    assert [ours.decode(ids) for ids in batch] == lines


@pytest.mark.parametrize("text", TEXTS)
def test_many_scripts(gpt2: Pair, published: Callable[[str], list[int]], text: str) -> None:
    ours, theirs = gpt2
    assert ours.encode(text) == theirs(text).input_ids == published(text)
    assert ours.decode(ours.encode(text)) == text


@settings(max_examples=200, deadline=None)
@given(text=st.text(max_size=60))
def test_any_text(gpt2: Pair, text: str) -> None:
    assume(END_TEXT not in text)  # theirs is the end token then, ours never
    ours, theirs = gpt2
    ids = ours.encode(text)
    assert ids == theirs(text).input_ids
    assert ours.decode(ids) == text


def test_ids_that_the_documentation_of_transformers_prints(gpt2: Pair) -> None:
    ours, _ = gpt2
    assert ours.encode("Hello world") == [15496, 995]
    assert ours.encode(" Hello world") == [18435, 995]
    assert (ours.end_id, ours.vocab_size) == (50256, 50257)


@pytest.mark.parametrize("text", TEXTS)
def test_auto_tokenizer_opens_ours(tiny_checkpoint: Path, tiny_tokenizer: Tokenizer, text: str) -> None:
    theirs = AutoTokenizer.from_pretrained(tiny_checkpoint)
    assert theirs(text).input_ids == tiny_tokenizer.encode(text)
    assert theirs.decode(theirs(text).input_ids) == text
    assert theirs.eos_token_id == theirs.bos_token_id == tiny_tokenizer.end_id


@pytest.mark.parametrize("form", ["tokenizer.json", "vocab.json and merges.txt"])
def test_we_open_theirs(gpt2: Pair, tmp_path: Path, form: str) -> None:
    ours, theirs = gpt2
    if form == "tokenizer.json":
        theirs.save_pretrained(tmp_path)
    else:
        theirs.backend_tokenizer.model.save(str(tmp_path))
    assert (tmp_path / "tokenizer.json").exists() == (form == "tokenizer.json")
    opened = Tokenizer.load(tmp_path)
    assert [opened.encode(text) for text in TEXTS] == [theirs(text).input_ids for text in TEXTS]
    assert (opened.end_id, opened.vocab_size, opened.digest) == (50256, 50257, ours.digest)


@settings(max_examples=200, deadline=None)
@given(before=st.text(max_size=10), after=st.text(max_size=10))
def test_the_end_token_cannot_be_typed(tiny_tokenizer: Tokenizer, reopened: Tokenizer, before: str, after: str) -> None:
    text = f"{before}{END_TEXT}{after}"
    for ours in (tiny_tokenizer, reopened):
        ids = ours.encode(text)
        assert ours.end_id not in ids
        assert ours.decode(ids) == text


@settings(max_examples=100, deadline=None)
@given(text=st.text(st.characters(categories=["Cs", "Ll", "So"]), max_size=20))
def test_lone_surrogates_become_replacement_characters(tiny_tokenizer: Tokenizer, text: str) -> None:
    expected = "".join("\ufffd" if "\ud800" <= c <= "\udfff" else c for c in text)
    assert tiny_tokenizer.decode(tiny_tokenizer.encode(text)) == expected


def test_other_engines_make_the_same_tokens_of_messages(tiny_tokenizer: Tokenizer, tmp_path: Path) -> None:
    tiny_tokenizer.save(tmp_path)
    turns = ["does money buy happiness?", "صباح الخير", " 😀 "]
    messages = [
        {"role": role, "content": text} for role, text in zip(("user", "assistant", "user"), turns, strict=True)
    ]
    theirs = AutoTokenizer.from_pretrained(tmp_path).apply_chat_template(messages, return_dict=False)
    assert theirs == [token for turn in tiny_tokenizer.encode_turns(map(Turn, turns)) for token in turn]
