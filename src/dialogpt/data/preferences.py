"""The `preferences` command: Reddit dumps -> pairs of replies to the same context, of which people preferred one.

As DialogRPT's pairs of votes (Gao et al., EMNLP 2020, arXiv 2009.06978; the released `src/data.py`): of the replies to
a post, in the order of writing, each is paired with the next one, so that both had about the same time to be seen; the
one with more votes is the better one. The folder holds `preferences.jsonl`, a line a `Preference`.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from itertools import compress, pairwise

import msgspec

from dialogpt.artifact import Manifest
from dialogpt.data import PreferencesConfig
from dialogpt.data.answers import (
    AnswersTask,
    Filters,
    answered,
    answers_job,
    kept_replies,
    limited,
    write_partition,
)
from dialogpt.data.chosen import are_chosen, convert
from dialogpt.data.reddit import Forest, as_turns
from dialogpt.data.tally import Tally
from dialogpt.errors import DataError, check_least
from dialogpt.session import Preference
from dialogpt.storage import Storage


def preferences(config: PreferencesConfig) -> Manifest:
    """Write the pairs of `config.dumps` to `config.out`; errors, and going on after a stop, as `extract`.

    Instead of dumps they may be files of other trainers' preferences (see `chosen`).
    """
    check_least(config, min_gap=1, max_turns=1, limit=0)
    if are_chosen(config.dumps):
        return convert(config)
    return answers_job(config, "preferences", partition_pairs, _finish)


def partition_pairs(task: AnswersTask) -> Tally:
    """Write the pairs of one partition, in the order of their contexts."""

    def found(forest: Forest, dropped: Counter[str], filters: Filters) -> Iterator[Preference]:
        return preferred(forest, dropped, filters, min_gap=task.config.min_gap, max_turns=task.config.max_turns)

    return write_partition(task, found)


def preferred(
    forest: Forest, dropped: Counter[str], filters: Filters, *, min_gap: int = 1, max_turns: int = 10
) -> Iterator[Preference]:
    """Yield the pairs of each post's replies whose votes differ by `min_gap` or more, in the order of writing.

    `dropped` counts replies whose votes are not known, replies by the filters' reasons and those that repeat another's
    text, and pairs of too like votes.
    """
    for post, replies in answered(forest):
        known = [reply for reply in replies if not reply.hidden]
        if len(known) < len(replies):
            dropped["response: votes unknown"] += len(replies) - len(known)
        for pair in pairwise(kept_replies(known, filters, dropped)):
            better, worse = sorted(pair, key=lambda reply: -reply.score)
            if better.score - worse.score < min_gap:
                dropped["pair: votes too alike"] += 1
            else:
                name = f"{post.thread}/{post.id}/{better.id}/{worse.id}"
                yield Preference(as_turns(forest.path(post, max_turns)), better.text, worse.text, name)


class _Named(msgspec.Struct):
    """Of a preference, its id."""

    id: str


def _finish(folder: Storage, parts: Sequence[str], config: PreferencesConfig, dropped: Counter[str]) -> dict[str, int]:
    """All pairs, or `--limit` of them; there may be many, so only their ids are held together."""
    decoder = msgspec.json.Decoder(_Named)
    ids = [[pair.id for pair in decoder.decode_lines(folder.read(part))] for part in parts]
    kept = limited(ids, config.limit)
    counts = Counter(pairs=0, contexts=0)
    with folder.new_file("out/preferences.jsonl") as file:
        for part, names, chosen in zip(parts, ids, kept, strict=True):
            lines = list(compress(folder.read(part).splitlines(keepends=True), chosen))
            file.write(b"".join(lines))
            contexts = {name.rsplit("/", 2)[0] for name in compress(names, chosen)}
            counts.update(pairs=len(lines), contexts=len(contexts))
    if beyond := sum(map(len, kept)) - counts["pairs"]:
        dropped["pair: beyond --limit"] += beyond
    if not counts["pairs"]:
        raise DataError(
            f"no two replies to one post differ by {config.min_gap} votes in these dumps",
            "lower --min-gap, or name more dumps",
        )
    return counts
