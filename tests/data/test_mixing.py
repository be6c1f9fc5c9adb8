"""The `mix` command: sources by weights, near-duplicates among all of them, mixture files that do not load."""

import json
from collections import Counter
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialogpt.data import MixConfig
from dialogpt.data.importing import Importer
from dialogpt.data.mixing import copies, mix
from dialogpt.errors import DataError, UsageError
from dialogpt.session import read_sessions

WORDS = [
    "amber",
    "birch",
    "cedar",
    "dune",
    "ember",
    "fjord",
    "grove",
    "heath",
    "islet",
    "jetty",
    "knoll",
    "ledge",
    "marsh",
]


def talk(number: int) -> list[str]:
    """Two turns like no other number's."""
    words = [WORDS[number * prime % len(WORDS)] + str(number) for prime in (1, 3, 5, 7)]
    letters = "".join(chr(ord("a") + int(digit)) for digit in str(number))
    return [f"have you seen the {letters} {words[0]} near the {words[1]}", f"yes {letters} it is by the {words[2]}"]


@pytest.fixture
def mixture(tmp_path: Path) -> Path:
    """Two sources, `a` of 200 sessions and `b` of 3, the last of which is like one of a's."""
    (tmp_path / "data").mkdir()
    sources = {"a": [talk(n) for n in range(200)], "b": [talk(901), talk(902), [text.upper() for text in talk(7)]]}
    for name, conversations in sources.items():
        lines = (json.dumps({"id": f"{name}/{n}", "turns": turns}) for n, turns in enumerate(conversations))
        (tmp_path / "data" / f"{name}.jsonl").write_text("\n".join(lines))
    path = tmp_path / "mixture.toml"
    path.write_text('[first]\nfiles = ["a.jsonl"]\nweight = 1.5\n[second]\nfiles = ["b.jsonl"]\nweight = 3\n')
    return path


def run(mixture: Path, **settings: Any) -> tuple[Counter[str], dict[str, int], dict[str, int]]:
    """How often each session's id is there, and the manifest's numbers."""
    out = mixture.parent / "out"
    manifest = mix(MixConfig(mixture=mixture, root=mixture.parent / "data", out=out, overwrite=True, **settings))
    assert sorted(path.name for path in out.iterdir()) == ["manifest.json", "sessions-00000.jsonl.zst"]
    return Counter(session.id for session in read_sessions(out)), manifest.counts, manifest.dropped


def test_weights_say_how_often_a_session_is_read(mixture: Path) -> None:
    found, counts, dropped = run(mixture, dedup=False)
    assert {found[f"b/{n}"] for n in range(3)} == {3}
    assert {found[f"a/{n}"] for n in range(200)} == {1, 2}
    assert 270 < counts["first: sessions"] < 330  # 300 on average, 7 the standard deviation
    assert counts["second: sessions"] == 9
    assert counts["sessions"] == found.total() == counts["first: sessions"] + 9
    assert dropped == {}


def test_near_duplicates_are_found_between_sources(mixture: Path) -> None:
    found, _, dropped = run(mixture)
    assert (found["a/7"] == 0) != (found["b/2"] == 0)
    assert len(found) == 202
    assert sum(dropped.values()) == 1
    assert set(dropped) <= {"first: near-duplicate", "second: near-duplicate"}


def test_what_import_drops_is_counted_by_source(mixture: Path) -> None:
    mixture.write_text('[a]\nfiles = ["a.jsonl"]\nhead = 1\n')
    with pytest.raises(DataError, match=r"no session of two turns or more in .*a\.jsonl"):
        run(mixture)
    mixture.write_text('[a]\nfiles = ["a.jsonl"]\nreject = ["seen the aa "]\n')
    _, counts, dropped = run(mixture)
    assert dropped == {}
    mixture.write_text('[a]\nfiles = ["a.jsonl"]\nreject = ["seen the ba "]\n')
    _, counts, dropped = run(mixture)
    assert dropped == {
        "a: turn with a --reject pattern": 1,
        "a: session of fewer than two turns": 2,
    }  # before and after
    assert counts["a: sessions"] == 199


@given(st.text(max_size=20), st.floats(0.001, 50))
def test_copies_are_the_weight_rounded_down_or_up(id: str, weight: float) -> None:
    found = copies(id, weight)
    assert int(weight) <= found <= int(weight) + 1
    assert found <= copies(id, weight + 1) - 1 + 1e-9  # more weight, never fewer
    assert copies(id, float(int(weight))) == int(weight)


