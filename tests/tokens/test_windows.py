"""Windows of whole turns: they fit, overlap by a turn, and what is in none is counted."""

from collections import Counter

from hypothesis import example, given, settings
from hypothesis import strategies as st

from dialogpt.tokens.windows import split_by_turns


@given(st.lists(st.tuples(st.integers(1, 30), st.booleans()), min_size=1, max_size=20), st.integers(2, 40))
@settings(max_examples=300)
@example([(1, True), (30, True), (1, True)], 40)  # a turn alone on each side of one that is too long
def test_windows_fit_and_every_turn_is_learned_once_or_counted(made: list[tuple[int, bool]], max_tokens: int) -> None:
    lengths, learn = [length for length, _ in made], [flag for _, flag in made]
    dropped: Counter[str] = Counter()
    windows = list(split_by_turns(lengths, learn, max_tokens, dropped))
    learned: Counter[int] = Counter()
    for window in windows:
        assert window.step == 1  # whole turns, in order, without a hole
        assert 0 < sum(lengths[i] for i in window) <= max_tokens
        assert any(learn[i] for i in window[1:])
        learned.update(i for i in window[1:] if learn[i])
    too_long = [i for i, length in enumerate(lengths) if length > max_tokens // 2]
    assert dropped["turn over half of --max-tokens"] == len(too_long)
    # What follows a turn left out has no context before it: it opens anew, as the session's first turn does.
    opens = {0, *(i + 1 for i in too_long)}
    expected = {i for i, flag in enumerate(learn) if flag and i not in opens and i not in too_long}
    assert learned == Counter(expected)
    if not windows:
        assert dropped.total() > len(too_long) or len(too_long) == len(made)


def test_a_part_of_a_session_that_has_nothing_to_learn_is_counted() -> None:
    dropped: Counter[str] = Counter()
    assert list(split_by_turns([1, 30, 1], [True] * 3, 20, dropped)) == []
    assert dropped == {"turn over half of --max-tokens": 1, "window without a turn to learn": 2}


def test_a_session_without_turns_or_without_a_response_is_counted() -> None:
    dropped: Counter[str] = Counter()
    assert list(split_by_turns([], [], 20, dropped)) == list(split_by_turns([3], [True], 20, dropped)) == []
    assert dropped == {"session without a turn to learn": 2}


def test_windows_overlap_by_one_turn() -> None:
    dropped: Counter[str] = Counter()
    windows = list(split_by_turns([4, 4, 4, 4, 4], [True] * 5, 10, dropped))
    assert windows == [range(0, 2), range(1, 3), range(2, 4), range(3, 5)]
    assert not dropped


def test_without_a_limit_a_session_is_one_window() -> None:
    assert list(split_by_turns([500, 1, 700], [True] * 3, 0, Counter())) == [range(3)]
