"""Attention checks: one among so many items, never the first, and an instruction in the right place."""

from hypothesis import given
from hypothesis import strategies as st

from dialogpt.evaluation.human.checks import (
    ARABIC_INSTRUCTIONS,
    INSTRUCTIONS,
    drawn_answer,
    instructed,
    is_check,
    passed,
    with_checks,
)
from dialogpt.evaluation.human.study import Item

EVERY = st.integers(2, 30)


@given(EVERY, st.integers(0, 5), st.integers(1, 9), st.integers(0, 20))
def test_one_of_every_so_many_is_a_check(every: int, seed: int, judge: int, block: int) -> None:
    places = [place for place in range(every) if is_check(block * every + place, every, seed, judge)]
    assert len(places) == 1
    assert places[0] > 0


@given(st.integers(0, 200), EVERY, st.integers(0, 5), st.integers(1, 9))
def test_how_many_a_judge_sees(items: int, every: int, seed: int, judge: int) -> None:
    total = with_checks(items, every, seed, judge)
    seen = [is_check(position, every, seed, judge) for position in range(total)]
    assert seen.count(False) == items
    assert not total or not seen[-1]  # nobody is checked when there is nothing left to judge


def test_no_checks() -> None:
    assert not any(is_check(position, 0, 1, 1) for position in range(100))
    assert with_checks(7, 0, 1, 1) == 7


def test_the_instruction_takes_the_place_of_the_reply_that_it_asks_for() -> None:
    pair = Item("1", ("hi",), ("a", "b"), ("x", "y"))
    assert instructed(pair, 1).replies == (INSTRUCTIONS["pairs"], "y")
    assert instructed(pair, -1).replies == ("x", INSTRUCTIONS["pairs"])
    assert instructed(Item("1", ("hi",), ("a",), ("x",)), 1).replies == (INSTRUCTIONS["ratings"],)
    assert {drawn_answer("pairs", number, 1) for number in range(20)} == {1, -1}
    assert {drawn_answer("ratings", number, 1) for number in range(20)} == {1}


def test_an_item_in_arabic_has_its_instruction_in_arabic() -> None:
    pair = Item("1", ("صباح الخير", "أهلا"), ("a", "b"), ("كيف حالك؟ OK", "مرحبا"))
    assert instructed(pair, -1).replies == ("كيف حالك؟ OK", ARABIC_INSTRUCTIONS["pairs"])
    assert instructed(Item("1", ("hi, أحمد",), ("a",), ("",)), 1).replies == (ARABIC_INSTRUCTIONS["ratings"],)
    assert instructed(Item("1", ("hello, أحمد",), ("a",), ("",)), 1).replies == (INSTRUCTIONS["ratings"],)


def test_one_other_answer_fails_the_check() -> None:
    assert passed(-1, [-1, -1])
    assert not passed(-1, [-1, 0])
