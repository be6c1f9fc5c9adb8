"""Multi-reference items of a thread, and the command that writes them."""

import io
from collections import Counter
from functools import partial
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialogpt.artifact import Manifest, read_manifest
from dialogpt.data import ReferencesConfig, extract
from dialogpt.data import references as module
from dialogpt.data.answers import write_items
from dialogpt.data.filters import too_many_words
from dialogpt.data.overlap import read_texts
from dialogpt.data.reddit import Post, plant
from dialogpt.data.references import reference_items, references, text_line
from dialogpt.errors import DataError, UsageError
from dialogpt.session import EvalItem, Turn

FILTERS = {"many words": partial(too_many_words, most=5)}


def post(name: str, parent: str = "", score: int = 1, text: str = "") -> Post:
    return Post(name, parent, "t3_0", "author of " + name, text or "text of " + name, score, "s", 0)


def items(posts: list[Post], **options: int) -> tuple[list[EvalItem], Counter[str]]:
    dropped: Counter[str] = Counter()
    return list(reference_items(plant(posts), dropped, FILTERS, **options)), dropped


TITLE = post("t3_0", text="Why?")
THREAD = [TITLE, *(post(f"t1_{n}", "t3_0", score=n % 3) for n in range(1, 8))]


def test_a_post_with_many_replies_becomes_an_item() -> None:
    (item,), dropped = items(THREAD)
    assert (item.id, item.context) == ("t3_0/t3_0", (Turn("Why?", "author of t3_0"),))
    by_score = [f"text of t1_{n}" for n in (2, 5, 1, 4, 7, 3, 6)]
    assert sorted([*item.references, item.human]) == sorted(by_score)
    assert list(item.references) == [text for text in by_score if text != item.human]
    assert list(item.scores) == [THREAD[int(text[-1])].score for text in item.references]
    assert dropped == {}
    assert items(THREAD[::-1])[0] == [item]


def test_six_replies_are_enough_and_five_are_not() -> None:
    assert len(items(THREAD[:7])[0][0].references) == 5
    made, dropped = items(THREAD[:6])
    assert (made, dropped) == ([], {"context: too few responses": 1})
    assert len(items(THREAD[:6], min_references=4)[0]) == 1


def test_long_and_repeated_replies_do_not_count() -> None:
    extra = [post("t1_8", "t3_0", text="a b c d e f"), post("t1_9", "t3_0", score=9, text="TEXT OF t1_3")]
    (item,), dropped = items(THREAD + extra)
    texts = [*item.references, item.human]
    assert "TEXT OF t1_3" in texts  # of two that are equal, the one with the better score
    assert "text of t1_3" not in texts
    assert dropped == {"response: too many words": 1, "response: repeated": 1}


def test_the_context_is_the_path_down_to_the_post() -> None:
    chain = [TITLE, post("t1_1", "t3_0"), post("t1_2", "t1_1"), post("t1_3", "t1_2")]
    replies = [post(f"t1_1{n}", "t1_3") for n in range(6)]
    (item,), dropped = items(chain + replies)
    assert [turn.text for turn in item.context] == ["Why?", "text of t1_1", "text of t1_2", "text of t1_3"]
    assert dropped == {"context: too few responses": 3}
    (short,), _ = items(chain + replies, max_turns=2)
    assert [turn.text for turn in short.context] == ["text of t1_2", "text of t1_3"]
    (orphans,), _ = items([chain[3], *replies])
    assert [turn.text for turn in orphans.context] == ["text of t1_3"]
    assert items(replies) == ([], {})


def test_the_human_response_is_not_always_the_best() -> None:
    human_places = Counter[int]()
    for thread in range(300):
        title = post(f"t3_{thread}")
        made = [title, *(post(f"t1_{thread}x{n}", title.id, score=n) for n in range(6))]
        (item,), _ = items(made)
        human_places[int(item.human[-1])] += 1
    assert len(human_places) == 6
    assert min(human_places.values()) > 20


@given(st.lists(st.tuples(st.integers(0, 20), st.integers(-3, 3)), max_size=30), st.integers(1, 3))
def test_every_reply_is_in_an_item_or_counted(parents: list[tuple[int, int]], least: int) -> None:
    posts = [TITLE] + [
        post(f"t1_{n}", f"t1_{parent}" if 0 < parent < n else "t3_0", score)
        for n, (parent, score) in enumerate(parents, 1)
    ]
    made, dropped = items(posts, min_references=least)
    children = Counter(each.parent for each in posts[1:])
    enough = {name for name, count in children.items() if count > least}
    assert {item.id.split("/")[1] for item in made} == enough
    assert dropped["context: too few responses"] == len(children) - len(enough)
    assert sum(len(item.references) + 1 for item in made) == sum(children[name] for name in enough)
    for item in made:
        assert item.human not in item.references
        assert list(item.scores) == sorted(item.scores, reverse=True)


