"""The tokenizer: text <-> tokens and back, its files, its digest, and the end token that no text can spell."""

import json
from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialogpt.artifact import read_manifest
from dialogpt.errors import DataError, UsageError
from dialogpt.session import Session, Turn
from dialogpt.tokens import TokenizerConfig, bpe
from dialogpt.tokens.bpe import END_TEXT, Tokenizer, make_tokenizer

SMALL = Tokenizer.train(["does money buy happiness?"] * 9, 300)  # hypothesis asks for no function-scoped fixture


@settings(deadline=None)
@given(st.text())
def test_decoding_gives_the_encoded_text_back(text: str) -> None:
    assert SMALL.decode(SMALL.encode(text)) == text


@settings(deadline=None)
@given(st.text(), st.text())
def test_no_text_spells_the_end_token(before: str, after: str) -> None:
    text = f"{before}{END_TEXT}{after}"
    ids = SMALL.encode(text)
    assert SMALL.end_id not in ids
    assert SMALL.decode(ids) == text


@settings(deadline=None)
@given(st.lists(st.text() | st.just("\ud800x"), max_size=9), st.integers(1, 4))
def test_encoding_into_one_array_gives_the_same_tokens(texts: list[str], at_once: int) -> None:
    with pytest.MonkeyPatch.context() as small:
        small.setattr(bpe, "TEXTS_AT_ONCE", at_once)
        tokens, ends = SMALL.encode_flat(texts)
    assert tokens.dtype == np.uint32
    assert ends.dtype == np.int64
    parts = np.split(tokens, ends)
    assert parts.pop().size == 0  # after the last end
    assert [part.tolist() for part in parts] == [[*SMALL.encode(text), SMALL.end_id] for text in texts]


def test_a_word_without_end_is_learned_in_pieces(tmp_path: Path) -> None:
    texts = ["ab" * 12_345, "", "c"]
    session = Session(tuple(map(Turn, texts)))
    (tmp_path / "a.jsonl").write_bytes(msgspec.json.encode(session))
    pieces = list(bpe._texts([tmp_path / "a.jsonl"]))
    assert list(map(len, pieces)) == [10_000, 10_000, 4_690, 1]
    assert "".join(pieces) == "".join(texts)


def test_the_end_token_cannot_be_learned_from_texts_that_hold_it() -> None:
    tokenizer = Tokenizer.train([f"one {END_TEXT} two", END_TEXT] * 500, 400)
    assert tokenizer.end_id not in tokenizer.encode(f"{END_TEXT} {END_TEXT}{END_TEXT}")


@pytest.mark.parametrize("text", ["", " ", "\x00", "\ufffd", "سلام عليكم", "e\u0301", "👩‍👩‍👧", "a\r\n\tb", "\ufeffx"])
def test_unusual_texts_survive(tokenizer: Tokenizer, text: str) -> None:
    assert tokenizer.decode(tokenizer.encode(text)) == text


def test_a_lone_surrogate_becomes_the_replacement_character(tokenizer: Tokenizer) -> None:
    assert tokenizer.decode(tokenizer.encode("a\ud800b")) == "a\ufffdb"


def test_bytes_that_are_no_whole_code_point_decode_to_the_replacement_character(tokenizer: Tokenizer) -> None:
    first_byte = tokenizer.encode("\U0001f600")[0]
    assert tokenizer.decode([first_byte]) == "\ufffd"


def test_each_turn_ends_with_the_end_token_and_decoding_leaves_it_out(tokenizer: Tokenizer) -> None:
    turns = tokenizer.encode_turns([Turn("money"), Turn(""), Turn(END_TEXT)])
    assert [turn[-1] for turn in turns] == [tokenizer.end_id] * 3
    assert turns[1] == [tokenizer.end_id]
    assert [turn.count(tokenizer.end_id) for turn in turns] == [1, 1, 1]
    assert tokenizer.decode([token for turn in turns for token in turn]) == f"money{END_TEXT}"


def test_training_learns_words_and_respects_the_size(tokenizer: Tokenizer) -> None:
    assert 257 < tokenizer.vocab_size <= 320
    assert len(tokenizer.encode(" money")) == 1
    assert Tokenizer.train(["x"], 257).vocab_size == 257


def test_training_twice_gives_the_same_vocabulary() -> None:
    texts = ["does money buy happiness?", "it depends", "no, it does not"] * 7
    assert Tokenizer.train(texts, 330).digest == Tokenizer.train(iter(texts), 330).digest


def test_a_saved_tokenizer_loads_as_it_was(tokenizer: Tokenizer, tmp_path: Path) -> None:
    tokenizer.save(tmp_path)
    loaded = Tokenizer.load(tmp_path)
    text = f"does money {END_TEXT} buy\thappiness? نعم"
    assert loaded.encode(text) == tokenizer.encode(text)
    assert (loaded.end_id, loaded.vocab_size, loaded.digest) == (
        tokenizer.end_id,
        tokenizer.vocab_size,
        tokenizer.digest,
    )


