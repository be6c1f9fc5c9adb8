"""Sessions -> shards -> the same sessions as tokens; the held-out share; damage."""

import dataclasses
import tempfile
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from unittest.mock import patch

import msgspec
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialogpt.artifact import read_manifest
from dialogpt.errors import DataError, UsageError
from dialogpt.session import Session, Turn
from dialogpt.tokens import TokenizeConfig, groups, shards
from dialogpt.tokens.bpe import Tokenizer
from dialogpt.tokens.holdout import HoldOut
from dialogpt.tokens.shards import ARRAYS, TokenShards, tokenize
from dialogpt.tokens.windows import split_by_turns

Write = Callable[[Iterable[Session]], Path]
texts = st.text(max_size=20)
turns = st.builds(Turn, texts, learn=st.booleans())
sessions = st.builds(Session, st.lists(turns, max_size=6).map(tuple), id=st.text("abc#/0", max_size=4))


@settings(max_examples=25, deadline=None)
@given(st.lists(sessions, min_size=1, max_size=12), st.sampled_from([1, 30, 1 << 20]))
def test_shards_hold_the_sessions_as_they_were(
    tokenizer_folder: Path, tokenizer: Tokenizer, made: list[Session], tokens_per_shard: int
) -> None:
    expected = [session for session in made if any(turn.learn for turn in session.turns[1:])]
    with tempfile.TemporaryDirectory() as name, patch.object(shards, "TOKENS_PER_SHARD", tokens_per_shard):
        folder = Path(name)
        (folder / "in.jsonl").write_bytes(b"\n".join(map(msgspec.json.encode, made)))
        config = TokenizeConfig(
            sessions=(folder / "in.jsonl",), out=folder / "out", tokenizer=str(tokenizer_folder), max_tokens=0
        )
        if not expected:
            with pytest.raises(DataError, match="no session is left for train"):
                tokenize(config)
            return
        manifest = tokenize(config)
        read = TokenShards(folder / "out")
        assert len(read) == len(expected) == manifest.counts["sessions"]
        assert manifest.dropped.get("session without a turn to learn", 0) == len(made) - len(expected)
        assert manifest.counts["tokens"] == int(read.lengths.sum())
        assert len(list((folder / "out").glob("*.tokens.npy"))) == manifest.counts["shards"]
        if tokens_per_shard == 1:
            assert manifest.counts["shards"] == len(expected)
        for i, session in enumerate(expected):
            found = read[i]
            assert [list(turn) for turn in found.turns] == tokenizer.encode_turns(session.turns)
            assert found.learn == tuple(turn.learn for turn in session.turns)
            assert len(found) == read.lengths[i]


Sides = dict[bool, list[tuple[list[list[int]], tuple[bool, ...]]]]


def sides(tokenizer: Tokenizer, made: list[Session], max_tokens: int, holdout: HoldOut) -> tuple[Sides, Counter[str]]:
    """The windows of both sides, False for training, as tokens and what is learned of them; what was left out."""
    expected: Sides = {False: [], True: []}
    dropped: Counter[str] = Counter()
    for session in made:
        turns, learn = tokenizer.encode_turns(session.turns), [turn.learn for turn in session.turns]
        side = expected[holdout.split(session) == "validation"]
        for window in split_by_turns(list(map(len, turns)), learn, max_tokens, dropped):
            side.append(([turns[i] for i in window], tuple(learn[i] for i in window)))
    return expected, dropped


