"""Systems' replies to the same contexts -> a study: its settings, and the items that judges are asked about.

An item is a context with the replies of a pair of systems, or with one reply to be rated. Pairs whose replies are the
same are ties by construction: nobody is asked, and their number is kept beside the judgements. The seed decides which
contexts are drawn.
"""

import random
from collections.abc import Iterator, Sequence
from itertools import combinations
from typing import Literal, NamedTuple

import msgspec

from dialogpt.errors import DataError
from dialogpt.evaluation.human import PAIR_CRITERIA, RATING_CRITERIA, JudgeConfig, Kind
from dialogpt.evaluation.inputs import Inputs
from dialogpt.evaluation.segments import Segment

# For each criterion the question about a pair, and its meaning; other criteria are asked by their names.
QUESTIONS = {
    "relevance": ("Which reply is more relevant?", "It fits what was said before, and follows from it."),
    "informativeness": (
        "Which reply is more informative?",
        "It says something specific, not what could be said to anything.",
    ),
    "human-likeness": ("Which reply is more human-like?", "It could have been written by a person."),
}


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What a study was made with, `contexts` of them drawn.

    `ties_left_out` counts the pairs whose replies are the same. `items` is the setting, 0 for all contexts.
    """

    kind: Kind
    systems: tuple[str, ...]
    criteria: tuple[str, ...]
    against: Literal["first", "all"]
    items: int
    judges: int
    check_every: int
    seed: int
    contexts: int
    ties_left_out: int = 0


class Item(msgspec.Struct, frozen=True):
    """What is asked: `replies` of a pair of systems, or of one, to the `turns` of the context of that id."""

    context: str
    turns: tuple[str, ...]
    systems: tuple[str, ...]
    replies: tuple[str, ...]


class Study(NamedTuple):
    settings: Settings
    items: tuple[Item, ...]


class Question(msgspec.Struct, frozen=True):
    """A criterion as judges see it: `text` is asked, `meaning` explains it and may be empty."""

    criterion: str
    text: str
    meaning: str


def make_study(config: JudgeConfig, inputs: Inputs) -> Study:
    """The study that the settings and the replies make; DataError when nothing is left to ask."""
    ids = _ids(inputs.segments)
    drawn = _drawn(len(ids), config.items, config.seed)
    items, same = [], 0
    for place in drawn:
        turns = tuple(turn.strip() for turn in inputs.segments[place].context if turn.strip())
        for chosen in _chosen(config, len(inputs.systems)):
            replies = tuple(inputs.systems[system].replies[place].strip() for system in chosen)
            if config.kind == "pairs" and replies[0].split() == replies[1].split():
                same += 1
            else:
                names = tuple(inputs.systems[system].name for system in chosen)
                items.append(Item(ids[place], turns, names, replies))
    if not items:
        raise DataError("the replies of all pairs are the same", "there is nothing to judge: every one is a tie")
    settings = Settings(
        kind=config.kind,
        systems=tuple(system.name for system in inputs.systems),
        criteria=config.criteria or (PAIR_CRITERIA if config.kind == "pairs" else RATING_CRITERIA),
        against=config.against,
        items=config.items,
        judges=config.judges,
        check_every=config.check_every,
        seed=config.seed,
        contexts=len(drawn),
        ties_left_out=same,
    )
    return Study(settings, tuple(items))


def questions(settings: Settings) -> list[Question]:
    """The criteria in order, as judges are asked about them."""
    return [_question(settings.kind, criterion) for criterion in settings.criteria]


def _question(kind: Kind, criterion: str) -> Question:
    text, meaning = QUESTIONS.get(criterion, (criterion, ""))
    return Question(criterion, text if kind == "pairs" else criterion.capitalize(), meaning)


def _ids(segments: Sequence[Segment]) -> list[str]:
    """The contexts' own ids where all have one and all differ, else their numbers."""
    own = [segment.id for segment in segments]
    if all(own) and len(set(own)) == len(own):
        return own
    return [str(number) for number in range(1, len(own) + 1)]


def _drawn(count: int, wanted: int, seed: int) -> Sequence[int]:
    """The places of the contexts that are asked about, in their order."""
    if wanted > count:
        raise DataError(f"--items {wanted}, but there are {count} contexts", "name fewer, or 0 for all of them")
    return sorted(random.Random(f"{seed}/contexts").sample(range(count), wanted)) if wanted else range(count)


def _chosen(config: JudgeConfig, systems: int) -> Iterator[tuple[int, ...]]:
    """Which systems' replies make items of a context."""
    if config.kind == "ratings":
        yield from ((system,) for system in range(systems))
    elif config.against == "all":
        yield from combinations(range(systems), 2)
    else:
        yield from ((0, system) for system in range(1, systems))
