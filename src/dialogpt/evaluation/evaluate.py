"""The `evaluate` command: files of replies and references -> the paper's table, every number with its signature.

Each family of metrics becomes a `Measure` for each system; all that add up over segments share one bootstrap, so that
systems are compared on the same samples. The first system is what the others are compared with.
"""

import difflib
import logging
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import islice
from pathlib import Path

import numpy as np

from dialogpt import __version__
from dialogpt.errors import UsageError
from dialogpt.evaluation import EvaluateConfig, Score, bleu, habits, meteor, nist
from dialogpt.evaluation import significance as sig
from dialogpt.evaluation.diversity import diversity
from dialogpt.evaluation.inputs import Inputs, read_inputs
from dialogpt.evaluation.ngrams import Floats
from dialogpt.evaluation.overlap import overlaps
from dialogpt.evaluation.report import render
from dialogpt.evaluation.significance import Additive, Jackknifed, Measure
from dialogpt.evaluation.words import blank_words, mteval_words, released_clean
from dialogpt.progress import Progress
from dialogpt.session import read_sessions

log = logging.getLogger(__name__)

FAMILIES: Mapping[str, tuple[str, ...]] = {
    "nist": nist.NAMES,
    "bleu": bleu.NAMES,
    "meteor": meteor.NAMES,
    "entropy": tuple(f"entropy-{n}" for n in range(1, 5)),
    "distinct": ("distinct-1", "distinct-2"),
    "length": ("length", *habits.LENGTHS),
    "repetition": ("repetition-self", "repetition-context"),
    "bland": ("bland",),
    "copy": (f"copy-{habits.COPIED}", "copy-reply"),
}
TURNS_AT_ONCE = 4096


def evaluate(config: EvaluateConfig) -> str:
    """Score every system of `config.hyps` against `config.refs`; returns the report in `config.format`."""
    for name, least in (("samples", 0), ("trials", 0), ("seed", 0)):
        if (value := getattr(config, name)) < least:
            raise UsageError(f"--{name} {value} is below {least}", f"name {least} or more")
    for what, paths in (("replies", config.hyps), ("references", config.refs)):
        if not paths:
            raise UsageError(f"no files of {what} given", "dialogpt evaluate replies.txt --refs references.jsonl")
    wanted = _wanted(config)
    inputs = read_inputs(config.hyps, config.refs, released_clean if config.clean else None)
    for reason, count in inputs.dropped.items():
        log.warning("%d %s", count, reason)
    return render(scores(inputs, wanted, config), config.format)


def scores(inputs: Inputs, wanted: Sequence[str], config: EvaluateConfig) -> list[Score]:
    """The scores called for, by system and then in the order of `wanted`, and then what compares systems."""
    measures = [list(several) for several in zip(*_measures(inputs, wanted, config), strict=True)]
    missing = _missing(inputs, wanted, config)
    names = [system.name for system in inputs.systems]
    samples = _bootstrap(measures, config) if config.samples else {}
    found = []
    for place, system in enumerate(names):
        by_name = {score.name: score for score in _scores(system, place, measures[place], samples, config)}
        by_name |= {name: Score(system=system, name=name, value=None, signature=why) for name, why in missing.items()}
        found += [by_name[name] for name in wanted if name in by_name]
    for place in range(1, len(names)):
        found += [score for score in _comparisons(names, place, measures, samples, config) if _base(score) in wanted]
    return found


def _wanted(config: EvaluateConfig) -> list[str]:
    """The names of the metrics asked for; UsageError for one that there is not, or that cannot be computed."""
    every = [name for names in FAMILIES.values() for name in names]
    if not config.metrics:
        return every
    wanted: dict[str, None] = {}
    for name in config.metrics:
        if name not in FAMILIES and name not in every:
            close = difflib.get_close_matches(name, [*FAMILIES, *every], 1)
            hint = f"did you mean {close[0]!r}?" if close else f"there are {', '.join(FAMILIES)}"
            raise UsageError(f"no metric {name!r}", hint)
        wanted |= dict.fromkeys(FAMILIES.get(name, (name,)))
    if "meteor" in wanted and (why := meteor.missing()):
        raise UsageError(*why.split(": ", 1))
    if any(name.startswith("copy") for name in wanted) and config.training is None:
        raise UsageError("copy needs the training data", "name its sessions: --training SESSIONS")
    return list(wanted)


def _missing(inputs: Inputs, wanted: Sequence[str], config: EvaluateConfig) -> dict[str, str]:
    """The metrics called for that cannot be computed here, with the reason; those never asked for are left out."""
    missing = {}
    if "meteor" in wanted and (why := meteor.missing()):
        log.warning("%s", why)
        missing["meteor"] = f"not computed: {why}"
    if config.metrics and "repetition-context" in wanted and not _has_contexts(inputs):
        missing["repetition-context"] = "not computed: neither replies nor references tell the contexts"
    return missing


def _has_contexts(inputs: Inputs) -> bool:
    return all(segment.context for segment in inputs.segments) or all(system.contexts for system in inputs.systems)