@settings(max_examples=25)
@given(st.lists(sessions, min_size=1, max_size=12), st.sampled_from([8, 16, 64]), st.sampled_from([1, 12, 1 << 20]))
def test_windows_in_small_groups_and_shards_are_those_of_the_sessions(
    tokenizer_folder: Path, tokenizer: Tokenizer, made: list[Session], max_tokens: int, text_at_once: int
) -> None:
    holdout = HoldOut(0.5)
    expected, dropped = sides(tokenizer, made, max_tokens, holdout)
    if not all(expected.values()) and holdout.move():
        expected, dropped = sides(tokenizer, made, max_tokens, holdout)
    with tempfile.TemporaryDirectory() as name, pytest.MonkeyPatch.context() as small:
        small.setattr(shards, "TOKENS_PER_SHARD", 30)
        small.setattr(groups, "TEXT_AT_ONCE", text_at_once)
        folder = Path(name)
        (folder / "in.jsonl").write_bytes(b"\n".join(map(msgspec.json.encode, made)))
        config = TokenizeConfig(
            sessions=(folder / "in.jsonl",), out=folder / "out", tokenizer=str(tokenizer_folder),
            max_tokens=max_tokens, validation=0.5,
        )  # fmt: skip
        if not all(expected.values()):
            with pytest.raises(DataError, match="no session is left for"):
                tokenize(config)
            return
        assert tokenize(config).dropped == dropped
        for held_out, place in ((False, folder / "out"), (True, folder / "out" / "validation")):
            read = TokenShards(place)
            found = [([list(turn) for turn in read[i].turns], read[i].learn) for i in range(len(read))]
            assert found == expected[held_out]
            assert read.lengths.tolist() == [sum(map(len, turns)) for turns, _ in expected[held_out]]
            for file in place.glob("shard-*.npy"):  # as NumPy would have written it
                np.save(folder / "again.npy", np.load(file))
                assert (folder / "again.npy").read_bytes() == file.read_bytes()


def many_conversations() -> list[Session]:
    """300 conversations, each in two windows; Reddit threads with two paths each."""
    turns = (Turn("does money buy happiness?"), Turn("it depends"))
    for_chats = [Session(turns, id=f"chat/{i}#{part}") for i in range(150) for part in (0, 1)]
    return for_chats + [Session(turns, id=f"t3_{i}/t1_{i}{leaf}") for i in range(150) for leaf in "ab"]


@pytest.mark.parametrize("name", ["chat #{}", "#{}", "#{}/general"])
def test_conversations_whose_ids_have_a_number_sign(name: str) -> None:
    """They are as many as there are; the windows of each are on one side."""
    turns = (Turn("hi"), Turn("hello"))
    names = [name.format(i) for i in range(150)]
    held_out = held_out_ids([Session(turns, id=name) for name in names], 0.2)
    assert 0.1 < len(held_out) / len(names) < 0.3
    parts = ("0", "1", "0#1")
    made = [Session(turns, id=f"{name}#{part}") for name in names for part in parts]
    assert held_out_ids(made, 0.2) == {f"{name}#{part}" for name in held_out for part in parts}


def held_out_ids(made: list[Session], share: float) -> set[str]:
    holdout = HoldOut(share)
    return {session.id for session in made if holdout.split(session) == "validation"}


def test_the_held_out_share_is_of_whole_conversations(
    write_sessions: Write, tokenizer_folder: Path, tmp_path: Path
) -> None:
    made = many_conversations()
    held_out = held_out_ids(made, 0.2)
    sides: dict[str, set[bool]] = {}
    for session in made:
        conversation = session.id.split("#")[0].split("/t1_")[0]
        sides.setdefault(conversation, set()).add(session.id in held_out)
    assert len(sides) == 300
    assert all(len(side) == 1 for side in sides.values())
    assert 0.1 < len(held_out) / len(made) < 0.3
    assert held_out_ids(made[::-1], 0.2) == held_out  # of the id alone, not of the order
    assert held_out_ids(made, 0.1) < held_out

    config = TokenizeConfig(
        sessions=(write_sessions(made),), out=tmp_path / "out", tokenizer=str(tokenizer_folder), validation=0.2
    )
    manifest = tokenize(config)
    validation = TokenShards(tmp_path / "out" / "validation")
    assert len(validation) == len(held_out) == manifest.counts["held_out"]
    assert manifest.counts["sessions"] == len(made) - len(held_out) == len(TokenShards(tmp_path / "out"))


def test_sessions_without_an_id_are_divided_too(write_sessions: Write, tokenizer_folder: Path, tmp_path: Path) -> None:
    made = [Session((Turn(f"question {i}"), Turn("answer"))) for i in range(60)]
    config = TokenizeConfig(
        sessions=(write_sessions(made),), out=tmp_path / "out", tokenizer=str(tokenizer_folder), validation=0.3
    )
    tokenize(config)
    assert 5 < len(TokenShards(tmp_path / "out" / "validation")) < 35


