"""Records -> posts -> forests -> paths."""

import random
import time
from itertools import pairwise

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialogpt.data.dumps import Record
from dialogpt.data.reddit import Post, as_post, plant

RECORD = Record(
    id="c9",
    body="I *agree*",
    link_id="t3_7",
    parent_id="t1_c8",
    author="ann",
    subreddit="pics",
    score="4",
    created_utc=5,
)


def changed(**fields: object) -> Post | str:
    return as_post(msgspec.structs.replace(RECORD, **fields))


def post(name: str, parent: str = "", score: int = 1) -> Post:
    return Post(name, parent, "t3_0", "author of " + name, "text of " + name, score, "s", 0)


def chain(length: int) -> list[Post]:
    return [post("t3_0"), *(post(f"t1_{n}", f"t1_{n - 1}" if n > 1 else "t3_0") for n in range(1, length))]


def ids(paths: object) -> list[list[str]]:
    return [[post.id for post in path] for path in paths]  # type: ignore[attr-defined]


def test_a_comment_becomes_a_post() -> None:
    assert as_post(RECORD) == Post("t1_c9", "t1_c8", "t3_7", "ann", "I agree", 4, "pics", 5)


def test_a_submission_becomes_the_first_post_of_its_thread() -> None:
    title = as_post(Record(id="7", title="Look &amp; see", author="bob", subreddit="pics", score=9))
    assert title == Post("t3_7", "", "t3_7", "bob", "Look & see", 9, "pics", 0)


@pytest.mark.parametrize(
    "fields, reason",
    [
        ({"body": "[deleted]"}, "deleted"),
        ({"body": "[Deleted by user]"}, "deleted"),
        ({"body": "[removed]\n"}, "removed"),
        ({"body": "[ Removed by Reddit ]"}, "removed"),
        ({"body": ""}, "empty"),
        ({"body": "&gt; only a quote"}, "empty"),
        ({"body": "\u200b"}, "empty"),
        ({"author": "AutoModerator"}, "bot"),
        ({"author": "haiku-bot"}, "bot"),
        ({"author": "RemindMeBot"}, "bot"),
        ({"author": "bot_of_all"}, "bot"),
        ({"body": "*^I ^am ^a ^bot.*"}, "bot"),
        ({"body": "I am a bot, and this action was performed automatically."}, "bot"),
    ],
)
def test_records_that_are_no_post(fields: dict[str, object], reason: str) -> None:
    assert changed(**fields) == reason


@pytest.mark.parametrize("author", ["Talbot", "abbot", "robotics", "Botany", "sabotage"])
def test_names_that_only_look_like_bots(author: str) -> None:
    assert isinstance(changed(author=author), Post)


def test_people_who_left_have_no_name_but_their_words_stay() -> None:
    for author in ("[deleted]", "[anonymous]", None):
        found = changed(author=author)
        assert isinstance(found, Post)
        assert found.author == ""


@pytest.mark.parametrize(
    "parent, link, expected",
    [
        ("t1_c8", "t3_7", "t1_c8"),
        ("c8", "7", "t1_c8"),
        ("7", "7", "t3_7"),
        ("t3_7", "t3_7", "t3_7"),
        (None, "t3_7", "t3_7"),
        ("", "t3_7", "t3_7"),
    ],
)
def test_parents_with_and_without_their_kind(parent: str | None, link: str, expected: str) -> None:
    found = changed(parent_id=parent, link_id=link)
    assert isinstance(found, Post)
    assert (found.parent, found.thread) == (expected, "t3_7")


def test_two_leaves_share_their_beginning() -> None:
    forest = plant([post("t3_0"), post("t1_1", "t3_0"), post("t1_2", "t1_1"), post("t1_3", "t1_1")])
    assert ids(forest.paths(10)) == [["t3_0", "t1_1", "t1_2"], ["t3_0", "t1_1", "t1_3"]]


def test_a_missing_parent_starts_a_path_at_the_child() -> None:
    forest = plant([post("t3_0"), post("t1_1", "t3_0"), post("t1_3", "t1_2"), post("t1_4", "t1_3")])
    assert ids(forest.paths(10)) == [["t3_0", "t1_1"], ["t1_3", "t1_4"]]
    assert forest.orphans == 1


def test_a_comment_on_a_submission_that_is_not_given_is_no_orphan() -> None:
    assert plant([post("t1_1", "t3_0")]).orphans == 0


