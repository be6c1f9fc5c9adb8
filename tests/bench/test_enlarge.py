"""A month of dumps, repeated: threads stay threads, ids are unique, and nothing but ids is touched."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import zstandard
from hypothesis import given
from hypothesis import strategies as st

from dialogpt.data import ExtractConfig
from dialogpt.data.extract import extract
from dialogpt.errors import DialoGPTError
from dialogpt.files import read_lines
from dialogpt.session import read_sessions

BENCHMARK = "enlarge"
SCRIPT = Path(__file__).parents[2] / "bench" / "enlarge.py"
COMMENTS: list[dict[str, Any]] = [
    {"body": "صباح الخير 😊 \u2028", "id": "c1", "link_id": "t3_a", "parent_id": "t3_a", "score": 2, "edited": 1.50},
    {"score": 3, "id": "c2", "body": 'not an "id":"c1"', "parent_id": "t1_c1", "link_id": "t3_a", "x": {"id": "c1"}},
    {"id": "c9", "body": "hi", "parent_id": "t1_zz", "link_id": "t3_b", "author": None},  # its parent is of last month
    {"id": "D!", "body": "no such id", "parent_id": 12, "link_id": None, "name": "t1_c1"},
]
SUBMISSIONS: list[dict[str, Any]] = [{"id": "a", "title": "Morning"}, {"title": "Старая", "id": "b", "url": "t3_a"}]


@pytest.fixture
def month(tmp_path: Path) -> list[Path]:
    paths = [tmp_path / "RC_2020-01", tmp_path / "RS_2020-01"]
    for path, records in zip(paths, (COMMENTS, SUBMISSIONS), strict=True):
        lines = [json.dumps(record) for record in records]
        path.write_text("\n".join([*lines, "{cut"]) + "\n", encoding="utf-8")
    return paths


def records(path: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in read_lines(path) if line != b"{cut"]


@pytest.mark.parametrize("suffix", ["zst", "bz2"])
def test_copies_have_ids_of_their_own_and_all_else_of_the_month(
    bench: Any, month: list[Path], tmp_path: Path, suffix: str
) -> None:
    made = bench.enlarge(month, 10, tmp_path / "out", suffix)
    comments, submissions = made
    assert [path.name for path in made] == [f"RC_2020-01.{suffix}", f"RS_2020-01.{suffix}"]
    assert {name: made[comments][name] for name in ("copies", "comments", "other lines")} == {
        "copies": 3, "comments": 12, "other lines": 3
    }  # fmt: skip
    assert made[submissions]["submissions"] == 6
    assert made[comments]["bytes"] == sum(len(line) + 1 for line in read_lines(comments))
    for path, originals in ((comments, COMMENTS), (submissions, SUBMISSIONS)):
        found = records(path)
        assert found[: len(originals)] == originals
        for number, record in enumerate(found):
            original = originals[number % len(originals)]
            assert list(record) == list(original)
            ids = bench.ID_FIELDS
            assert {k: v for k, v in record.items() if k not in ids} == {
                k: v for k, v in original.items() if k not in ids
            }


def test_threads_stay_threads_and_outside_stays_outside(bench: Any, month: list[Path], tmp_path: Path) -> None:
    comments, submissions = bench.enlarge(month, 16, tmp_path / "out")
    found = [record for record in records(comments) if record["id"] != "D!"]
    ids = [record["id"] for record in found]
    titles = [record["id"] for record in records(submissions)]
    assert len(ids) == len(set(ids)) == 12
    assert len(titles) == len(set(titles)) == 8
    assert [int(name, 36) for name in ids] == sorted(int(name, 36) for name in ids)
    for copy in range(4):
        first, answer, other = found[3 * copy : 3 * copy + 3]
        thread, other_thread = (f"t3_{name}" for name in titles[2 * copy : 2 * copy + 2])
        assert first["link_id"] == first["parent_id"] == answer["link_id"] == thread
        assert answer["parent_id"] == f"t1_{first['id']}"
        assert other["link_id"] == other_thread
        assert other["parent_id"].removeprefix("t1_") not in ids
    odd = [record for record in records(comments) if record["id"] == "D!"]
    assert odd == [COMMENTS[3]] * 4  # what is no id is left as it is


def test_as_many_sessions_as_copies(bench: Any, shared: Path, tmp_path: Path) -> None:
    dumps = [shared / "reddit" / "RC_2006-01.bz2", shared / "reddit" / "RS_2006-01.zst"]
    made = bench.enlarge(dumps, 7000, tmp_path / "out")
    assert [counts["copies"] for counts in made.values()] == [2, 2]
    texts = []
    for name, paths in (("one", dumps), ("two", list(made))):
        extract(ExtractConfig(dumps=tuple(paths), out=tmp_path / name, dedup=False))
        texts.append(sorted([turn.text for turn in session.turns] for session in read_sessions(tmp_path / name)))
    assert len(texts[0]) > 300
    assert sorted(texts[0] * 2) == texts[1]


def test_a_long_window_is_in_the_frame(bench: Any, month: list[Path], tmp_path: Path) -> None:
    comments, _ = bench.enlarge(month, 8, tmp_path / "out", long=27)
    head = comments.read_bytes()
    assert zstandard.get_frame_parameters(head).window_size == 1 << 27
    assert len(records(comments)) == 8


@given(st.integers(0, 36**13))
def test_base_36(bench: Any, number: int) -> None:
    assert int(bench.base36(number), 36) == number
    assert not bench.base36(number).startswith("0") or number == 0


@pytest.mark.parametrize("out, dumps, message", [(".", "RC_1.zst", "onto themselves"), ("out", "RS_1", "no comments")])
def test_what_cannot_be_done_is_an_error(bench: Any, tmp_path: Path, out: str, dumps: str, message: str) -> None:
    (tmp_path / dumps).write_text('{"id": "a", "title": "t"}\n', encoding="utf-8")
    with pytest.raises(DialoGPTError, match=message):
        bench.enlarge([tmp_path / dumps], 1, tmp_path / out)
    assert (tmp_path / dumps).stat().st_size == 26


def test_the_script_prints_what_it_wrote(month: list[Path], tmp_path: Path) -> None:
    command = [sys.executable, str(SCRIPT), *map(str, month), "--comments", "5", "--out", str(tmp_path / "out")]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    assert f"{tmp_path}/out/RC_2020-01.zst: 2 copies, 8 comments" in done.stdout
    wrong = subprocess.run([*command, "--long", "31", "--format", "bz2"], capture_output=True, text=True, check=False)
    assert (wrong.returncode, wrong.stdout) == (2, "")
    assert "--long is for zst" in wrong.stderr
