"""Dump -> sessions folder, whole: small months, real months, several partitions, and what can be wrong."""

import bz2
import json
from pathlib import Path
from typing import Any

import pytest

from dialogpt.artifact import MANIFEST, Manifest, read_manifest
from dialogpt.data import ExtractConfig, spill
from dialogpt.data import extract as module
from dialogpt.data.extract import extract
from dialogpt.errors import DataError, UsageError
from dialogpt.session import DROPPED, Session, read_sessions
from dialogpt.tokens import TokenizeConfig
from dialogpt.tokens.shards import TokenShards, tokenize


@pytest.fixture
def mini() -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    return load_mini_dump().records()  # type: ignore[no-any-return]


def load_mini_dump() -> Any:
    import importlib.util

    spec = importlib.util.spec_from_file_location("mini_dump", Path(__file__).with_name("mini_dump.py"))
    assert spec
    assert spec.loader
    found = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(found)
    return found


def comment(number: int | str, parent: int | str, body: str = "", **fields: object) -> dict[str, object]:
    """A comment of thread t3_0; `parent` 0 is the submission."""
    above = parent if isinstance(parent, str) else f"t1_{parent}" if parent else "t3_0"
    base = {"id": str(number), "link_id": "t3_0", "parent_id": above, "body": body or f"comment {number}", "score": 1}
    return base | {"subreddit": "s", "author": f"a{number}"} | fields


def write(path: Path, *records: object) -> Path:
    path.write_text("".join(json.dumps(record) + "\n" for record in records), encoding="utf-8")
    return path


def run(tmp_path: Path, *dumps: Path, files: int = 1, **options: Any) -> tuple[Manifest, list[Session]]:
    out = tmp_path / "sessions"
    manifest = extract(ExtractConfig(dumps=dumps, out=out, overwrite=True, **options))
    assert_adds_up(manifest)
    assert read_manifest(out) == manifest
    names = sorted(path.name for path in out.iterdir() if path.name not in (MANIFEST, DROPPED))
    assert all(name.startswith("sessions-") for name in names)
    assert len(names) <= files
    assert not [path for path in tmp_path.iterdir() if path.name.endswith(".job")]
    sessions = list(read_sessions(out))
    assert len(sessions) == manifest.counts["sessions"]
    return manifest, sessions


def assert_adds_up(manifest: Manifest) -> None:
    """Every line, record and path is either kept or counted under a reason."""
    counts = manifest.counts

    def lost(*units: str) -> int:
        return sum(count for reason, count in manifest.dropped.items() if reason.split(":")[0] in units)

    assert counts["lines"] == counts["comments"] + counts["submissions"] + lost("line")
    assert counts["comments"] + counts["submissions"] == counts["posts"] + lost("comment", "title", "submission")
    assert counts["paths"] == counts["sessions"] + lost("path")
    assert sum(manifest.dropped.values()) == lost("line", "comment", "title", "submission", "path")


def texts(sessions: list[Session]) -> list[list[str]]:
    return [[turn.text for turn in session.turns] for session in sessions]


def test_the_written_month(tmp_path: Path) -> None:
    paths = load_mini_dump().write_mini_dump(tmp_path / "dump")
    manifest, sessions = run(tmp_path, *paths)
    assert manifest.counts == {
        "lines": 71, "comments": 65, "submissions": 6, "posts": 66, "orphans": 2,
        "paths": 20, "sessions": 18, "turns": 78, "words": 588,
    }  # fmt: skip
    assert manifest.dropped == {
        "path: low score": 2, "comment: bot": 1, "comment: deleted": 1, "comment: url": 1,
        "comment: removed": 1, "title: special markers": 1,
    }  # fmt: skip
    by_first = {session.turns[1].text: session for session in sessions}
    japanese = by_first["先週「こころ」を読み終わりました。とても静かで、悲しい本でした。"]
    assert japanese.source == "reddit/books"
    assert [turn.speaker for turn in japanese.turns] == ["wen", "aki", "wen", "aki"]
    assert japanese.response.text == "そうですね。もう一度読みたいです😊"
    assert any(session.response.text == "نعم، لكن ابدئي بقصص قصيرة أولاً." for session in sessions)
    flat = [turn.text for session in sessions for turn in session.turns]
    assert "It really is not, and you know it." in flat
    assert "By that logic I made zero bad pancakes." in flat
    # what hung below the deleted and the URL comment begins anew
    assert ["I am sorry to hear that, better luck next time!", "Thank you, I will try again on Sunday.",
            "Good plan, let us know how it goes."] in texts(sessions)  # fmt: skip
    assert ["I do care! That is a fine list.", "Thanks, it took me years."] in texts(sessions)


