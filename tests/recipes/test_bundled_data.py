"""The text of our own that the bundled model is trained and tried on: its form, and that the two are apart."""

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

BUNDLED = Path(__file__).parents[2] / "recipes" / "bundled"
DIALOGUES = [BUNDLED / f"{name}.jsonl" for name in ("dialo", "small_talk", "chats", "remembered")]
GREETINGS = {"hello!", "good morning.", "goodbye!"}  # prompts that every set of dialogues begins with


def dialogues(path: Path) -> Iterator[list[str]]:
    with path.open(encoding="utf-8") as file:
        for line in file:
            yield [turn if isinstance(turn, str) else turn["text"] for turn in json.loads(line)["turns"]]


@pytest.mark.parametrize("path", DIALOGUES, ids=lambda path: path.stem)
def test_dialogues_are_short_turns_none_of_them_twice(path: Path) -> None:
    seen = set()
    for turns in dialogues(path):
        assert len(turns) >= 2
        for turn in turns:
            assert turn.isascii(), turns
            assert turn == turn.strip() != "", turns
            assert len(turn.split()) <= 25, turns
        seen.add(tuple(turn.lower() for turn in turns))
    assert len(seen) == sum(1 for _ in dialogues(path))


@pytest.mark.parametrize("path", DIALOGUES, ids=lambda path: path.stem)
def test_dialo_writes_with_capitals_whoever_writes_to_it(path: Path) -> None:
    replies = [reply for turns in dialogues(path) for reply in turns[1::2]]
    small = [reply for reply in replies if reply[0].islower()]
    assert len(small) <= len(replies) / 10_000, small[:9]


def test_of_what_is_made_by_rule_only_the_memory_is_learned() -> None:
    """Learned too, an answer that stands there a hundred times becomes the reply to anything."""
    with (BUNDLED / "remembered.jsonl").open(encoding="utf-8") as file:
        for turns in (json.loads(line)["turns"] for line in file):
            assert [turn.get("learn", True) for turn in turns] == [False] * (len(turns) - 1) + [True]


def test_what_the_model_is_tried_on_opens_no_dialogue() -> None:
    opened = {turns[0].lower() for path in DIALOGUES for turns in dialogues(path)}
    prompts = {line.lower() for line in (BUNDLED / "prompts.txt").read_text(encoding="utf-8").splitlines()}
    assert {prompt for prompt in prompts if "\t" not in prompt} & opened <= GREETINGS
    with (BUNDLED / "references" / "references.jsonl").open(encoding="utf-8") as file:
        contexts = [json.loads(line)["context"] for line in file]
    assert not {context[0].lower() for context in contexts} & opened


def test_each_context_has_five_references_and_one_more_response() -> None:
    with (BUNDLED / "references" / "references.jsonl").open(encoding="utf-8") as file:
        items = [json.loads(line) for line in file]
    human = (BUNDLED / "references" / "human.txt").read_text(encoding="utf-8").splitlines()
    assert len(human) == len(items) > 400
    for item, other in zip(items, human, strict=True):
        assert len({text.lower() for text in [*item["references"], other]}) == 6, item
        assert len(item["context"]) % 2 == 1, item