def test_of_two_posts_with_one_id_the_first_stays() -> None:
    forest = plant([post("t1_1", "t3_0"), post("t1_1", "t1_9"), post("t1_1", "t3_0")])
    assert forest.dropped == {"duplicate id": 2}
    assert [found.parent for found in forest.posts.values()] == ["t3_0"]


def test_rings_are_left_out_and_what_hangs_on_them_starts_anew() -> None:
    ring = [post("t1_1", "t1_3"), post("t1_2", "t1_1"), post("t1_3", "t1_2"), post("t1_4", "t1_4")]
    forest = plant([*ring, post("t1_5", "t1_2"), post("t1_6", "t1_5"), post("t1_7", "t1_4")])
    assert forest.dropped == {"parent loop": 4}
    assert ids(forest.paths(10)) == [["t1_5", "t1_6"], ["t1_7"]]
    assert forest.orphans == 2


def test_ids_sort_by_age() -> None:
    forest = plant([post(name, "t3_0") for name in ("t1_zz", "t1_a", "t1_100", "t1_b")] + [post("t3_0")])
    assert list(forest.posts) == ["t3_0", "t1_a", "t1_b", "t1_zz", "t1_100"]


def test_a_chain_of_100_000_replies() -> None:
    posts = chain(100_000)
    random.Random(1).shuffle(posts)  # parents come later, too
    started = time.perf_counter()
    forest = plant(posts)
    (path,) = forest.paths(10)
    assert ids([path]) == [[f"t1_{n}" for n in range(99_990, 100_000)]]
    (path,) = forest.paths(1_000_000)
    assert len(path) == 100_000
    assert path[0].id == "t3_0"
    assert time.perf_counter() - started < 10


def test_a_chain_with_a_reply_everywhere_costs_its_leaves_only() -> None:
    stem = chain(20_000)
    twigs = [post(f"t1_x{n:05}", f"t1_{n}") for n in range(1, 20_000)]
    started = time.perf_counter()
    paths = list(plant(stem + twigs).paths(10))
    assert len(paths) == 19_999
    assert max(map(len, paths)) == 10
    assert time.perf_counter() - started < 10


@st.composite
def threads(draw: st.DrawFn) -> list[Post]:
    """Posts with any parents at all: of the thread, missing, in rings; ids may come twice; any order."""
    size = draw(st.integers(1, 25))
    names = ["t3_0", *(f"t1_{n}" for n in range(size)), "t1_missing", ""]
    return draw(st.lists(st.builds(post, st.sampled_from(names[1:-2]), st.sampled_from(names)), max_size=40))


@given(posts=threads(), title=st.booleans(), max_turns=st.integers(1, 8))
def test_every_leaf_gives_one_path_and_each_turn_answers_the_one_before(
    posts: list[Post], title: bool, max_turns: int
) -> None:
    posts = [post("t3_0"), *posts] if title else posts
    forest = plant(posts)
    paths = list(forest.paths(max_turns))
    answered = {found.parent for found in forest.posts.values()}
    assert [path[-1].id for path in paths] == [name for name in forest.posts if name not in answered]
    for path in paths:
        assert 1 <= len(path) <= max_turns
        assert len({found.id for found in path}) == len(path)
        assert all(reply.parent == found.id for found, reply in pairwise(path))
        assert len(path) == max_turns or path[0].parent not in forest.posts  # it goes up as far as it may
    assert len(forest.posts) + forest.dropped.total() == len(posts)


@given(posts=threads(), seed=st.integers(0, 9))
def test_the_order_of_posts_does_not_matter(posts: list[Post], seed: int) -> None:
    unique = list({found.id: found for found in posts}.values())
    shuffled = random.Random(seed).sample(unique, len(unique))
    assert ids(plant(unique).paths(5)) == ids(plant(shuffled).paths(5))


@given(posts=threads())
def test_only_posts_in_rings_are_left_out(posts: list[Post]) -> None:
    unique = {found.id: found for found in posts}
    left_out = set(unique) - set(plant(unique.values()).posts)
    for name in unique:  # brute force: does the way up come back to where it began?
        above, steps = unique[name].parent, 0
        while above in unique and above != name and steps < len(unique):
            above, steps = unique[above].parent, steps + 1
        assert (name in left_out) == (above == name)
