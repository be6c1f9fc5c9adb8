"""The study's file: who is given what, what is kept, several threads and processes at once, a full disk."""

import multiprocessing
import random
import tempfile
import threading
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialogpt.errors import DataError, UsageError
from dialogpt.evaluation.human import checks
from dialogpt.evaluation.human.store import Judge, Shown, Store, TooLate
from dialogpt.evaluation.human.study import Item, Settings, Study

Make = Callable[..., Store]
ALL_TIES = {"relevance": 0, "informativeness": 0, "human-likeness": 0}
HALF_AN_HOUR_S = 1800.0


class Clock:
    now = 1000.0

    def __call__(self) -> float:
        return self.now


def prefer(shown: Shown, which: str) -> dict[str, int]:
    """An answer that says everywhere that the reply beginning with `which` is better."""
    return dict.fromkeys(ALL_TIES, 1 if shown.replies[0].startswith(which) else -1)


def judge_all(store: Store, judge: Judge, most: int = 1000) -> int:
    """Answer what there is to answer, for the first system; returns how many that were."""
    for count in range(most):
        shown = store.next_item(judge)
        if shown is None:
            return count
        store.answer(judge, shown.assignment, prefer(shown, "first"), 1.0)
    return most


def test_an_answer_is_relative_to_the_first_system_wherever_it_stood(make_store: Make) -> None:
    store = make_store(contexts=40, check_every=0)
    ann = store.add_judge("Ann")
    assert judge_all(store, ann) == 40
    found = store.judgements()
    assert len(found) == 40 * 3
    assert {(each.judge, each.systems, each.value, each.seconds, each.passed) for each in found} == {
        ("Ann", ("1", "2"), 1, 1.0, None)
    }
    assert 5 < sum(each.swapped for each in found if each.criterion == "relevance") < 35
    assert [each.criterion for each in found[:3]] == list(store.settings.criteria)
    assert len({each.item for each in found}) == 40


def test_sides_are_balanced_within_an_item(make_store: Make) -> None:
    store = make_store(contexts=10, judges=4, check_every=0)
    for name in "ABCD":
        judge_all(store, store.add_judge(name))
    swapped = Counter(each.item for each in store.judgements() if each.criterion == "relevance" and each.swapped)
    assert set(swapped.values()) == {2}
    assert len(swapped) == 10


def test_items_become_complete_early_and_in_another_order_for_each_judge(make_store: Make) -> None:
    store = make_store(contexts=30, judges=2, check_every=0)
    ann, bo = store.add_judge("Ann"), store.add_judge("Bo")
    judge_all(store, ann, 10)
    judge_all(store, bo, 10)
    assert store.state().complete == 10
    orders = {
        judge: [each.item for each in store.judgements() if each.judge == judge and each.criterion == "relevance"]
        for judge in ("Ann", "Bo")
    }
    assert set(orders["Ann"]) == set(orders["Bo"])
    assert orders["Ann"] != orders["Bo"]
    assert orders["Ann"] != sorted(orders["Ann"], key=lambda name: int(name[1:]))


def test_the_same_answer_twice_is_one_and_the_last_may_be_corrected(make_store: Make) -> None:
    store = make_store(check_every=0)
    ann = store.add_judge("Ann")
    first = store.next_item(ann)
    assert first
    assert store.next_item(ann) == first  # what waits for an answer is shown again
    assert store.previous_item(ann) is None
    for _ in range(2):
        store.answer(ann, first.assignment, prefer(first, "first"), 4.0)
    assert [(each.value, each.seconds) for each in store.judgements()] == [(1, 4.0)] * 3
    again = store.previous_item(ann)
    assert again == first._replace(values=prefer(first, "first"))
    store.answer(ann, first.assignment, {**ALL_TIES, "relevance": prefer(first, "second")["relevance"]}, 2.5)
    assert [(each.value, each.seconds) for each in store.judgements()] == [(-1, 6.5), (0, 6.5), (0, 6.5)]

    second = store.next_item(ann)
    assert second
    store.answer(ann, second.assignment, ALL_TIES, 1.0)
    with pytest.raises(TooLate, match="only the last answer can be changed"):
        store.answer(ann, first.assignment, ALL_TIES, 1.0)
    assert store.progress(ann) == (2, 4, 0)


@pytest.mark.parametrize(
    "values, seconds",
    [
        ({}, 1.0),
        ({"relevance": 1}, 1.0),
        ({**ALL_TIES, "charm": 1}, 1.0),
        ({**ALL_TIES, "relevance": 2}, 1.0),
        ({**ALL_TIES, "relevance": True}, 1.0),
        ({**ALL_TIES, "relevance": 0.5}, 1.0),
        (ALL_TIES, -1.0),
        (ALL_TIES, float("nan")),
        (ALL_TIES, float("inf")),
    ],
)
def test_answers_that_are_none(make_store: Make, values: Any, seconds: float) -> None:
    store = make_store()
    ann = store.add_judge("Ann")
    shown = store.next_item(ann)
    assert shown
    with pytest.raises(DataError):
        store.answer(ann, shown.assignment, values, seconds)
    assert store.judgements() == []


