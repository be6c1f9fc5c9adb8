"""Pairs of replies out of dumps: neighbours in time, the one with more votes first."""

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import msgspec
import pytest

from dialogpt.artifact import Manifest, read_manifest
from dialogpt.data import PreferencesConfig
from dialogpt.data.preferences import preferences
from dialogpt.errors import DataError, UsageError
from dialogpt.session import Preference, Turn


def thread(dumps: Any, scores: list[int], name: str = "x", text: str = "reply") -> list[dict[str, Any]]:
    """A submission with replies of these votes, in the order of writing."""
    comments = [dumps.comment(n, 0, f"{text} {n}", name, score=score) for n, score in enumerate(scores, 1)]
    return [dumps.submission(name, title=f"Question {name}?"), *comments]


def make(dumps: Any, *paths: Path, **options: Any) -> tuple[Manifest, list[Preference]]:
    manifest = preferences(PreferencesConfig(dumps=paths, out=dumps.out, overwrite=True, **options))
    assert read_manifest(dumps.out) == manifest
    assert not list(dumps.folder.glob(".*.job"))
    made = msgspec.json.Decoder(Preference).decode_lines((dumps.out / "preferences.jsonl").read_bytes())
    assert manifest.counts["pairs"] == len(made)
    assert manifest.counts["contexts"] == len({pair.context for pair in made})
    return manifest, made


def test_neighbours_in_time_are_paired(dumps: Any) -> None:
    records = [
        *thread(dumps, [3, 9, 9, 2, 5]),
        dumps.comment(6, 2, "جواب 😀", score=-4),
        dumps.comment(7, 2, "no", score=8),
    ]
    path = dumps.write(*reversed(records))  # wherever they stand in the dump
    manifest, made = make(dumps, path)
    question = Turn("Question x?", "op")
    assert [(pair.better, pair.worse) for pair in made] == [
        ("reply 2", "reply 1"), ("reply 3", "reply 4"), ("reply 5", "reply 4"), ("no", "جواب 😀"),
    ]  # fmt: skip
    assert [pair.context for pair in made] == [(question,)] * 3 + [(question, Turn("reply 2", "a2"))]
    assert made[0].id == "t3_x/t3_x/t1_x2/t1_x1"
    assert manifest.dropped == {"pair: votes too alike": 1}

    manifest, made = make(dumps, path, min_gap=7, max_turns=1)
    assert [(pair.context, pair.better) for pair in made] == [
        ((question,), "reply 3"), ((Turn("reply 2", "a2"),), "no"),
    ]  # fmt: skip
    assert manifest.dropped == {"pair: votes too alike": 3}


def test_what_is_left_out_is_no_neighbour(dumps: Any) -> None:
    (dumps.folder / "phrases").write_text("rotten fish\n")
    records = [
        *thread(dumps, [1]), dumps.comment(2, 0, "a rotten  fish", score=50), dumps.comment(3, 0, "REPLY 1", score=7),
        dumps.comment(4, 0, "see http://x.y", score=8), dumps.comment(5, 0, "fine", score=4),
    ]  # fmt: skip
    manifest, (pair,) = make(dumps, dumps.write(*records), blocklist=dumps.folder / "phrases")
    assert (pair.better, pair.worse) == ("fine", "reply 1")
    assert manifest.dropped == {"response: offensive": 1, "response: repeated": 1, "comment: url": 1}


def test_votes_that_were_not_known_prefer_nothing(dumps: Any) -> None:
    records = thread(dumps, [50, 0, 30, 1, 7])
    del records[2]["score"]
    records[4] |= {"score_hidden": True}
    manifest, made = make(dumps, dumps.write(*records))
    assert [(pair.better, pair.worse) for pair in made] == [("reply 1", "reply 3"), ("reply 3", "reply 5")]
    assert manifest.dropped == {"response: votes unknown": 2}


def test_a_limit_gives_a_part(dumps: Any) -> None:
    path = dumps.write(*(record for n in range(12) for record in thread(dumps, [1, 2], f"x{n}")))
    _, every = make(dumps, path)
    assert len(every) == 12
    manifest, some = make(dumps, path, limit=5)
    assert manifest.dropped == {"pair: beyond --limit": 7}
    assert [pair for pair in every if pair in some] == some
    assert len(some) == 5


def test_settings_that_cannot_work(dumps: Any) -> None:
    path = dumps.write(*thread(dumps, [4, 4]))
    for options in ({"min_gap": 0}, {"max_turns": 0}, {"limit": -1}):
        with pytest.raises(UsageError, match="below"):
            preferences(PreferencesConfig(dumps=(path,), out=dumps.out, **options))
    with pytest.raises(UsageError, match="no dumps"):
        preferences(PreferencesConfig(dumps=(), out=dumps.out))
    with pytest.raises(DataError, match="no two replies to one post differ by 1 votes"):
        preferences(PreferencesConfig(dumps=(path,), out=dumps.out))
    assert [entry.name for entry in dumps.folder.iterdir()] == ["R"]


