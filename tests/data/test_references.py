"""Multi-reference items of a thread."""

import io
from collections import Counter
from functools import partial
from pathlib import Path

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialogpt.data.filters import too_many_words
from dialogpt.data.overlap import read_texts
from dialogpt.data.reddit import Post, plant
from dialogpt.data.references import reference_items, text_line, write_items
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