@pytest.mark.parametrize("share", [-0.1, 1.0, 2.0])
def test_a_share_outside_its_range_is_a_usage_error(tmp_path: Path, share: float) -> None:
    with pytest.raises(UsageError, match="--validation"):
        tokenize(TokenizeConfig(sessions=(tmp_path,), out=tmp_path / "o", tokenizer=str(tmp_path), validation=share))


def test_a_negative_limit_is_a_usage_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--max-tokens"):
        tokenize(TokenizeConfig(sessions=(tmp_path,), out=tmp_path / "o", tokenizer="no", max_tokens=-1))


@pytest.fixture
def folder(write_sessions: Write, tokenizer_folder: Path, tmp_path: Path) -> Path:
    """A shards folder of three sessions in two shards."""
    made = [Session((Turn(f"does money buy {word}?"), Turn("no"))) for word in ("bread", "love", "time")]
    with patch.object(shards, "TOKENS_PER_SHARD", 20):
        tokenize(
            TokenizeConfig(sessions=(write_sessions(made),), out=tmp_path / "shards", tokenizer=str(tokenizer_folder))
        )
    assert (tmp_path / "shards" / "shard-00001.tokens.npy").is_file()
    return tmp_path / "shards"


def test_tokens_are_small_on_disk_and_mapped(folder: Path, tokenizer: Tokenizer) -> None:
    tokens = np.load(folder / "shard-00000.tokens.npy", mmap_mode="r")
    assert tokens.dtype == np.uint16
    assert np.load(folder / "shard-00000.learn.npy").dtype == np.bool_
    assert isinstance(TokenShards(folder)[0].turns[0], np.memmap)
    manifest = read_manifest(folder)
    assert manifest is not None
    assert manifest.config["tokenizer_digest"] == tokenizer.digest == Tokenizer.load(folder).digest


def test_opening_does_not_read_where_sessions_end(folder: Path) -> None:
    """A corpus of 150 million sessions opens at once; their lengths are computed when they are asked for."""
    read = TokenShards(folder)
    assert (len(read), "lengths" in vars(read)) == (3, False)
    assert read.lengths.tolist() == [len(read[i]) for i in range(3)]
    assert read.lengths is read.lengths


