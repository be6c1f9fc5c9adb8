"""Attention checks: where they are among a judge's items, and how an item is made into one.

A check looks like an item, but one of its replies asks for a certain answer to every question. One in `every` items of
a judge is a check, at a random place that is never the first. All of it is a function of the study's seed.
"""

import random
from collections.abc import Sequence

import msgspec

from dialogpt.data.normalize import ARABIC_LETTER
from dialogpt.evaluation.human import Kind
from dialogpt.evaluation.human.study import Item

INSTRUCTIONS = {
    "pairs": "Instead of judging this one, please choose this reply for every question.",
    "ratings": "Instead of judging this one, please give it a 1 for every question.",
}
ARABIC_INSTRUCTIONS = {
    "pairs": "بدل الحكم على هذا الردّ، اختره من فضلك في كل سؤال.",
    "ratings": "بدل الحكم على هذا الردّ، أعطه 1 من فضلك في كل سؤال.",
}


def is_check(position: int, every: int, seed: int, judge: int) -> bool:
    """Whether the item that a judge sees at `position`, counted from 0, is a check."""
    if not every:
        return False
    block, place = divmod(position, every)
    return place == _place_in(block, every, seed, judge)


def with_checks(items: int, every: int, seed: int, judge: int) -> int:
    """How many items a judge sees until `items` of them were not checks."""
    if not every or not items:
        return items
    block, place = divmod(items - 1, every - 1)
    return block * every + place + 1 + (place >= _place_in(block, every, seed, judge))


def _place_in(block: int, every: int, seed: int, judge: int) -> int:
    return random.Random(f"{seed}/check/{judge}/{block}").randrange(1, every)


def drawn_answer(kind: Kind, number: int, seed: int) -> int:
    """What the check of this number asks for: of a pair the first or second system's reply, 1 or -1; of ratings 1."""
    return random.Random(f"{seed}/answer/{number}").choice((1, -1)) if kind == "pairs" else 1


def instructed(item: Item, answer: int) -> Item:
    """The item with the reply that `answer` chooses replaced by the instruction to choose it.

    It is in Arabic if the item is, so that its judges can read it and it does not stand out.
    """
    replies = list(item.replies)
    kind: Kind = "pairs" if len(replies) == 2 else "ratings"
    letters = [letter for text in (*item.turns, *replies) for letter in text if letter.isalpha()]
    arabic = len(ARABIC_LETTER.findall("".join(letters))) > len(letters) / 2
    replies[0 if answer > 0 else 1] = (ARABIC_INSTRUCTIONS if arabic else INSTRUCTIONS)[kind]
    return msgspec.structs.replace(item, replies=tuple(replies))


def passed(answer: int, values: Sequence[int]) -> bool:
    """Whether the check that asks for `answer` was answered so to every question."""
    return all(value == answer for value in values)