def test_ratings_are_1_to_5(make_store: Make) -> None:
    store = make_store(contexts=2, kind="ratings", check_every=0)
    ann = store.add_judge("Ann")
    for _ in range(4):
        shown = store.next_item(ann)
        assert shown
        with pytest.raises(DataError, match="0 is not an answer"):
            store.answer(ann, shown.assignment, {"relevance": 0, "informativeness": 1}, 1.0)
        rating = 5 if shown.replies[0].startswith("first") else 2
        store.answer(ann, shown.assignment, {"relevance": rating, "informativeness": 1}, 1.0)
    assert store.next_item(ann) is None
    found = {(each.systems, each.value, each.swapped) for each in store.judgements() if each.criterion == "relevance"}
    assert found == {(("1",), 5, False), (("2",), 2, False)}


def test_what_waits_half_an_hour_goes_to_others(make_store: Make) -> None:
    clock = Clock()
    store = make_store(contexts=1, judges=1, clock=clock, check_every=0)
    ann, bo, eve = (store.add_judge(name) for name in ("Ann", "Bo", "Eve"))
    item = store.next_item(ann)
    assert item
    assert store.next_item(bo) is None
    assert store.progress(bo) == (0, 0, 1)
    clock.now += HALF_AN_HOUR_S - 1
    assert store.next_item(bo) is None
    clock.now += 2
    its = store.next_item(bo)
    assert its
    with pytest.raises(TooLate, match="gone to another judge"):
        store.answer(ann, item.assignment, ALL_TIES, 1.0)
    assert store.next_item(ann) is None
    with pytest.raises(TooLate):  # Ann's is no more, and Bo's is not hers
        store.answer(ann, its.assignment, ALL_TIES, 1.0)
    clock.now += 3 * HALF_AN_HOUR_S  # late, but nobody else has it
    store.answer(bo, its.assignment, ALL_TIES, 1.0)
    assert store.next_item(eve) is None
    assert store.state() == (1, 1, 1, 1, 1)


def test_who_comes_back_late_goes_on_with_the_same_item_if_it_is_free(make_store: Make) -> None:
    clock = Clock()
    store = make_store(contexts=5, judges=1, clock=clock)
    ann, bo = store.add_judge("Ann"), store.add_judge("Bo")
    item = store.next_item(ann)
    clock.now += 10 * HALF_AN_HOUR_S
    assert store.next_item(ann) == item
    clock.now += 1
    others = store.next_item(bo)
    assert others
    assert item
    assert others.turns != item.turns  # it is reserved anew


def test_attention_checks_stand_apart(make_store: Make) -> None:
    store = make_store(contexts=30, check_every=5)
    ann, bo = store.add_judge("Ann"), store.add_judge("Bo")
    seen, instruction = [], checks.INSTRUCTIONS["pairs"]
    total = store.progress(ann).total
    while shown := store.next_item(ann):
        assert store.progress(ann) == (shown.position, total, 0)
        seen.append(instruction in shown.replies)
        obeyed = dict.fromkeys(ALL_TIES, 1 if shown.replies[0] == instruction else -1)
        store.answer(ann, shown.assignment, obeyed if seen[-1] else ALL_TIES, 1.0)
    assert store.progress(ann) == (total, total, 0)
    assert sum(seen) == total - 30
    assert sum(seen) in (7, 8)
    while shown := store.next_item(bo):
        store.answer(bo, shown.assignment, ALL_TIES, 1.0)
    found = Counter((each.judge, each.passed) for each in store.judgements() if each.criterion == "relevance")
    assert (found["Ann", None], found["Ann", True]) == (30, sum(seen))
    assert (found["Bo", None], found["Bo", False] in (7, 8), len(found)) == (30, True, 4)
    checked = [each.item for each in store.judgements() if each.passed and each.criterion == "relevance"]
    assert len(set(checked)) == sum(seen)
    assert {each.value for each in store.judgements() if each.passed} == {1, -1}
    assert store.state() == (60, 90, 0, 30, 2)


STEPS = st.lists(
    st.tuples(st.sampled_from("AABBCD"), st.sampled_from(["next", "answer", "answer", "back", "wait"])), max_size=60
)


