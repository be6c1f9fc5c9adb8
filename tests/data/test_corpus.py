"""Near-duplicates and bland responses: what goes does not depend on how the corpus is cut into parts."""

import json
import random
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dialogpt.artifact import Manifest
from dialogpt.data import corpus, spill
from dialogpt.data import extract as module
from dialogpt.data.corpus import DuplicatesTask, find_duplicates, sift_ranges
from dialogpt.errors import DataError
from dialogpt.session import DROPPED, Session, read_sessions

CONTEXT = "what is the best way to learn a new language these days, if I may ask?"
REPLY = "talk to people every day, read what you like, and do not be afraid of mistakes"
ARABIC = "تكلّم مع الناس كل يوم واقرأ ما تحب ولا تخف من الأخطاء أبدا يا صديقي العزيز"


@pytest.fixture
def records(dumps: Any) -> list[dict[str, Any]]:
    """Forty threads: five texts that come again with small changes, and ten that come once."""
    draw = random.Random(7)
    words = [f"{a}{b}" for a in "bdfgklmnprst" for b in ("ano", "eli", "ira", "ota")]
    pairs = [(CONTEXT, REPLY), (CONTEXT, ARABIC), ("hi", "hello"), ("best day ever 😀", "same here 😀👍🏽"),
             (" ".join(draw.sample(words, 15)), " ".join(draw.sample(words, 15)))]  # fmt: skip
    edits = [str, str.upper, lambda text: f"{text}!", lambda text: text.replace(",", ""), lambda text: f" {text} "]
    threads = [
        dumps.chain(edits[n % 5](context), edits[n // 6](reply), thread=f"d{n}x{kind}")[1:]
        for kind, (context, reply) in enumerate(pairs)
        for n in range(6)
    ]
    threads += [
        dumps.chain(" ".join(draw.sample(words, 12)), " ".join(draw.sample(words, 12)), thread=f"u{n}")[1:]
        for n in range(10)
    ]
    draw.shuffle(threads)
    return [record for thread in threads for record in thread]


def kept(dumps: Any, *paths: Path, **options: Any) -> tuple[Manifest, dict[str, Session]]:
    manifest = dumps.extract(*paths, **options)
    sessions = list(read_sessions(dumps.out))
    assert manifest.counts["sessions"] == len(sessions)
    assert not [path for path in dumps.folder.iterdir() if path.name.endswith(".job")]
    return manifest, {session.id: session for session in sessions}


def test_near_duplicates_go_and_the_same_whatever_the_parts(
    dumps: Any, records: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = dumps.write(*records)
    manifest, first = kept(dumps, whole)
    assert (manifest.counts["paths"], manifest.dropped) == (40, {"path: near-duplicate": 25})
    assert sum(name.startswith("t3_u") for name in first) == 10
    assert {name.split("/")[0][-1] for name in first if name.startswith("t3_d")} == set("01234")
    every, _ = kept(dumps, whole, dedup=False)
    assert (every.counts["sessions"], every.dropped) == (40, {})

    halves = [dumps.write(*records[n::2], name=f"R{n}") for n in range(2)]  # a duplicate stands in another dump
    monkeypatch.setattr(spill, "POSTS_IN_BLOCK", 2)
    for partition_bytes, entries, paths in [
        (1 << 20, 4, [whole]),
        (3000, 17, halves),
        (1000, 1 << 22, halves[::-1]),
        (300, 31, [whole]),
    ]:
        monkeypatch.setattr(module, "PARTITION_BYTES", partition_bytes)
        monkeypatch.setattr(corpus, "ENTRIES_IN_TASK", entries)
        parts, others = kept(dumps, *paths)
        assert others == first
        assert (parts.counts, parts.dropped) == (manifest.counts, manifest.dropped)


def test_two_workers_write_the_same_files(dumps: Any, records: list[dict[str, Any]]) -> None:
    options = {"preset": "open", "bland_share": 0.9, "bland_count": 3, "sample_dropped": 3}
    contents = []
    for workers in (1, 2):
        dumps.extract(dumps.write(*records), workers=workers, **options)
        contents.append({p.name: p.read_bytes() for p in dumps.out.iterdir() if p.name != "manifest.json"})
    assert contents[0] == contents[1]
    assert len(contents[0]) == 2


@pytest.mark.parametrize("preset", ["open", "released", "paper"])
def test_both_sieves_at_once(dumps: Any, records: list[dict[str, Any]], preset: str) -> None:
    more = [dumps.chain("this is it", "I do not know", thread=f"m{n}")[1:] for n in range(4)]
    more.append(dumps.chain("this is it", "we sat in a boat", thread="n")[1:])
    records = [*records, *chain.from_iterable(more)]
    lines = [*records, *(dumps.submission(name[3:], title="") for name in {r["link_id"] for r in records})]
    options = {"preset": preset, "dedup": True, "bland_share": 0.9, "bland_count": 3}
    manifest = dumps.extract(dumps.write(*lines), **options)
    assert manifest.dropped["path: near-duplicate"] >= 5
    assert manifest.dropped["path: bland"] >= 1  # of those that are repeated, the one that is left
    assert next(iter(manifest.counts)) == "lines"


def test_examples_of_what_was_dropped(
    dumps: Any, records: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    bad = [dumps.comment(n, 0, "see http://a.b/كلمة 😀", thread="bad") for n in range(1, 9)]
    path = dumps.write(*records, *bad)
    found = []
    for partition_bytes in (1 << 20, 300):
        monkeypatch.setattr(module, "PARTITION_BYTES", partition_bytes)
        manifest, sessions = kept(dumps, path, sample_dropped=3)
        lines = (dumps.out / DROPPED).read_text(encoding="utf-8").splitlines()
        found.append([json.loads(line) for line in lines])
    assert found[0] == found[1]
    assert {row["reason"] for row in found[0]} == {"comment: url", "path: near-duplicate"}
    assert len(found[0]) == 6
    assert all(row["text"] == "see http://a.b/كلمة 😀" for row in found[0][:3])
    assert all(row["id"] not in sessions for row in found[0][3:])
    assert manifest.dropped == {"path: near-duplicate": 25, "comment: url": 8}
    kept(dumps, path)  # and again without: nothing is left of it
    assert not (dumps.out / DROPPED).exists()


def test_more_examples_than_there_are(dumps: Any) -> None:
    dumps.run(*dumps.chain("one", "two"), dumps.comment(9, 1, "[deleted]"), sample_dropped=100)
    (line,) = (dumps.out / DROPPED).read_text().splitlines()
    assert json.loads(line) == {"reason": "comment: deleted", "id": "x9", "text": "[deleted]"}


def test_damaged_counts_are_told_with_their_file(
    dumps: Any, records: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def spoil(*arguments: Any) -> Any:
        found = collect(*arguments)
        task, folder = arguments[1:3]
        folder.write(f"plant/{task.name}.trigrams", b"\x05\0\0\0damag")
        return found

    collect = module.collect_candidates
    monkeypatch.setattr(module, "collect_candidates", spoil)
    with pytest.raises(DataError, match=r"plant/00000.trigrams: damaged") as caught:
        dumps.extract(dumps.write(*records), bland_share=0.9)
    assert "--overwrite" in caught.value.hint


@pytest.mark.parametrize("ranges", [1, 2, 3, 7])
def test_every_key_is_in_one_range(tmp_path: Path, ranges: int) -> None:
    keys = sorted({key for n in range(ranges + 1) for key in ((n << 64) // ranges - 1, (n << 64) // ranges)})
    keys = [key for key in keys if 0 <= key < 1 << 64]
    numbers = range(2 * len(keys))  # each key is shared by two sessions, of which the second goes
    entries = np.array([[key for key in keys for _ in range(2)], numbers, numbers], np.uint64)
    np.save(tmp_path / "keys.npy", entries)
    dropped: list[int] = []
    for number in range(ranges):
        task = DuplicatesTask(number, ranges, 1, ("keys.npy",), str(tmp_path))
        count = find_duplicates(task)
        found = np.load(tmp_path / "duplicates" / f"{task.name}.npy").tolist()
        assert len(found) == count
        dropped += found
    assert dropped == list(numbers)[1::2]


@pytest.mark.parametrize("keys, ranges", [(0, 1), (1, 1), (1 << 22, 1), ((1 << 22) + 1, 2)])
def test_ranges_of_keys(keys: int, ranges: int) -> None:
    assert sift_ranges(keys) == ranges


def test_a_partition_without_a_session(dumps: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PARTITION_BYTES", 10)  # many more partitions than threads
    records = dumps.chain("is it", "so it is") + dumps.chain("is it", "so it is", thread="y")
    for preset in ("open", "paper"):
        manifest, _ = dumps.run(*records, preset=preset, dedup=True)
        assert manifest.dropped == {"path: near-duplicate": 1}