def test_the_digest_tells_vocabularies_apart_and_ignores_the_form_of_the_file(
    tokenizer: Tokenizer, tmp_path: Path
) -> None:
    other = Tokenizer.train(["something else entirely, and more of it"] * 20, tokenizer.vocab_size)
    assert other.digest != tokenizer.digest
    tokenizer.save(tmp_path)
    state = json.loads((tmp_path / "tokenizer.json").read_text(encoding="utf-8"))
    state["model"]["merges"] = [" ".join(m) if isinstance(m, list) else m for m in state["model"]["merges"]]
    (tmp_path / "tokenizer.json").write_text(json.dumps(state), encoding="utf-8")  # merges as older files have them
    assert Tokenizer.load(tmp_path).digest == tokenizer.digest


def test_gpt2_files_give_gpt2_tokens(shared: Path, tmp_path: Path) -> None:
    tokenizer = Tokenizer.load(shared / "gpt2")
    assert (tokenizer.vocab_size, tokenizer.end_id) == (50257, 50256)
    assert tokenizer.encode("Does money buy happiness?") == [13921, 1637, 2822, 12157, 30]  # GPT-2's own ids
    assert tokenizer.encode("Hello world") == [15496, 995]
    assert tokenizer.end_id not in tokenizer.encode(f"a{END_TEXT}b")
    tokenizer.save(tmp_path)
    assert Tokenizer.load(tmp_path).digest == tokenizer.digest


def test_transformers_opens_the_folder(tokenizer_folder: Path, tokenizer: Tokenizer) -> None:
    transformers = pytest.importorskip("transformers")
    theirs = transformers.AutoTokenizer.from_pretrained(str(tokenizer_folder))
    text = "does money buy happiness? نعم 😀"
    assert theirs.encode(text, add_special_tokens=False) == tokenizer.encode(text)
    assert theirs.eos_token_id == tokenizer.end_id


@pytest.mark.parametrize("content", [b"", b"{}", b"not json", b'{"model": 3}', b"\xff\xfe\x00"])
def test_a_damaged_tokenizer_is_an_error_that_names_the_folder(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "tokenizer.json").write_bytes(content)
    with pytest.raises(DataError, match=tmp_path.name):
        Tokenizer.load(tmp_path)


def test_a_folder_without_a_tokenizer_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="holds no tokenizer"):
        Tokenizer.load(tmp_path)
    with pytest.raises(DataError, match="holds no tokenizer"):
        Tokenizer.load(tmp_path / "missing")


def test_a_vocabulary_without_the_end_token_is_an_error(tokenizer_folder: Path, tmp_path: Path) -> None:
    text = (tokenizer_folder / "tokenizer.json").read_text(encoding="utf-8")
    (tmp_path / "tokenizer.json").write_text(text.replace(END_TEXT, "<stop>"), encoding="utf-8")
    with pytest.raises(DataError, match="endoftext"):
        Tokenizer.load(tmp_path)


Write = Callable[[Iterable[Session]], Path]


def test_the_command_trains_on_sessions(write_sessions: Write, tmp_path: Path) -> None:
    file = write_sessions(Session((Turn("does money buy it?"), Turn("it does not"))) for _ in range(30))
    manifest = make_tokenizer(TokenizerConfig(sessions=(file,), out=tmp_path / "out", vocab_size=270))
    assert read_manifest(tmp_path / "out") == manifest
    assert (manifest.kind, manifest.counts["tokens"]) == ("tokenizer", 270)
    assert Tokenizer.load(tmp_path / "out").vocab_size == 270
    assert manifest.inputs == [str(file)]


def test_the_command_takes_gpt2_files(shared: Path, tmp_path: Path) -> None:
    made = make_tokenizer(TokenizerConfig(sessions=(), gpt2=shared / "gpt2", out=tmp_path / "out"))
    assert made.counts["tokens"] == 50257
    assert Tokenizer.load(tmp_path / "out").digest == Tokenizer.load(shared / "gpt2").digest


def test_the_command_refuses_what_cannot_work(tmp_path: Path) -> None:
    out = tmp_path / "out"
    (tmp_path / "vocab.json").write_text('{"<|endoftext|>": 0, "a": 1}', encoding="utf-8")
    (tmp_path / "merges.txt").write_text("#version: 0.2\n", encoding="utf-8")
    for config in (
        TokenizerConfig(sessions=(), out=out),
        TokenizerConfig(sessions=(tmp_path,), gpt2=tmp_path, out=out),
        TokenizerConfig(sessions=(tmp_path,), out=out, vocab_size=256),
        TokenizerConfig(sessions=(), gpt2=tmp_path, out=out, vocab_size=300),
    ):
        with pytest.raises(UsageError):
            make_tokenizer(config)
    assert not out.exists()
