"""Repetition, bland replies, copies and lengths, counted by hand."""

import math

import pytest

from dialogpt.evaluation.habits import Copies, blandness, context_repetition, lengths, self_repetition
from dialogpt.evaluation.significance import Additive


def value(measure: Additive) -> float:
    (made,) = measure.values.tolist()
    return float(made)


@pytest.mark.parametrize(
    "replies, expected",
    [
        (["I know I know I know"], 2 / 4),  # i know i, know i know, and both again
        (["a b c", "a b c"], 0),  # in another reply it is no repetition
        (["a b c d", "x y z x y z"], 1 / 6),
        (["Не знаю, не знаю, не знаю!"], 2 / 4),
        (["今今今今"], 1 / 2),  # characters are words where no blanks are written
        (["hi", ""], math.nan),
    ],
)
def test_repetition_within_a_reply(replies: list[str], expected: float) -> None:
    assert value(self_repetition(replies)) == pytest.approx(expected, nan_ok=True)


@pytest.mark.parametrize(
    "replies, contexts, expected",
    [
        (["you like cats a lot"], [["Hi", "Do you like cats?"]], 1 / 3),
        (["you like cats"], [["do you", "like cats"]], 0),  # not across turns
        (["a b c", "x y z"], [["x y z"], ["a b c"]], 0),  # not in another segment
        (["a b c", "x y z"], [["a, b, c."], []], 1 / 2),
        (["صباح الخير يا صديقي"], [["صَباح الخير يا أحمد"]], 1 / 2),  # vowel signs make no other word
    ],
)
def test_repetition_of_the_context(replies: list[str], contexts: list[list[str]], expected: float) -> None:
    assert value(context_repetition(replies, contexts)) == pytest.approx(expected)


def test_bland_replies_are_the_most_frequent_ones() -> None:
    replies = [f"bland {n % 12}!" for n in range(36)] + [f"once {n}" for n in range(14)]
    assert value(blandness(replies)) == 30 / 50  # ten kinds of twelve, three times each
    assert value(blandness(["I don't know.", "i don't know", "yes"])) == pytest.approx(2 / 3)
    assert value(blandness(["one", "two"])) == 0
    assert value(blandness(["😀", "😀😀", "so?"])) == pytest.approx(2 / 3)  # without letters all are the same


def test_copies_of_the_training_data() -> None:
    copies = Copies([["Do you like my cats?", "yes", "nothing of the kind at all"], ["yes", "yes", "yes"]])
    copies.feed(["well, do YOU like my dogs", "yes"])
    copies.feed(["Do you like my cats", ""])
    (ngrams, replies), (no_ngrams, no_replies) = copies.measures(4)
    assert value(ngrams) == pytest.approx(2 / 5)
    assert value(replies) == pytest.approx(1 / 2)  # `yes` is too short to be a copy
    assert math.isnan(value(no_ngrams))
    assert math.isnan(value(no_replies))
    assert ngrams.signature.startswith("training-turns:4|n:4|")


def test_lengths_and_their_distribution() -> None:
    mean, quantiles = lengths([["w"] * n for n in range(11)])
    assert value(mean) == 5
    assert dict(zip(quantiles.names, quantiles.values.tolist(), strict=True)) == {
        "length-p10": 1, "length-p50": 5, "length-p90": 9, "length-max": 10,
    }  # fmt: skip
