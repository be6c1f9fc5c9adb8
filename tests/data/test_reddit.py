"""Posts -> forests -> paths."""

import random
import time
from itertools import pairwise

from hypothesis import given
from hypothesis import strategies as st

from dialogpt.data.reddit import Forest, Post, age, plant


def post(name: str, parent: str = "", score: int = 1) -> Post:
    return Post(name, parent, "t3_0", "author of " + name, "text of " + name, score, "s", 0)


def chain(length: int) -> list[Post]:
    return [post("t3_0"), *(post(f"t1_{n}", f"t1_{n - 1}" if n > 1 else "t3_0") for n in range(1, length))]


def paths_of(forest: Forest, max_turns: int = 10) -> list[list[Post]]:
    return [forest.path(leaf, max_turns) for leaf in sorted(forest.leaves, key=age)]


def ids(paths: list[list[Post]]) -> list[list[str]]:
    return [[post.id for post in path] for path in paths]


def test_two_leaves_share_their_beginning() -> None:
    forest = plant([post("t3_0"), post("t1_1", "t3_0"), post("t1_2", "t1_1"), post("t1_3", "t1_1")])
    assert ids(paths_of(forest)) == [["t3_0", "t1_1", "t1_2"], ["t3_0", "t1_1", "t1_3"]]


def test_a_missing_parent_starts_a_path_at_the_child() -> None:
    forest = plant([post("t3_0"), post("t1_1", "t3_0"), post("t1_3", "t1_2"), post("t1_4", "t1_3")])
    assert ids(paths_of(forest)) == [["t3_0", "t1_1"], ["t1_3", "t1_4"]]
    assert forest.orphans == 1


def test_a_comment_on_a_submission_that_is_not_given_is_no_orphan() -> None:
    assert plant([post("t1_1", "t3_0")]).orphans == 0


def test_of_posts_with_one_id_the_last_in_order_stays() -> None:
    posts = [post("t1_1", "t3_0"), post("t1_1", "t1_9"), post("t1_1", "t1_8")]
    for order, found in zip((1, 3, 2), posts, strict=True):
        found.order = order
    forest = plant(posts)
    assert forest.dropped == {"duplicate id": 2}
    assert [found.parent for found in forest.posts.values()] == ["t1_9"]
    for found in posts:
        found.order = 5
    assert [found.parent for found in plant(posts).posts.values()] == ["t1_8"]


def test_a_parent_of_another_thread_is_none() -> None:
    other = post("t1_2", "t1_1")
    other.thread = "t3_1"
    assert ids(paths_of(plant([post("t1_1", "t3_0"), other]))) == [["t1_2"]]


def test_a_mark_keeps_its_post_from_being_a_leaf() -> None:
    forest = plant([post("t1_1", "t3_0"), post("t1_2", "t1_1"), post("t1_3", "t1_1")], ["t1_2", "t3_0"])
    assert ids(paths_of(forest)) == [["t1_1", "t1_3"]]
    assert forest.marks == {"t1_2", "t3_0"}


def test_rings_are_left_out_and_what_hangs_on_them_starts_anew() -> None:
    ring = [post("t1_1", "t1_3"), post("t1_2", "t1_1"), post("t1_3", "t1_2"), post("t1_4", "t1_4")]
    forest = plant([*ring, post("t1_5", "t1_2"), post("t1_6", "t1_5"), post("t1_7", "t1_4")])
    assert forest.dropped == {"parent loop": 4}
    assert ids(paths_of(forest)) == [["t1_5", "t1_6"], ["t1_7"]]
    assert forest.orphans == 2


def test_ids_sort_by_age() -> None:
    posts = [post(name, "t3_0") for name in ("t1_zz", "t1_a", "t1_100", "t1_b")] + [post("t3_0")]
    assert [found.id for found in sorted(posts, key=age)] == ["t3_0", "t1_a", "t1_b", "t1_zz", "t1_100"]


def test_a_chain_of_100_000_replies() -> None:
    posts = chain(100_000)
    random.Random(1).shuffle(posts)  # parents come later, too
    started = time.perf_counter()
    forest = plant(posts)
    (path,) = paths_of(forest, 10)
    assert ids([path]) == [[f"t1_{n}" for n in range(99_990, 100_000)]]
    (path,) = paths_of(forest, 1_000_000)
    assert len(path) == 100_000
    assert path[0].id == "t3_0"
    assert time.perf_counter() - started < 10


def test_a_chain_with_a_reply_everywhere_costs_its_leaves_only() -> None:
    stem = chain(20_000)
    twigs = [post(f"t1_x{n:05}", f"t1_{n}") for n in range(1, 20_000)]
    started = time.perf_counter()
    paths = paths_of(plant(stem + twigs))
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
    paths = paths_of(forest, max_turns)
    answered = {found.parent for found in forest.posts.values()}
    assert {path[-1].id for path in paths} == {name for name in forest.posts if name not in answered}
    assert len(paths) == len({path[-1].id for path in paths})
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
    assert ids(paths_of(plant(unique), 5)) == ids(paths_of(plant(shuffled), 5))


@given(posts=threads())
def test_only_posts_in_rings_are_left_out(posts: list[Post]) -> None:
    unique = {found.id: found for found in posts}
    left_out = set(unique) - set(plant(list(unique.values())).posts)
    for name in unique:  # brute force: does the way up come back to where it began?
        above, steps = unique[name].parent, 0
        while above in unique and above != name and steps < len(unique):
            above, steps = unique[above].parent, steps + 1
        assert (name in left_out) == (above == name)