HI = {"role": "user", "content": "hi"}
HELLO, NO = ({"role": "assistant", "content": text} for text in ("hello", "no"))
CHOSEN: dict[str, dict[str, Any]] = {
    "texts": {"prompt": "hi", "chosen": "hello", "rejected": "no"},
    "an instruction and more": {"instruction": "hi", "input": "", "chosen": "hello", "rejected": "no", "source": "x"},
    "messages after a prompt": {"prompt": [HI], "chosen": [HELLO], "rejected": [NO]},
    "messages after a text": {"prompt": "hi", "chosen": [HELLO], "rejected": [NO]},
    "whole conversations": {"chosen": [HI, HELLO], "rejected": [HI, NO]},
    "whole ones beside the prompt": {"prompt": "hi", "chosen": [HI, HELLO], "rejected": [HI, NO], "score": 3},
    "one message each": {"conversations": [{"from": "human", "value": "hi"}],
                         "chosen": {"from": "gpt", "value": "hello"}, "rejected": {"from": "gpt", "value": "no"}},
    "transcripts": {"chosen": "\n\nHuman: hi\n\nAssistant: hello", "rejected": "\n\nHuman: hi\n\nAssistant: no"},
    "a system message": {"chosen": [{"role": "system", "content": "Be"}, HI, HELLO], "rejected": [HI, NO]},
}  # fmt: skip


@pytest.mark.parametrize("form", CHOSEN)
@pytest.mark.parametrize("as_list", [False, True])
def test_other_trainers_preferences(tmp_path: Path, form: str, as_list: bool) -> None:
    text = json.dumps([CHOSEN[form]], indent=2 if as_list else None)
    (tmp_path / "dpo.json").write_text(text if as_list else text[1:-1], encoding="utf-8")
    manifest = preferences(PreferencesConfig(dumps=(tmp_path / "dpo.json",), out=tmp_path / "out"))
    (pair,) = msgspec.json.Decoder(Preference).decode_lines((tmp_path / "out" / "preferences.jsonl").read_bytes())
    assert ([turn.text for turn in pair.context], pair.better, pair.worse) == (["hi"], "hello", "no")
    assert manifest.counts == {"pairs": 1}
    assert manifest.dropped == ({"system message": 1} if form == "a system message" else {})
    assert read_manifest(tmp_path / "out") == manifest


def test_what_is_no_pair_is_counted_or_named(tmp_path: Path) -> None:
    file = tmp_path / "dpo.jsonl"
    texts = CHOSEN["texts"]
    rows = [
        texts,
        {"chosen": [HI, HELLO, HI, HELLO], "rejected": [HI, NO]},
        {"chosen": [HI, HELLO], "rejected": [HI, HI]},
        *(texts | change for change in ({"rejected": "hello"}, {"rejected": " "}, {"prompt": ""})),
    ]
    file.write_text("\n".join(map(json.dumps, [*rows, texts | {"prompt": "مرحبا\u200f 😀"}])), encoding="utf-8")
    config = PreferencesConfig(dumps=(file,), out=tmp_path / "out", overwrite=True)
    manifest = preferences(config)
    assert manifest.counts == {"pairs": 2}
    assert manifest.dropped == {
        "pair of different contexts": 2, "pair of the same reply twice": 1, "pair without two replies": 1,
        "pair without a context": 1,
    }  # fmt: skip
    made = msgspec.json.Decoder(Preference).decode_lines((tmp_path / "out" / "preferences.jsonl").read_bytes())
    assert [pair.context[0].text for pair in made] == ["hi", "مرحبا 😀"]
    assert [pair.id for pair in made] == ["", ""], "so that pairs of one prompt are held out together"

    with pytest.raises(UsageError, match="--min-gap is for dumps"):
        preferences(replace(config, min_gap=3))
    file.write_text(json.dumps(texts) + '\n{"prompt": "hi", "chosen": "hello"}\n')
    with pytest.raises(DataError, match=r"dpo\.jsonl:2: not a preference: 'rejected' is missing"):
        preferences(config)
    file.write_text(json.dumps(texts) + '\n["hi"]\n')
    with pytest.raises(DataError, match=r"dpo\.jsonl:2: not a preference: a JSON object is needed"):
        preferences(config)
    file.write_text(json.dumps(texts | {"prompt": "long " * 20_000}), encoding="utf-16")
    assert preferences(config).counts == manifest.counts | {"pairs": 1}
    manifest = preferences(config)
    file.write_text(json.dumps(texts | {"prompt": ""}) + "\n")
    with pytest.raises(DataError, match="no pair is left of"):
        preferences(config)
    assert read_manifest(tmp_path / "out") == manifest, "what was there is kept"
    (tmp_path / "other").write_text("{}\n")
    with pytest.raises(UsageError, match="other does not"):
        preferences(replace(config, dumps=(file, tmp_path / "other")))
    (tmp_path / "ours").write_bytes((tmp_path / "out" / "preferences.jsonl").read_bytes())
    with pytest.raises(UsageError, match="ours holds preferences already"):
        preferences(replace(config, dumps=(tmp_path / "ours",)))
    with pytest.raises(DataError, match="missing does not exist"):
        preferences(replace(config, dumps=(file, tmp_path / "missing")))


def test_real_months(dumps: Any, shared: Path) -> None:
    months = [shared / "reddit" / f"RC_2006-0{n}.bz2" for n in (1, 2)]
    manifest, every = make(dumps, *months)
    assert manifest.counts["comments"] == 3666 + 9095
    assert len({pair.id for pair in every}) == len(every) > 50
    assert make(dumps, *months, workers=2)[1] == every
    assert len(make(dumps, *months, min_gap=5)[1]) < len(every)