def test_golden_lines(tmp_path: Path) -> None:
    dump = write(
        tmp_path / "RC",
        {"id": "0", "title": "Hello", "author": "op", "subreddit": "s", "score": 1},
        comment(1, 0, "Hi *there*"),
        comment(2, 1, "How are you?", author="[deleted]"),
    )
    _, sessions = run(tmp_path, dump)
    assert sessions[0].id == "t3_0/t1_1/t1_2"
    assert [(turn.text, turn.speaker, turn.learn) for turn in sessions[0].turns] == [
        ("Hello", "op", True),
        ("Hi there", "a1", True),
        ("How are you?", "", True),
    ]


@pytest.mark.parametrize(
    "body, reason",
    [
        ("[deleted]", "comment: deleted"),
        ("see http://a.b/c", "comment: url"),
        ("word " * 101, "comment: too many words"),
        ("[what]", "comment: special markers"),
        ("&gt; quote", "comment: empty"),
    ],
)
def test_a_dropped_comment_cuts_the_chain(tmp_path: Path, body: str, reason: str) -> None:
    dump = write(tmp_path / "RC", *(comment(n, n - 1, body if n == 3 else "") for n in range(1, 6)))
    manifest, sessions = run(tmp_path, dump)
    assert texts(sessions) == [["comment 1", "comment 2"], ["comment 4", "comment 5"]]
    assert manifest.dropped == {reason: 1}
    assert manifest.counts["orphans"] == 1


def test_threads_that_cross_a_months_end_are_whole(tmp_path: Path) -> None:
    january = write(tmp_path / "RC_01", comment(1, 0), comment(2, 1))
    february = write(tmp_path / "RC_02", comment(4, 3), comment(3, 2))
    expected = [["comment 1", "comment 2", "comment 3", "comment 4"]]
    assert texts(run(tmp_path, january, february)[1]) == expected
    assert texts(run(tmp_path, february, january)[1]) == expected


def test_options(tmp_path: Path) -> None:
    title = {"id": "0", "title": "Title", "subreddit": "s"}
    dump = write(tmp_path / "R", title, *(comment(n, n - 1, score=n - 3) for n in range(1, 5)), comment(9, 1, score=-1))
    every = ["Title", "comment 1", "comment 2", "comment 3", "comment 4"]
    assert texts(run(tmp_path, dump)[1]) == [every]
    assert texts(run(tmp_path, dump, title=False)[1]) == [every[1:]]
    assert texts(run(tmp_path, dump, max_turns=3)[1]) == [every[2:]]
    assert texts(run(tmp_path, dump, min_score=-1)[1]) == [every, ["Title", "comment 1", "comment 9"]]
    assert texts(run(tmp_path, dump, min_score=-1, min_turns=4)[1]) == [every]
    assert texts(run(tmp_path, dump, min_words=2)[1]) == [every[1:]]  # the title has one word


def test_bad_lines_are_counted_and_duplicates_are_dropped(tmp_path: Path) -> None:
    dump = write(tmp_path / "RC", comment(1, 0), comment(2, 1), comment(2, 1))
    dump.write_bytes(dump.read_bytes() + b'{"id": "3", "bo\n\xff\n')
    manifest, sessions = run(tmp_path, dump)
    assert len(sessions) == 1
    assert manifest.dropped["line: bad JSON"] + manifest.dropped.get("line: not UTF-8", 0) == 2
    assert manifest.dropped["comment: duplicate id"] == 1