def test_a_long_chain_is_no_trouble() -> None:
    chain = [TITLE, *(post(f"t1_{n}", f"t1_{n - 1}" if n > 1 else "t3_0") for n in range(1, 20_000))]
    made, dropped = items(chain, min_references=1)
    assert (made, dropped) == ([], {"context: too few responses": 19_999})


def test_the_two_forms(tmp_path: Path) -> None:
    item = EvalItem((Turn("Hi  there"), Turn("كيف\tحالك؟")), "7", ("fine\n", "ну"), human="ok", scores=(12, -3))
    assert text_line(item) == "Hi there EOS كيف حالك؟\t12|fine\t-3|ну"
    assert text_line(EvalItem((Turn("Hi"),), references=("1|a",))) == "Hi\t1|a"
    with pytest.raises(ValueError, match="zip"):
        text_line(EvalItem((Turn("Hi"),), references=("a",), scores=(1, 2)))

    (tmp_path / "items.txt").write_text(text_line(item) + "\n", encoding="utf-8")
    assert list(read_texts(tmp_path / "items.txt")) == ["Hi there", "كيف حالك؟", "fine", "ну"]

    with (tmp_path / "items.jsonl").open("wb") as file:
        assert write_items([item, item], file) == 2
    lines = (tmp_path / "items.jsonl").read_bytes().splitlines()
    assert [msgspec.json.decode(line, type=EvalItem) for line in lines] == [item, item]
    assert list(read_texts(tmp_path / "items.jsonl"))[:5] == ["Hi  there", "كيف\tحالك؟", "fine\n", "ну", "ok"]
    assert write_items([], io.BytesIO()) == 0


def thread(dumps: Any, replies: int, name: str = "x", text: str = "reply") -> list[dict[str, Any]]:
    """A submission with so many replies, of scores 1, 2, ..."""
    comments = [dumps.comment(n, 0, f"{text} {n}", name, score=n) for n in range(1, replies + 1)]
    return [dumps.submission(name, title=f"Question {name}?"), *comments]


def make(dumps: Any, *paths: Path, **options: Any) -> tuple[Manifest, list[EvalItem]]:
    """Run the command; the folder's three files fit together line by line, and the manifest's numbers add up."""
    manifest = references(ReferencesConfig(dumps=paths, out=dumps.out, overwrite=True, **options))
    assert read_manifest(dumps.out) == manifest
    assert not list(dumps.folder.glob(".*.job"))
    decoder = msgspec.json.Decoder(EvalItem)
    made = decoder.decode_lines((dumps.out / "references.jsonl").read_bytes())
    rows, human = (
        (dumps.out / name).read_text(encoding="utf-8").split("\n")[:-1] for name in ("references.tsv", "human.txt")
    )
    assert len(made) == len(rows) == len(human) == manifest.counts["contexts"]
    for item, row, line in zip(made, rows, human, strict=True):
        assert row == text_line(item)
        assert line == item.human
        assert len(item.scores) == len(item.references) >= options.get("min_references", 5)
    counts, lost = manifest.counts, Counter[str]()
    for reason, count in manifest.dropped.items():
        lost[reason.split(":")[0]] += count
    assert counts["references"] == sum(len(item.references) for item in made)
    assert counts["lines"] == counts["comments"] + counts["submissions"] + lost["line"]
    assert counts["comments"] + counts["submissions"] == counts["posts"] + lost["comment"] + lost["title"]
    assert set(lost) <= {"line", "comment", "title", "response", "context"}
    return manifest, made