@settings(max_examples=25)
@given(STEPS, st.integers(1, 3), st.sampled_from([0, 2, 4]))
def test_whatever_judges_do_no_item_has_too_many(steps: list[tuple[str, str]], wanted: int, every: int) -> None:
    """Judges go on, answer late, come back and correct; what was acknowledged is there, and nobody is asked twice."""
    clock, drawn = Clock(), random.Random(1)
    items = tuple(Item(str(n), ("hi",), ("a", "b"), (f"a{n}", f"b{n}")) for n in range(4))
    made = Settings(
        kind="pairs", systems=("a", "b"), criteria=("x",), against="first", items=0, judges=wanted,
        check_every=every, seed=1, contexts=4,
    )  # fmt: skip
    with (
        tempfile.TemporaryDirectory() as folder,
        Store.create(Path(folder) / "s.db", Study(made, items), clock) as store,
    ):
        judges = {name: store.add_judge(name) for name in "ABCD"}
        held: dict[str, Shown | None] = {}
        acknowledged: dict[tuple[str, int], tuple[Shown, int]] = {}
        for name, step in steps:
            clock.now += 1
            if step == "wait":
                clock.now += HALF_AN_HOUR_S
            shown = held.get(name)
            if step in ("next", "back"):
                look = store.next_item if step == "next" else store.previous_item
                held[name] = look(judges[name]) or held.get(name)
            elif step == "answer" and shown:
                value = drawn.choice((1, 0, -1))
                try:
                    store.answer(judges[name], shown.assignment, {"x": value}, 1.0)
                except TooLate:
                    continue
                acknowledged[name, shown.assignment] = (shown, value)
        found = store.judgements()
        real = [each for each in found if each.passed is None]
        assert all(count <= wanted for count in Counter(each.item for each in real).values())
        assert len({(each.judge, each.item) for each in real}) == len(real)
        said = Counter()
        for (name, _), (shown, value) in acknowledged.items():
            swapped = any(reply.startswith("b") for reply in shown.replies[:1]) or shown.replies[1].startswith("a")
            said[name, -value if swapped else value] += 1
        assert Counter((each.judge, each.value) for each in found) == said


def _judge_in_turn(path: Path, names: list[str], threads: int) -> None:
    """A process whose threads share a store; each judges all that it is given."""
    with Store.open(path) as store:
        judges = [store.add_judge(name) for name in names]
        started = [threading.Thread(target=judge_all, args=(store, judge)) for judge in judges]
        assert len(started) == threads
        for thread in started:
            thread.start()
        for thread in started:
            thread.join()


def test_several_processes_and_threads_never_give_an_item_to_too_many(make_store: Make) -> None:
    store = make_store(contexts=12, judges=3, check_every=4)
    names = [[f"{process}-{thread}" for thread in range(3)] for process in range(3)]
    context = multiprocessing.get_context("spawn")
    processes = [context.Process(target=_judge_in_turn, args=(store.path, several, 3)) for several in names]
    for process in processes:
        process.start()
    for process in processes:
        process.join(60)
    assert [process.exitcode for process in processes] == [0, 0, 0]
    real = [each for each in store.judgements() if each.passed is None and each.criterion == "relevance"]
    assert set(Counter(each.item for each in real).values()) == {3}
    assert {each.value for each in real} == {1}
    assert len({(each.judge, each.item) for each in real}) == len(real) == 36
    assert store.state()[:4] == (36, 36, 12, 12)


def test_threads_that_answer_the_same_item_at_once_answer_it_once(make_store: Make) -> None:
    store = make_store(check_every=0)
    ann = store.add_judge("Ann")
    shown = store.next_item(ann)
    assert shown
    barrier, seen = threading.Barrier(8), []

    def press_twice() -> None:
        barrier.wait()
        store.answer(ann, shown.assignment, ALL_TIES, 3.0)
        seen.append(store.next_item(ann))

    threads = [threading.Thread(target=press_twice) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert [(each.value, each.seconds) for each in store.judgements()] == [(0, 3.0)] * 3
    assert len(seen) == 8
    assert len(set(map(str, seen))) == 1


def test_a_study_is_whole_in_its_file(make_store: Make) -> None:
    store = make_store(contexts=3, judges=2, seed=7)
    judge_all(store, store.add_judge("Ann"))
    said, made, items = store.judgements(), store.settings, store.items
    store.close()
    assert [path.name for path in store.path.parent.iterdir() if "study" in path.name] == ["study.db"]
    with Store.open(store.path) as again:
        assert (again.judgements(), again.settings, again.items) == (said, made, items)
        assert again.settings.judges == 2
        judge = again.judge_named("ann")
        assert judge
        assert again.next_item(judge) is None
    with pytest.raises(UsageError, match="exists"):
        Store.create(store.path, Study(made, tuple(items)))


def test_a_full_disk_keeps_what_was_acknowledged(make_store: Make) -> None:
    store = make_store(contexts=200, check_every=0)
    ann = store.add_judge("Ann")
    pages = store._db.execute("PRAGMA page_count").fetchone()[0]
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(DataError, match=r"study.db: database or disk is full"):
        judge_all(store, ann)
    answered = store.progress(ann).answered
    assert 0 < answered < 200
    assert len(store.judgements()) == 3 * answered
    store._db.execute("PRAGMA max_page_count = 100000")
    assert answered + judge_all(store, ann) == 200