def test_the_number_of_partitions_changes_nothing_but_the_order(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, mini: tuple[list[dict[str, Any]], list[dict[str, Any]]]
) -> None:
    dump = write(tmp_path / "R", *mini[0], *mini[1])
    whole, sessions = run(tmp_path, dump)
    first = (tmp_path / "sessions" / "sessions-00000.jsonl.zst").read_bytes()
    assert run(tmp_path, dump)[1] == sessions
    assert (tmp_path / "sessions" / "sessions-00000.jsonl.zst").read_bytes() == first
    monkeypatch.setattr(module, "PARTITION_BYTES", 1000)
    monkeypatch.setattr(spill, "POSTS_IN_BLOCK", 1)
    parts, others = run(tmp_path, dump, files=9)
    assert (parts.counts, parts.dropped) == (whole.counts, whole.dropped)
    assert sorted(others, key=lambda session: session.id) == sorted(sessions, key=lambda session: session.id)


def test_a_chain_of_100_000_and_a_ring(tmp_path: Path) -> None:
    chain = [comment(n, n - 1, f"reply number {n}") for n in range(1, 100_001)]
    ring = [comment(200_001, 200_002), comment(200_002, 200_001), comment(200_003, 200_002)]
    manifest, sessions = run(tmp_path, write(tmp_path / "RC", *ring, *reversed(chain)), max_turns=4)
    assert texts(sessions) == [[f"reply number {n}" for n in range(99_997, 100_001)]]
    assert manifest.dropped == {"comment: parent loop": 2, "path: too few turns": 1}


def test_no_session_at_all_is_an_error_and_writes_nothing(tmp_path: Path) -> None:
    dump = write(tmp_path / "RC", comment(1, 0), comment(2, 1, "[deleted]"), comment(3, 1, "www.x.org"))
    with pytest.raises(DataError, match="no session") as caught:
        extract(ExtractConfig(dumps=(dump,), out=tmp_path / "out"))
    assert "comment: deleted 1" in caught.value.hint
    assert "path: too few turns 1" in caught.value.hint
    assert [path.name for path in tmp_path.iterdir()] == ["RC"]


@pytest.mark.parametrize(
    "content, why",
    [
        (None, "does not exist"),
        (b"", "no Reddit comment or submission"),
        (b"not a dump\n", "no Reddit comment or submission"),
        (bz2.compress(b'{"id": "1", "title": "x"}\n' * 999)[:-5], "ends early"),
    ],
)
def test_a_bad_dump_among_good_ones_is_an_error_and_can_be_replaced(
    tmp_path: Path, content: bytes | None, why: str
) -> None:
    good = write(tmp_path / "RC", comment(1, 0), comment(2, 1))
    bad = tmp_path / "bad"
    if content is not None:
        bad.write_bytes(content)
    with pytest.raises(DataError, match=why):
        extract(ExtractConfig(dumps=(good, bad), out=tmp_path / "out"))
    assert {path.name for path in tmp_path.iterdir()} <= {"RC", "bad", ".out.job"}
    write(bad, comment(3, 2))  # the good dump is not read again
    if content is not None:
        good.write_text(" " * good.stat().st_size)
        extract(ExtractConfig(dumps=(good, bad), out=tmp_path / "out"))
        assert texts(list(read_sessions(tmp_path / "out"))) == [["comment 1", "comment 2", "comment 3"]]
        assert not (tmp_path / ".out.job").exists()
    with pytest.raises(DataError, match="is a folder"):
        extract(ExtractConfig(dumps=(tmp_path,), out=tmp_path / "out"))


def test_of_a_file_that_is_no_dump_nothing_is_left(tmp_path: Path) -> None:
    (tmp_path / "novel").write_text("It was a dark night.\n")
    with pytest.raises(DataError, match="no Reddit comment or submission"):
        extract(ExtractConfig(dumps=(tmp_path / "novel",), out=tmp_path / "out"))
    assert [path.name for path in tmp_path.iterdir()] == ["novel"]


@pytest.mark.parametrize(
    "options", [{"dumps": ()}, {"min_turns": 1}, {"max_turns": 1}, {"max_words": 0}, {"min_words": 200}]
)
def test_settings_that_cannot_work(tmp_path: Path, options: dict[str, Any]) -> None:
    with pytest.raises(UsageError):
        extract(ExtractConfig(**{"dumps": (write(tmp_path / "RC", comment(1, 0)),), "out": tmp_path / "out"} | options))