def _measures(inputs: Inputs, wanted: Sequence[str], config: EvaluateConfig) -> Iterator[Iterable[Measure]]:
    """For each measure, one of each system; a family is measured when one of its names is wanted."""
    families = {family for family, names in FAMILIES.items() if set(names) & set(wanted)}
    references, systems = inputs.references, [system.replies for system in inputs.systems]
    counts = sorted({len(several) for several in references})
    nrefs = f"nrefs:{counts[0]}" if len(counts) == 1 else f"nrefs:{counts[0]}-{counts[-1]}"
    if families & {"nist", "bleu"}:
        found = overlaps(list(map(mteval_words, systems)), _words_of_references(references))
        for metric in (nist, bleu):
            signature = f"{nrefs}|{metric.SIGNATURE}"
            yield [Additive(metric.NAMES, signature, metric.statistics(one), metric.scores) for one in found]
    if "meteor" in families and not meteor.missing():
        log.info("METEOR starts, which takes some seconds")
        tables = meteor.statistics(systems, references)
        yield [Additive(meteor.NAMES, f"{nrefs}|{meteor.SIGNATURE}", table, meteor.scores) for table in tables]
    words = [blank_words(replies) for replies in systems]
    if families & {"entropy", "distinct"}:
        yield from zip(*map(diversity, words), strict=True)
    if "length" in families:
        yield from zip(*map(habits.lengths, words), strict=True)
    if "repetition" in families:
        yield [habits.self_repetition(replies) for replies in systems]
        if _has_contexts(inputs):
            own = tuple(segment.context for segment in inputs.segments)
            told = [system.contexts if all(system.contexts) and system.contexts else own for system in inputs.systems]
            yield [habits.context_repetition(*each) for each in zip(systems, told, strict=True)]
    if "bland" in families:
        yield [habits.blandness(replies) for replies in systems]
    if "copy" in families and config.training is not None:
        yield from zip(*_copies(systems, config.training), strict=True)


def _words_of_references(references: Sequence[Sequence[str]]) -> list[list[list[str]]]:
    words = iter(mteval_words([text for several in references for text in several]))
    return [list(islice(words, len(several))) for several in references]


def _copies(systems: Sequence[Sequence[str]], training: Path) -> Iterable[tuple[Additive, Additive]]:
    copies, turns = habits.Copies(systems), 0
    with Progress("training data", unit="turns") as bar:
        texts = (turn.text for session in read_sessions(training) for turn in session.turns)
        while batch := list(islice(texts, TURNS_AT_ONCE)):
            copies.feed(batch)
            turns += len(batch)
            bar.advance(len(batch))
    return copies.measures(turns)


def _bootstrap(measures: Sequence[Sequence[Measure]], config: EvaluateConfig) -> dict[tuple[int, int], Floats]:
    """For system and measure by their places, the scores of the bootstrap samples, (B, N), where sums are resampled."""
    places = [
        (system, place, measure)
        for system, several in enumerate(measures)
        for place, measure in enumerate(several)
        if isinstance(measure, Additive)
    ]
    if not places:
        return {}
    table = np.concatenate([measure.statistics for _, _, measure in places], axis=1)
    widths = np.cumsum([measure.statistics.shape[1] for _, _, measure in places])
    sums = np.split(sig.resampled(table, config.samples, config.seed), widths[:-1], axis=1)
    return {(system, place): measure.scores(part) for (system, place, measure), part in zip(places, sums, strict=True)}


def _scores(
    system: str,
    place: int,
    measures: Sequence[Measure],
    samples: Mapping[tuple[int, int], Floats],
    config: EvaluateConfig,
) -> Iterator[Score]:
    for number, measure in enumerate(measures):
        if isinstance(measure, Jackknifed):
            intervals, how = sig.jackknife(measure), "interval:jackknife"
        elif (place, number) in samples:
            intervals, how = sig.percentiles(samples[place, number]), f"bs:{config.samples}|seed:{config.seed}"
        else:
            intervals, how = np.full((len(measure.names), 2), np.nan), ""
        values = measure.values
        for name, value, (low, high) in zip(measure.names, values, intervals, strict=True):
            known = not np.isnan(value)
            bounded = known and not np.isnan(low + high)
            signature = [measure.signature, *([how] if bounded and how else []), *_common(config)]
            yield Score(
                system=system, name=name,
                value=float(value) if known else None,
                signature="|".join([*signature, *([] if known else ["undefined:nothing to count"])]),
                low=float(low) if bounded else None,
                high=float(high) if bounded else None,
            )  # fmt: skip


def _comparisons(
    names: Sequence[str],
    place: int,
    measures: Sequence[Sequence[Measure]],
    samples: Mapping[tuple[int, int], Floats],
    config: EvaluateConfig,
) -> Iterator[Score]:
    """The p-values of a system's differences from the first system, by every test that its measures allow."""
    for number, (one, other) in enumerate(zip(measures[0], measures[place], strict=True)):
        found: dict[str, tuple[Floats, str]] = {}
        if isinstance(one, Jackknifed) and isinstance(other, Jackknifed):
            found["jackknife"] = sig.jackknife_p(one, other), "normal"
        elif isinstance(one, Additive) and isinstance(other, Additive):
            if samples:
                pairs = samples[0, number] - samples[place, number]
                p = sig.bootstrap_p(one.values - other.values, pairs)
                found["bootstrap"] = p, f"bs:{config.samples}|seed:{config.seed}"
            if config.trials:
                p = sig.randomised_p(one, other, config.trials, config.seed)
                found["randomisation"] = p, f"ar:{config.trials}|seed:{config.seed}"
        for test, (values, how) in found.items():
            signature = "|".join([f"two-sided p against:{names[0]}", "paired", how, *_common(config)])
            for name, value in zip(one.names, values, strict=True):
                if not np.isnan(value):
                    yield Score(system=names[place], name=f"{name}:p-{test}", value=float(value), signature=signature)


def _base(score: Score) -> str:
    """The metric that a comparison is about."""
    return score.name.partition(":")[0]


def _common(config: EvaluateConfig) -> list[str]:
    return [f"clean:{'released' if config.clean else 'no'}", f"version:dialogpt-{__version__}"]
