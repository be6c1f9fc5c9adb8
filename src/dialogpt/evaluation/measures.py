"""Replies and references -> a `Measure` of each system for every family of metrics that is wanted.

A family is measured whole when one of its names is wanted, and left out where what it needs is not there: references
for AGAINST_REFERENCES, contexts for `repetition-context`, training data for `copy`, the jar and Java for `meteor`.
Perplexity is of models (`likelihood`).
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

from dialogpt.evaluation import bleu, habits, meteor, nist
from dialogpt.evaluation.diversity import diversity
from dialogpt.evaluation.inputs import Inputs
from dialogpt.evaluation.overlap import overlaps
from dialogpt.evaluation.significance import Additive, Measure
from dialogpt.evaluation.words import blank_words, mteval_words
from dialogpt.progress import Progress
from dialogpt.session import read_sessions

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "nist": nist.NAMES,
    "bleu": bleu.NAMES,
    "meteor": meteor.NAMES,
    "entropy": tuple(f"entropy-{n}" for n in range(1, 5)),
    "distinct": ("distinct-1", "distinct-2"),
    "length": ("length", *habits.LENGTHS),
    "repetition": ("repetition-self", "repetition-context"),
    "bland": ("bland",),
    "perplexity": ("perplexity",),
    "copy": (f"copy-{habits.COPIED}", "copy-reply"),
}
AGAINST_REFERENCES = ("nist", "bleu", "meteor", "perplexity")
TURNS_AT_ONCE = 4096


def measures(inputs: Inputs, wanted: Collection[str], training: Path | None) -> list[list[Measure]]:
    """For each system its measures, the same ones in the same order."""
    families = {family for family, names in FAMILIES.items() if not set(names).isdisjoint(wanted)}
    by_measure = [*_against_references(inputs, families), *_of_replies(inputs, families, training)]
    measured: list[list[Measure]] = [[] for _ in inputs.systems]
    for of_systems in by_measure:
        for several, measure in zip(measured, of_systems, strict=True):
            several.append(measure)
    return measured


def _against_references(inputs: Inputs, families: Collection[str]) -> Iterator[Iterable[Measure]]:
    """For each measure of the overlap with references, one of each system."""
    references, systems = inputs.references, [system.replies for system in inputs.systems]
    counts = sorted({len(several) for several in references})
    nrefs = f"nrefs:{counts[0]}" if len(counts) == 1 else f"nrefs:{counts[0]}-{counts[-1]}"
    if "nist" in families or "bleu" in families:
        words = iter(mteval_words([text for several in references for text in several]))
        by_segment = [list(islice(words, len(several))) for several in references]
        found = overlaps([mteval_words(replies) for replies in systems], by_segment)
        for metric in (nist, bleu):
            signature = f"{nrefs}|{metric.SIGNATURE}"
            yield [Additive(metric.NAMES, signature, metric.statistics(one), metric.scores) for one in found]
    if "meteor" in families and not meteor.missing():
        tables = meteor.statistics(systems, references)
        yield [Additive(meteor.NAMES, f"{nrefs}|{meteor.SIGNATURE}", table, meteor.scores) for table in tables]


def _of_replies(inputs: Inputs, families: Collection[str], training: Path | None) -> Iterator[Iterable[Measure]]:
    """For each measure of the replies alone, their contexts and the training data, one of each system."""
    systems = [system.replies for system in inputs.systems]
    words = [blank_words(replies) for replies in systems]
    if "entropy" in families or "distinct" in families:
        yield from zip(*map(diversity, words), strict=True)
    if "length" in families:
        yield from zip(*map(habits.lengths, words), strict=True)
    if "repetition" in families:
        yield [habits.self_repetition(replies) for replies in systems]
        if (contexts := inputs.contexts) is not None:
            yield [habits.context_repetition(*each) for each in zip(systems, contexts, strict=True)]
    if "bland" in families:
        yield [habits.blandness(replies) for replies in systems]
    if "copy" in families and training is not None:
        yield from zip(*_copies(systems, training), strict=True)


def _copies(systems: Sequence[Sequence[str]], training: Path) -> Iterable[tuple[Additive, Additive]]:
    copies, turns = habits.Copies(systems), 0
    with Progress("training data", unit="turns") as bar:
        texts = (turn.text for session in read_sessions(training) for turn in session.turns)
        while batch := list(islice(texts, TURNS_AT_ONCE)):
            copies.feed(batch)
            turns += len(batch)
            bar.advance(len(batch))
    return copies.measures(turns)
