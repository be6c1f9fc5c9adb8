"""Near-duplicates: what is one, what is none, and that the corpus's parts do not matter."""

import random

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialogpt.data.duplicates import BANDS, band_keys_of, drop_in_bucket, later_duplicates, order_of
from dialogpt.session import Session, Turn

ASK = "What is the best way to learn to cook when you live alone in a small flat?"
REPLY = "Start with three or four dishes that you like and make each of them until it bores you."
TITLE = "Weekly thread number 12: tell us about the worst film that you have seen in 2015"


def session(*texts: str, name: str = "") -> Session:
    return Session(tuple(map(Turn, texts)), id=name)


def are_duplicates(one: Session, other: Session) -> bool:
    keys = band_keys_of([one, other])
    assert keys.shape == (2, BANDS)
    return bool((keys[0] == keys[1]).any())


@pytest.mark.parametrize(
    "one, other",
    [
        ((ASK, REPLY), (ASK, REPLY)),
        (("Hi!", ASK, REPLY), (ASK, REPLY)),  # turns before the last two do not matter
        ((ASK, REPLY), (ASK.upper(), REPLY.replace(" and", ", and") + " 😂👍")),
        ((TITLE, REPLY), (TITLE.replace("12", "13").replace("2015", "2016"), REPLY)),
        ((ASK, "Thank you!"), (ASK, "thank you")),
        (("A", "B", "C"), ("a", "b...", "c!")),
        (("Hi", "😂"), ("Hi!", "😂")),
        (("今日は寒いですね。", "そうですね、冬が来ました。"), ("今日は寒いですね", "そうですね。冬が来ました!")),
        (("كيف أتعلم الطبخ وأنا أعيش وحدي في بيت؟", "شُكراً"), ("كيف أتعلم الطبخ وأنا أعيش وحدي في بيت", "شكرا")),
        (("one",), ("One",)),
        ((), ()),
    ],
)  # fmt: skip
def test_a_duplicate(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert are_duplicates(session(*one), session(*other))


@pytest.mark.parametrize(
    "one, other",
    [
        ((ASK, "Thank you!"), (TITLE, "Thank you!")),
        ((ASK, REPLY), (ASK, "Cook for your friends, who will tell you the truth about it every time.")),
        ((ASK, REPLY), (ASK, "Same here.")),
        ((ASK, REPLY), (REPLY, ASK)),
        ((ASK, REPLY), (TITLE, REPLY)),
        (("Hi", "Me too", "Same"), ("Hello", "Me too", "Same")),  # few words: all turns are compared
        (("What is 2 + 2?", "4"), ("What is 3 + 3?", "6")),
        (("Hi", "😂"), ("Hi", "😭")),
        (("What year was it in?", "1997"), ("What year was it in?", "2005")),
        (("今日は寒い。", "冬だから。"), ("今日は寒い。", "雪だから。")),
        (("one",), ("", "one")),
    ],
)
def test_no_duplicate(one: tuple[str, ...], other: tuple[str, ...]) -> None:
    assert not are_duplicates(session(*one), session(*other))


def test_the_fewer_words_are_changed_the_more_are_found() -> None:
    """The curve of the module's docstring: made-up turns of 8 to 20 words, some of them replaced by others."""
    rng = random.Random(0)

    def turn() -> list[str]:
        return [f"w{chr(97 + rng.randrange(26))}{chr(97 + rng.randrange(26))}" for _ in range(rng.randint(8, 20))]

    def edited(words: list[str], share: float) -> str:
        return " ".join("new" + chr(97 + rng.randrange(26)) if rng.random() < share else word for word in words)

    made = [(turn(), turn()) for _ in range(2000)]
    keys = band_keys_of([session(" ".join(context), " ".join(response)) for context, response in made])

    def found(context_share: float, response_share: float) -> float:
        changed = [session(edited(c, context_share), edited(r, response_share)) for c, r in made]
        return float((band_keys_of(changed) == keys).any(axis=1).mean())

    for share, response, both in ((0, 1, 1), (0.05, 0.79, 0.57), (0.1, 0.57, 0.28), (0.2, 0.28, 0.06), (0.6, 0, 0)):
        assert found(0, share) == pytest.approx(response, abs=0.05)
        assert found(share, share) == pytest.approx(both, abs=0.05)


texts = st.sampled_from([ASK, ASK.upper(), REPLY, TITLE, "Thanks", "thanks!", "No", "😂", "", "猫", "Да"])
some_sessions = st.lists(st.lists(texts, min_size=1, max_size=3).map(lambda found: session(*found)), max_size=12)


@given(some_sessions, st.integers(1, 4))
def test_keys_do_not_depend_on_the_other_sessions(made: list[Session], at: int) -> None:
    together = band_keys_of(made)
    apart = np.concatenate([band_keys_of(made[:at]), band_keys_of(made[at:])])
    assert together.tolist() == apart.tolist()


small_keys = st.lists(st.tuples(st.integers(0, 6), st.integers(7, 12)), max_size=15)


@given(small_keys, st.randoms(use_true_random=False), st.integers(1, 5))
def test_the_first_of_a_key_stays_however_the_corpus_is_cut(
    rows: list[tuple[int, int]], rng: random.Random, buckets: int
) -> None:
    keys = np.array(rows, np.uint64).reshape(-1, 2)
    places = rng.sample(range(100), len(rows))
    order = np.array(places, np.uint64)
    expected = [
        any(set(row) & set(other) and places[j] < places[i] for j, other in enumerate(rows))
        for i, row in enumerate(rows)
    ]
    assert later_duplicates(keys, order).tolist() == expected

    shuffled = rng.sample(range(len(rows)), len(rows))
    assert later_duplicates(keys[shuffled], order[shuffled]).tolist() == [expected[i] for i in shuffled]

    entry_keys, entry_sessions = keys.ravel(), np.repeat(np.arange(len(rows)), 2)
    bucket = (entry_keys % np.uint64(buckets)).astype(np.int64)
    dropped: set[int] = set()
    for number in range(buckets):
        there = bucket == number
        found = drop_in_bucket(entry_keys[there], entry_sessions[there], order[entry_sessions[there]])
        assert found.tolist() == sorted(set(found.tolist()))
        dropped |= set(found.tolist())
    assert dropped == {i for i, goes in enumerate(expected) if goes}


def test_of_equal_ids_the_first_stays() -> None:
    made = [session(ASK, REPLY, name="x"), session(ASK, REPLY, name="x")]
    assert later_duplicates(band_keys_of(made), order_of([each.id for each in made])).tolist() == [False, True]


def test_ranges_of_keys_are_of_about_equal_size() -> None:
    keys = band_keys_of([session(ASK, f"{REPLY} {chr(97 + i % 26) * (1 + i // 26)}") for i in range(500)])
    counts = np.bincount((np.unique(keys) >> np.uint64(62)).astype(np.int64), minlength=4)
    assert counts.sum() == len(np.unique(keys))
    assert counts.min() > 0.15 * counts.sum()