@pytest.mark.parametrize(
    ("text", "message", "hint"),
    [
        ("", "names no source", "files"),
        ("weight = 1", "is not in a source's table", "below a"),
        ("[a", "does not load", "TOML"),
        ('[a]\nfile = ["a.jsonl"]', "unknown setting 'file'", "did you mean 'files'"),
        ('[a]\nfiles = ["a.jsonl"]\nout = "x"', "unknown setting 'out'", "known: files, from, "),
        ('[a]\nfiles = ["a.jsonl"]\nhead = "2"', "head", "no quotes"),
        ('[a]\nfiles = ["a.jsonl"]\nweight = 0', "weight 0 is out of range", "above 0"),
        ('[a]\nfiles = ["a.jsonl"]\nweight = inf', "weight inf is out of range", "above 0"),
        ('[a]\nfiles = ["a.jsonl"]\nweight = 1e30', "weight 1e.30 is out of range", "at most 10,000"),
        ("[a]\nhead = 2", "files", ""),
        ("[a]\nfiles = []", "names no files", "chats.jsonl"),
    ],
)
def test_a_mixture_that_does_not_load_is_said(mixture: Path, text: str, message: str, hint: str) -> None:
    mixture.write_text(text)
    with pytest.raises(UsageError, match=message) as error:
        run(mixture)
    assert hint in error.value.hint
    assert str(mixture) in error.value.message
    assert not (mixture.parent / "out").exists()


@pytest.mark.parametrize(
    ("setting", "message"),
    [
        ('files = ["c.jsonl"]', "c.jsonl does not exist"),
        ('files = ["b.jsonl", "c.jsonl"]', "c.jsonl does not exist"),
        ('files = ["b.jsonl"]\nwindow = -1', "--window -1"),
        ('files = ["b.jsonl"]\nremove = ["("]', "is not a valid pattern"),
        ('files = ["b.jsonl"]\nspeaker = "Zed"', "'Zed' says nothing"),
        ('files = ["b.jsonl"]\nhead = 1', "no session of two turns"),
    ],
)
def test_an_error_is_of_a_source(mixture: Path, setting: str, message: str) -> None:
    mixture.write_text(f'[first]\nfiles = ["a.jsonl"]\n[second]\n{setting}\n', encoding="utf-8-sig")
    with pytest.raises((DataError, UsageError), match=rf"mixture\.toml: \[second\]: .*{message}"):
        run(mixture)
    assert not (mixture.parent / "out").exists()


def test_a_source_that_is_not_there_is_an_error_before_others_are_read(
    mixture: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Importer, "sessions", lambda *_: pytest.fail("a source is read"))
    mixture.write_text('[first]\nfiles = ["a.jsonl"]\n[second]\nfiles = ["c.jsonl"]\n')
    with pytest.raises(DataError, match="does not exist"):
        run(mixture)


def test_a_source_may_be_left_out(mixture: Path) -> None:
    counts, numbers, _ = run(mixture, without=("first",))
    assert set(counts) == {"b/0", "b/1", "b/2"}
    assert not any(key.startswith("first") for key in numbers)


@pytest.mark.parametrize(
    ("without", "message"), [(("third",), "no source 'third'"), (("second", "first"), "no source of .* is left")]
)
def test_sources_that_cannot_be_left_out_are_said(mixture: Path, without: tuple[str, ...], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        run(mixture, without=without)


def test_weights_that_leave_nothing_are_an_error(mixture: Path) -> None:
    mixture.write_text('[a]\nfiles = ["b.jsonl"]\nweight = 1e-9\n')
    with pytest.raises(DataError, match="no session is left"):
        run(mixture)
    assert not (mixture.parent / "out").exists()


def test_files_are_under_the_root_or_beside_the_mixture(mixture: Path) -> None:
    mixture.write_text('[a]\nfiles = ["data/a.jsonl"]\nblocklist = "list.txt"\n')
    (mixture.parent / "list.txt").write_text("seen the ba\n")
    out = mixture.parent / "out"
    manifest = mix(MixConfig(mixture=mixture, out=out))
    assert manifest.counts["a: offensive_turns"] == 1
    assert manifest.inputs == [str(mixture), str(mixture.parent / "data" / "a.jsonl")]
    (mixture.parent / "own.jsonl").write_text('{"turns": ["Hi", "Hello"]}')
    mixture.write_text('[a]\nfiles = ["a.jsonl"]\n[own]\nfiles = ["own.jsonl"]\n')
    assert run(mixture)[1]["own: sessions"] == 1