def test_a_written_thread(dumps: Any) -> None:
    records = [
        *thread(dumps, 7),
        *thread(dumps, 7, "y", "جواب 😀"),
        *thread(dumps, 5, "z"),
        dumps.comment(8, 0, "a rotten  fish", score=50),
        dumps.comment(9, 0, "unloved", score=0),
        dumps.comment(10, 0, "REPLY 1", score=0),
        dumps.comment(11, 0, "Reply 7", score=1),
        dumps.comment(12, 0, "see http://x.y"),
        dumps.comment(7, 0, "reply 7", score=7),
    ]
    manifest, (first, second) = make(dumps, dumps.write(*records))
    assert first.context == (Turn("Question x?", "op"),)
    assert {first.human, *first.references} == {*(f"reply {n}" for n in range(1, 8)), "a rotten fish"}
    assert list(first.scores) == sorted(first.scores, reverse=True)
    assert {second.human, *second.references} == {f"جواب 😀 {n}" for n in range(1, 8)}
    assert manifest.dropped == {
        "response: low score": 2, "response: repeated": 1, "comment: url": 1, "comment: duplicate id": 1,
        "context: too few responses": 1,
    }  # fmt: skip

    (dumps.folder / "phrases").write_text("rotten fish\n")
    manifest, (first, _) = make(dumps, dumps.write(*records), blocklist=dumps.folder / "phrases")
    assert "a rotten fish" not in {first.human, *first.references}
    assert manifest.dropped["response: offensive"] == 1

    (dumps.folder / "names").write_text("r/Other\n")
    path = dumps.write(*(r | {"subreddit": "other" if "y" in r["id"] else "s"} for r in records))
    manifest, found = make(dumps, path, block_subreddits=dumps.folder / "names")
    assert [item.id for item in found] == ["t3_x/t3_x"]
    assert manifest.dropped["comment: blocked subreddit"] == 7


def test_a_limit_gives_the_same_part_whatever_the_parts(dumps: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = dumps.write(*(record for n in range(12) for record in thread(dumps, 6, f"x{n}")))
    _, every = make(dumps, path)
    assert len(every) == 12
    manifest, some = make(dumps, path, limit=5)
    assert manifest.dropped == {"context: beyond --limit": 7}
    assert [item for item in every if item in some] == some
    assert len(some) == 5
    more = make(dumps, path, limit=6)[1]
    assert [item for item in more if item in some] == some  # a larger set holds the smaller
    assert make(dumps, path, limit=12)[1] == make(dumps, path, limit=0)[1] == every
    monkeypatch.setattr(extract, "PARTITION_BYTES", 500)
    _, others = make(dumps, path, limit=5)
    assert sorted(others, key=lambda item: item.id) == sorted(some, key=lambda item: item.id)


def test_a_stopped_job_goes_on(dumps: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    path = dumps.write(*thread(dumps, 6))
    config = ReferencesConfig(dumps=(path,), out=dumps.out)

    def stop(*arguments: Any, **options: Any) -> None:
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(module, "reference_items", stop)
        with pytest.raises(KeyboardInterrupt):
            references(config)
    assert not dumps.out.exists()
    path.write_text(" " * path.stat().st_size)  # it is not read again
    assert references(config).counts["contexts"] == 1
    assert not list(dumps.folder.glob(".*.job"))


def test_settings_that_cannot_work(dumps: Any) -> None:
    path = dumps.write(*thread(dumps, 6))
    for options in ({"min_references": 0}, {"max_turns": 0}, {"limit": -1}, {"min_words": 0}, {"max_words": 0}):
        with pytest.raises(UsageError, match="below"):
            references(ReferencesConfig(dumps=(path,), out=dumps.out, **options))
    with pytest.raises(UsageError, match="no dumps"):
        references(ReferencesConfig(dumps=(), out=dumps.out))
    with pytest.raises(DataError, match="no context with 8 responses"):
        references(ReferencesConfig(dumps=(path,), out=dumps.out, min_references=7))
    with pytest.raises(DataError, match="does not exist"):
        references(ReferencesConfig(dumps=(path,), out=dumps.out, blocklist=dumps.folder / "missing"))
    assert [entry.name for entry in dumps.folder.iterdir()] == ["R"]


def test_real_months(dumps: Any, shared: Path) -> None:
    months = [shared / "reddit" / f"RC_2006-0{n}.bz2" for n in (1, 2)]
    manifest, every = make(dumps, *months, min_references=1)
    assert manifest.counts["comments"] == 3666 + 9095
    assert manifest.counts["contexts"] == len({item.id for item in every}) > 40
    assert all(len(text.split()) <= 30 for item in every for text in (item.human, *item.references))
    _, some = make(dumps, *months, min_references=1, limit=15)
    assert len(some) == 15
    assert [item for item in every if item in some] == some
    assert set(read_texts(dumps.out / "references.jsonl")) >= {item.human for item in some}
