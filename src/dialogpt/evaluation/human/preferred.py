"""What judges preferred, as the pairs that a ranker is trained on (`tokens/preferences.py`)."""

from collections import Counter, defaultdict
from collections.abc import Iterator
from itertools import combinations
from pathlib import Path

import msgspec

from dialogpt.artifact import atomic_file
from dialogpt.errors import DataError
from dialogpt.evaluation.human.judgements import Judged
from dialogpt.evaluation.human.store import Store
from dialogpt.session import Preference, Turn


def write_preferences(study: Path, judged: Judged, file: Path) -> Counter[str]:
    """Write a pair for each two replies to one context of which judges preferred one, over all criteria together.

    Returns the counts of pairs written and of ties; DataError if all are ties, or replies are missing: only a study of
    `dialogpt judge` holds them.
    """
    with Store.open(study) as store:
        items = store.items
    turns = {item.context: item.turns for item in items}
    replies = {
        (item.context, *one): text for item in items for *one, text in zip(item.systems, item.replies, strict=True)
    }
    counts: Counter[str] = Counter()
    lines = []
    for context, better, worse in _preferred(judged, counts):
        pair = Preference(tuple(map(Turn, turns[context])), replies[context, better], replies[context, worse], context)
        if not (pair.better.strip() and pair.worse.strip()):
            counts["empty replies, left out"] += 1
        elif pair.better.split() == pair.worse.split():
            counts["equal replies, left out"] += 1
        else:
            lines.append(msgspec.json.encode(pair) + b"\n")
    if not lines:
        raise DataError(f"{study}: judges preferred no reply to another", "let `dialogpt judge` ask more of them")
    with atomic_file(file) as partial:
        partial.write_bytes(b"".join(lines))
    counts["pairs"] = len(lines)
    return counts


def _preferred(judged: Judged, counts: Counter[str]) -> Iterator[tuple[str, str, str]]:
    """Yield context, better and worse system: of a pair by the sum of its values, of ratings by their means."""
    sums: defaultdict[tuple[str, tuple[str, ...]], list[int]] = defaultdict(list)
    for each in judged.judgements:
        sums[each.item, each.systems].append(each.value)
    if judged.kind == "pairs":
        margins = {(context, *systems): float(sum(values)) for (context, systems), values in sums.items()}
    else:
        rated: defaultdict[str, dict[str, float]] = defaultdict(dict)
        for (context, (system,)), values in sums.items():
            rated[context][system] = sum(values) / len(values)
        margins = {
            (context, one, other): means[one] - means[other]
            for context, means in rated.items()
            for one, other in combinations(means, 2)
        }
    for (context, one, other), margin in margins.items():
        if margin:
            yield (context, one, other) if margin > 0 else (context, other, one)
        else:
            counts["ties, left out"] += 1
