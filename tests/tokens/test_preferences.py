"""Preferences -> pairs of rows: every form is read, contexts lose whole turns, damage is named."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialogpt.artifact import read_manifest
from dialogpt.errors import DataError, UsageError
from dialogpt.session import Turn
from dialogpt.tokens import TokenizeConfig
from dialogpt.tokens.batches import IGNORE
from dialogpt.tokens.bpe import Tokenizer
from dialogpt.tokens.pairs import TokenPairs, collate_pairs, open_shards
from dialogpt.tokens.preferences import fit_pair, read_pairs
from dialogpt.tokens.shards import TokenShards, tokenize

FORMS: list[dict[str, Any]] = [
    {"context": ["hi"], "better": "hello", "worse": "no"},
    {"context": ["hi", " "], "better": "hello", "worse": "no", "id": 7},
    {"context": [{"text": "hi", "speaker": "Ann"}], "better": "hello", "worse": "no", "votes": [3, 1]},
]


def written(folder: Path, *lines: dict[str, Any], name: str = "preferences.jsonl") -> Path:
    (folder / name).write_text("\n".join(map(json.dumps, lines)) + "\n\n", encoding="utf-8")
    return folder / name


def made(folder: Path, tokenizer_folder: Path, *lines: dict[str, Any], **settings: Any) -> Path:
    tokenize(
        TokenizeConfig(
            sessions=(written(folder, *lines),), out=folder / "shards", tokenizer=str(tokenizer_folder), **settings
        )
    )
    return folder / "shards"


@pytest.mark.parametrize("line", FORMS, ids=lambda line: " ".join(line))
def test_every_form_is_one_pair(tmp_path: Path, line: dict[str, Any]) -> None:
    (pair,) = read_pairs(written(tmp_path, line))
    assert pair.turns == (Turn("hi", learn=False), Turn("hello"), Turn("no"))
    assert pair.id == str(line.get("id", ""))


@given(st.lists(st.integers(1, 9), min_size=1, max_size=8), st.integers(0, 30))
def test_a_context_loses_its_oldest_turns(lengths: list[int], most: int) -> None:
    dropped: Counter[str] = Counter()
    found = list(fit_pair(lengths, most, dropped))
    if not found:
        assert sum(dropped.values()) == 1
        assert len(lengths) < 3 or lengths[-3] + max(lengths[-2:]) > most > 0
        return
    ((first, stop),) = [(part.start, part.stop) for part in found]
    longest = sum(lengths[first:-2]) + max(lengths[-2:])
    assert stop == len(lengths)
    assert first < len(lengths) - 2
    assert not most or longest <= most
    assert first == 0 or longest + lengths[first - 1] > most > 0, "no more is cut than has to be"
    assert not dropped


def test_rows_are_contexts_with_their_replies(tmp_path: Path, tokenizer_folder: Path, tokenizer: Tokenizer) -> None:
    lines = [
        {"context": ["hi", "كيف حالك؟"], "better": "fine 😀", "worse": "no"},
        {"context": ["what do you do?"], "better": "a", "worse": "I bake bread, and then I sell it"},
    ]
    pairs = open_shards(made(tmp_path, tokenizer_folder, *lines))
    assert isinstance(pairs, TokenPairs)
    batch = collate_pairs([pairs[0], pairs[1]])
    assert batch.target_count == len(pairs) == 2
    rows = [(line, reply) for line in lines for reply in ("better", "worse")]
    for number, (line, reply) in enumerate(rows):
        context = [token for turn in tokenizer.encode_turns(map(Turn, line["context"])) for token in turn]
        row = context + tokenizer.encode(str(line[reply]))
        assert batch.tokens[number, : len(row)].tolist() == row
        (place,) = np.flatnonzero(batch.targets[number] != IGNORE)
        assert (place, batch.targets[number, place]) == (len(row) - 1, reply == "better")
        assert len(row) + 1 <= pairs.lengths[number // 2]
    assert [int(pairs.lengths[:1].max()), int(pairs.lengths[1])] == [
        max(len(pairs[i]) - len(turn) for turn in pairs[i].turns[-2:]) for i in (0, 1)
    ]


def test_many_pairs_are_cut_counted_and_held_out(tmp_path: Path, tokenizer_folder: Path) -> None:
    lines = [
        {"id": f"t3_{n % 10}/{n}", "context": ["a long story"] * (n // 10 % 4), "better": "yes", "worse": "no"}
        for n in range(80)
    ]
    folder = made(tmp_path, tokenizer_folder, *lines, max_tokens=24, validation=0.3)
    train, held_out = open_shards(folder), open_shards(folder / "validation")
    assert isinstance(train, TokenPairs)
    assert isinstance(held_out, TokenPairs)
    assert len(train) + len(held_out) == 60
    assert len(held_out) % 6 == 0, "all pairs of a thread are on one side"
    manifest = read_manifest(folder)
    assert manifest is not None
    assert manifest.dropped == {"pair without a context": 20}
    assert (manifest.counts["pairs"], manifest.counts["held_out"]) == (len(train), len(held_out))
    assert max(train.lengths.max(), held_out.lengths.max()) <= 24


BAD = {
    "no reply": ({"context": ["hi"], "better": "hello", "worse": " "}, "2: the worse reply is empty"),
    "no better": ({"context": ["hi"], "better": "", "worse": "no"}, "2: the better reply is empty"),
    "a session": ({"turns": ["hi", "hello"]}, "2: not a preference: .*`context`"),
    "twice": ({"context": ["hi"], "better": "no", "worse": "no"}, "2: both replies are the same"),
    "a number": ({"context": ["hi"], "better": 3, "worse": "no"}, "2: not a preference"),
}


@pytest.mark.parametrize("kind", BAD)
def test_a_line_that_is_no_pair(tmp_path: Path, tokenizer_folder: Path, kind: str) -> None:
    line, message = BAD[kind]
    with pytest.raises(DataError, match=message):
        made(tmp_path, tokenizer_folder, FORMS[0], line)
    assert not (tmp_path / "shards").exists()


def test_files_that_do_not_go_together(tmp_path: Path, tokenizer_folder: Path) -> None:
    with pytest.raises(DataError, match="another program's preferences") as error:
        made(tmp_path, tokenizer_folder, {"prompt": "hi", "chosen": "hello", "rejected": "no"})
    assert error.value.hint.startswith(f"dialogpt preferences {tmp_path}")
    written(tmp_path, {"turns": [{"text": "hi"}, {"text": "hello"}]}, name="sessions.jsonl")
    written(tmp_path, FORMS[0])
    with pytest.raises(UsageError, match=r"preferences\.jsonl holds preferences, .*sessions\.jsonl does not"):
        tokenize(TokenizeConfig(sessions=(tmp_path,), out=tmp_path / "out", tokenizer=str(tokenizer_folder)))
    with pytest.raises(DataError, match=r"no pair is left for train .*pair over --max-tokens: 1"):
        made(tmp_path, tokenizer_folder, FORMS[0] | {"better": "hello " * 9}, max_tokens=8)
    (tmp_path / "preferences.jsonl").write_bytes(b"\xef\xbb\xbf" + json.dumps(FORMS[0]).encode())
    (tmp_path / "sessions.jsonl").write_bytes(b"")
    tokenize(TokenizeConfig(sessions=(tmp_path,), out=tmp_path / "bom", tokenizer=str(tokenizer_folder)))
    assert isinstance(open_shards(tmp_path / "bom"), TokenPairs)
    (tmp_path / "preferences.jsonl").unlink()
    written(tmp_path, {"turns": [{"text": "hi"}, {"text": "hello"}]}, name="sessions.jsonl")
    tokenize(TokenizeConfig(sessions=(tmp_path,), out=tmp_path / "out", tokenizer=str(tokenizer_folder)))
    assert isinstance(open_shards(tmp_path / "out"), TokenShards)