def test_a_text_is_encoded_once_a_group(
    write_sessions: Write, tokenizer_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    encoded: list[str] = []
    encode_flat = Tokenizer.encode_flat

    def listening(self: Tokenizer, texts: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        encoded.extend(texts)
        return encode_flat(self, texts)

    monkeypatch.setattr(Tokenizer, "encode_flat", listening)
    file = write_sessions(Session((Turn("title"), Turn("سؤال"), Turn(leaf))) for leaf in ("yes", "no", "title"))
    tokenize(TokenizeConfig(sessions=(file,), out=tmp_path / "out", tokenizer=str(tokenizer_folder)))
    assert encoded == ["title", "سؤال", "yes", "no"]


@pytest.mark.parametrize("share", [1e-9, 1 - 1e-9])
def test_of_two_conversations_one_is_held_out(
    write_sessions: Write, tokenizer_folder: Path, tmp_path: Path, share: float
) -> None:
    """Whatever the share makes of their hashes; a single one stays whole."""
    turns = (Turn("does money buy happiness?"), Turn("it depends"))
    two = write_sessions([Session(turns, id=f"scene {i}#{part}") for i in range(2) for part in range(3)])
    config = TokenizeConfig(sessions=(two,), out=tmp_path / "out", tokenizer=str(tokenizer_folder), validation=share)
    assert tokenize(config).counts["held_out"] == 3
    assert (len(TokenShards(config.out)), len(TokenShards(config.out / "validation"))) == (3, 3)
    one = write_sessions([Session(turns, id=f"scene#{part}") for part in range(3)])
    with pytest.raises(DataError, match="it is all one conversation, which stays on one side"):
        tokenize(dataclasses.replace(config, sessions=(one,), out=tmp_path / "other"))


def test_a_bad_line_after_many_groups_is_named_and_nothing_is_left(
    tokenizer_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(groups, "TEXT_AT_ONCE", 1)
    file = tmp_path / "in.jsonl"
    file.write_text('{"turns": [{"text": "a"}, {"text": "b"}]}\n' * 20 + "{\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"in\.jsonl:21: not a session"):
        tokenize(TokenizeConfig(sessions=(file,), out=tmp_path / "out", tokenizer=str(tokenizer_folder)))
    assert list(tmp_path.iterdir()) == [file]


@pytest.mark.parametrize("array", ARRAYS)
@pytest.mark.parametrize("damage", ["missing", "empty", "cut", "text", "other length"])
def test_a_damaged_shard_is_an_error(folder: Path, array: str, damage: str) -> None:
    file = folder / f"shard-00001.{array}.npy"
    if damage == "missing":
        file.unlink()
    elif damage == "empty":
        file.write_bytes(b"")
    elif damage == "cut":
        file.write_bytes(file.read_bytes()[:-1])
    elif damage == "text":
        file.write_text("these are no numbers", encoding="utf-8")
    else:
        np.save(file, np.load(file)[:-1] if len(np.load(file)) > 1 else np.append(np.load(file), 7))
    if array == "tokens" and damage == "missing":  # it is what makes a shard: the folder has one shard less
        assert len(TokenShards(folder)) < 3
        return
    with pytest.raises(DataError, match=folder.name):
        TokenShards(folder)


def test_a_folder_without_shards_is_an_error(tmp_path: Path, folder: Path) -> None:
    for path in (tmp_path / "missing", tmp_path):
        with pytest.raises(DataError, match="holds no token shards"):
            TokenShards(path)
    (folder / "manifest.json").write_text("{", encoding="utf-8")
    with pytest.raises(DataError, match="manifest"):
        TokenShards(folder)


def test_an_existing_folder_is_kept_unless_overwrite_is_said(
    folder: Path, write_sessions: Write, tokenizer_folder: Path
) -> None:
    file = write_sessions([Session((Turn("a"), Turn("b")))])
    config = TokenizeConfig(sessions=(file,), out=folder, tokenizer=str(tokenizer_folder))
    with pytest.raises(UsageError, match="not empty"):
        tokenize(config)
    assert len(TokenShards(folder)) == 3
    tokenize(dataclasses.replace(config, overwrite=True))
    assert len(TokenShards(folder)) == 1


@pytest.mark.parametrize(("text", "warned"), [("مرحبا كيف حالك", True), ("Hello, how are you?", False), ("", False)])
def test_a_tokenizer_of_another_language_is_said(
    write_sessions: Write, tmp_path: Path, caplog: pytest.LogCaptureFixture, text: str, warned: bool
) -> None:
    path = write_sessions([Session((Turn(text), Turn(text)))])
    tokenize(TokenizeConfig(sessions=(path,), out=tmp_path / "out", tokenizer="bundled"))
    assert ("tokens per character" in caplog.text) is warned


def test_a_tokenizer_that_knows_letters_alone_is_said(
    write_sessions: Write, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """As GPT-2's, which has a token for each Arabic letter and hardly one for two."""
    letters = "ابتثجحخدذرزسشصضطظعغفقكلمنهويءأإآؤئةى؟"
    (tmp_path / "tokenizer").mkdir()
    tokenizer = Tokenizer.train(list(letters) * 2, 400)
    tokenizer.save(tmp_path / "tokenizer")
    text = "صباح الخير يا صديقي، كيف حالك اليوم؟"
    assert len(text) <= len(tokenizer.encode(text)) <= len(text) + 1
    path = write_sessions([Session((Turn(text), Turn(text)))])
    tokenize(TokenizeConfig(sessions=(path,), out=tmp_path / "out", tokenizer=str(tmp_path / "tokenizer")))
    assert "the tokenizer takes 1.0 tokens per character" in caplog.text


@pytest.mark.parametrize(("long", "warned"), [(3, True), (2, False)])
def test_many_turns_that_are_too_long_are_warned_of(
    write_sessions: Write, tmp_path: Path, tokenizer_folder: Path, caplog: pytest.LogCaptureFixture,
    long: int, warned: bool,
) -> None:  # fmt: skip
    sessions = [Session((Turn("a"), Turn("b"))) for _ in range(10)] + [Session((Turn("z" * 99), Turn("b")))] * long
    path = write_sessions(sessions)
    tokenize(TokenizeConfig(sessions=(path,), out=tmp_path / "out", tokenizer=str(tokenizer_folder), max_tokens=16))
    assert (f"{long} of {20 + 2 * long} turns are longer than half of --max-tokens 16" in caplog.text) is warned
