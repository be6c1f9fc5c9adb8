"""Preference data -> the answers that people liked, as a conversation that `jsonl` knows.

{"prompt": "Hi", "completion": "Go away", "label": false}     KTO's (elsewhere `kto_tag`): such an answer is left out
{"prompt": "Hi", "chosen": "Hello", "rejected": "Go away"}    DPO's; texts, or lists of chat messages
{"chosen": [{"role": "user", ...}, ...], "rejected": [...]}   the prompt may be within
{"conversations": [...], "chosen": {...}, "rejected": {...}}  or stand before as messages
{"chosen": "\\n\\nHuman: Hi\\n\\nAssistant: Hello", ...}          a transcript
"""

import re
from collections import Counter
from typing import Any

from dialogpt.data.readers.columns import find_pair

LABELS = ("label", "kto_tag")
CHOSEN, REJECTED = "chosen", "rejected"
COLUMNS = (*LABELS, CHOSEN, REJECTED)
DISLIKED, WORSE = "answer that was not liked (label false)", "rejected answer"


def is_messages(value: Any) -> bool:
    """Whether a value is a list of chat messages only."""
    return (
        isinstance(value, list)
        and bool(value)
        and all(isinstance(message, dict) and "role" in message and "content" in message for message in value)
    )


def is_disliked(record: dict[str, Any]) -> bool:
    """Whether its answer is marked as one not to give; a label that is a number is something else."""
    return any(record.get(name) is False for name in LABELS)


def liked(record: dict[str, Any], dropped: Counter[str]) -> dict[str, Any]:
    """The record with the answer that was liked in its conversation; other data, and answers in text, as they are."""
    chosen = record.get(CHOSEN)
    if chosen is not None and record.get(REJECTED) is not None:
        dropped[WORSE] += 1
    if isinstance(chosen, str) and not find_pair(list(record)) and (turns := _spoken(chosen)):
        return {**_beside(record), "turns": turns}
    answer = record.get("completion") if chosen is None else chosen
    added = [answer] if isinstance(answer, dict) else answer
    if not isinstance(added, list) or not added or not all(map(_speaker, added)):
        return record
    before: Any = next((record[name] for name in ("prompt", "messages", "conversations") if record.get(name)), [])
    if isinstance(before, str):
        before = [{"role": "user", "content": before}]
    whole = len(added) > 1 and _speaker(added[0]) not in ("assistant", "gpt")
    return {**_beside(record), "messages": added if whole else [*before, *added]}


def _speaker(message: Any) -> str:
    return str(message.get("role") or message.get("from") or "") if isinstance(message, dict) else ""


def _beside(record: dict[str, Any]) -> dict[str, Any]:
    return {name: record[name] for name in ("id", "conversation_id", "source", "system") if name in record}


def _spoken(text: str) -> list[list[str]]:
    """The turns of a transcript in which Human and Assistant speak; none if it is not one."""
    above, *parts = re.split(r"\n\n(Human|Assistant): ?", f"\n\n{text.lstrip()}")
    return [] if above.strip() else [list(pair) for pair in zip(parts[::2], parts[1::2], strict=True)]
