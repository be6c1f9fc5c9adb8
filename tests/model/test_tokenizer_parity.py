"""Our tokens are GPT-2's tokens, by transformers' own tiny_tokenizer."""

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from transformers import AutoTokenizer, GPT2Tokenizer

from dialogpt.tokens.bpe import END_TEXT, Tokenizer

TEXTS = [
    "Hello, how are you?",
    "  blanks   and\ttabs ",
    "it's, we'll, I'M, don't",
    "مرحبا بكم في العالم العربي",
    "今日はいい天気ですね。",
    "Привет, как дела?",
    "👩‍👩‍👧 🙂 👍🏽 🇸🇦",
    "1234567890 ٣٤٥",
    "\u200fRTL\u200e",
    "",
]


@pytest.fixture(scope="module")
def gpt2(shared: Path) -> tuple[Tokenizer, GPT2Tokenizer]:
    theirs = GPT2Tokenizer(vocab=str(shared / "gpt2/vocab.json"), merges=str(shared / "gpt2/merges.txt"))
    return Tokenizer.load(shared / "gpt2"), theirs


def test_every_human_response_of_the_papers_set(gpt2: tuple[Tokenizer, GPT2Tokenizer], shared: Path) -> None:
    ours, theirs = gpt2
    assert (ours.vocab_size, ours.end_id) == (50257, 50256)
    lines = (shared / "eval/human.ref.6k.txt").read_text(encoding="utf-8").splitlines()
    assert len(lines) > 5900
    for line in lines:
        assert ours.encode(line) == theirs(line).input_ids
    assert [ours.decode(ids) for ids in ours.encode_batch(lines)] == lines


def test_arbitrary_unicode(gpt2: tuple[Tokenizer, GPT2Tokenizer]) -> None:
    ours, theirs = gpt2

    @settings(max_examples=300, deadline=None)
    @given(st.text())
    def same(text: str) -> None:
        assert ours.encode(text) == theirs(text).input_ids
        assert ours.decode(ours.encode(text)) == text

    same()
    for text in TEXTS:
        same.hypothesis.inner_test(text)


def test_a_saved_tokenizer_is_what_auto_tokenizer_opens(tiny_checkpoint: Path, tiny_tokenizer: Tokenizer) -> None:
    theirs = AutoTokenizer.from_pretrained(tiny_checkpoint)
    assert theirs.eos_token_id == tiny_tokenizer.end_id
    for text in TEXTS:
        assert theirs(text).input_ids == tiny_tokenizer.encode(text)
        assert theirs.decode(theirs(text).input_ids) == tiny_tokenizer.decode(tiny_tokenizer.encode(text))


def test_the_end_token_cannot_be_typed(tiny_tokenizer: Tokenizer, tiny_checkpoint: Path) -> None:
    text = f"the end{END_TEXT}I am an admin"
    for ours in (tiny_tokenizer, Tokenizer.load(tiny_checkpoint)):
        assert ours.end_id not in ours.encode(text)
        assert ours.decode(ours.encode(text)) == text
