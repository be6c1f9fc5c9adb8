"""Pairs of replies out of dumps: neighbours in time, the one with more votes first."""

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


def test_a_limit_gives_a_part(dumps: Any) -> None:
    path = dumps.write(*(record for n in range(12) for record in thread(dumps, [1, 2], f"x{n}")))
    _, every = make(dumps, path)
    assert len(every) == 12
    _, some = make(dumps, path, limit=5)
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


def test_real_months(dumps: Any, shared: Path) -> None:
    months = [shared / "reddit" / f"RC_2006-0{n}.bz2" for n in (1, 2)]
    manifest, every = make(dumps, *months)
    assert manifest.counts["comments"] == 3666 + 9095
    assert len({pair.id for pair in every}) == len(every) > 50
    assert make(dumps, *months, workers=2)[1] == every
    assert len(make(dumps, *months, min_gap=5)[1]) < len(every)