def test_a_folder_with_something_in_it_is_kept(tmp_path: Path) -> None:
    dump = write(tmp_path / "RC", comment(1, 0), comment(2, 1))
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "mine").touch()
    with pytest.raises(UsageError, match="not empty"):
        extract(ExtractConfig(dumps=(dump,), out=tmp_path / "out"))
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["mine"]


def test_a_real_month(tmp_path: Path, shared: Path) -> None:
    reddit = shared / "reddit"
    manifest, sessions = run(tmp_path, reddit / "RC_2006-01.bz2", reddit / "RS_2006-01.zst")
    assert manifest.counts["comments"] == 3666
    assert manifest.counts["submissions"] == manifest.dropped["title: empty"] == 1173
    assert manifest.dropped["comment: deleted"] == 471
    assert manifest.dropped["comment: removed"] == 57
    assert manifest.counts["sessions"] == 339
    for session in sessions:
        assert 2 <= len(session.turns) <= 10
        assert "http://" not in "".join(turn.text for turn in session.turns)


def test_two_real_months_hold_more_than_each_alone(tmp_path: Path, shared: Path) -> None:
    months = [shared / "reddit" / f"RC_2006-0{n}.bz2" for n in (1, 2)]
    alone = sum(run(tmp_path, month)[0].counts["orphans"] for month in months)
    both, _ = run(tmp_path, *months)
    assert both.counts["comments"] == 3666 + 9095
    assert both.counts["orphans"] < alone  # threads that cross the month's end found their parents


@pytest.mark.parametrize("month", ["2006-01", "2006-02"])
def test_the_released_scripts_lines(tmp_path: Path, shared: Path, month: str) -> None:
    reddit = shared / "reddit"
    expected = (reddit / f"expected-paper-{month}.tsv").read_text(encoding="utf-8").splitlines()
    dumps = reddit / f"RC_{month}.bz2", reddit / f"RS_{month}.zst"
    manifest = extract(ExtractConfig(dumps=dumps, out=tmp_path / "out", preset="released", format="tsv"))
    assert_adds_up(manifest)
    lines = [line for file in tmp_path.glob("out/*.tsv") for line in file.read_text(encoding="utf-8").splitlines()]
    assert sorted(lines) == sorted(expected)


def test_all_paths_of_a_thread_stay_on_one_side(tmp_path: Path, tiny_tokenizer: Any) -> None:
    threads = [
        comment(f"{t}n{n}", f"t1_{t}n0" if n else f"t3_{t}", f"word {t} {n}", link_id=f"t3_{t}")
        for t in range(40) for n in range(4)
    ]  # fmt: skip
    _, sessions = run(tmp_path, write(tmp_path / "RC", *threads), sample_dropped=1)
    assert len(sessions) == 120
    (tmp_path / "tokenizer").mkdir()
    tiny_tokenizer.save(tmp_path / "tokenizer")
    config = TokenizeConfig(
        sessions=(tmp_path / "sessions",), tokenizer=tmp_path / "tokenizer", out=tmp_path / "shards", validation=0.3
    )
    assert tokenize(config).counts["sessions"] < 120
    sides = [
        {tiny_tokenizer.decode(session.turns[0][:-1]) for session in map(shards.__getitem__, range(len(shards)))}
        for shards in map(TokenShards, (tmp_path / "shards", tmp_path / "shards" / "validation"))
    ]
    assert all(sides)
    assert not sides[0] & sides[1]
    assert len(sides[0] | sides[1]) == 40


def test_examples_of_what_was_dropped_are_no_sessions(tmp_path: Path) -> None:
    dump = write(tmp_path / "RC", comment(1, 0), comment(2, 1), comment(3, 1, "[deleted]"))
    extract(ExtractConfig(dumps=(dump,), out=tmp_path / "out", sample_dropped=5))
    assert (tmp_path / "out" / DROPPED).is_file()
    assert texts(list(read_sessions(tmp_path / "out"))) == [["comment 1", "comment 2"]]
