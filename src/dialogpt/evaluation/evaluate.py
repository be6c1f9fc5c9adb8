"""The `evaluate` command: files of replies and references -> the paper's table, every number with its signature.

All scores that add up over segments share one bootstrap, so that systems are compared on the same samples. The first
system is what the others are compared with.
"""

import difflib
import logging
from collections.abc import Iterator, Sequence

import numpy as np

from dialogpt import __version__
from dialogpt.errors import UsageError
from dialogpt.evaluation import EvaluateConfig, Score, meteor, significance
from dialogpt.evaluation.inputs import Inputs, read_inputs
from dialogpt.evaluation.measures import FAMILIES, measures
from dialogpt.evaluation.ngrams import Floats
from dialogpt.evaluation.report import render
from dialogpt.evaluation.significance import Additive, Jackknifed, Measure
from dialogpt.evaluation.words import released_clean

log = logging.getLogger(__name__)


def evaluate(config: EvaluateConfig) -> str:
    """Score every system of `config.hyps` against `config.refs`; returns the report in `config.format`."""
    for name in ("samples", "trials", "seed"):
        if (value := getattr(config, name)) < 0:
            raise UsageError(f"--{name} {value} is below 0", "name 0 or more")
    for what, paths in (("replies", config.hyps), ("references", config.refs)):
        if not paths:
            raise UsageError(f"no files of {what} given", "dialogpt evaluate replies.txt --refs references.jsonl")
    wanted = wanted_metrics(config)
    inputs = read_inputs(config.hyps, config.refs, released_clean if config.clean else None)
    for reason, count in inputs.dropped.items():
        log.warning("%d %s", count, reason)
    return render(scores(inputs, wanted, config), config.format)


def scores(inputs: Inputs, wanted: Sequence[str], config: EvaluateConfig) -> list[Score]:
    """The scores called for, by system and then in the order of `wanted`, and then what compares systems."""
    common = (
        f"clean:{'released' if config.clean else 'no'}|segments:{len(inputs.segments)}|version:dialogpt-{__version__}"
    )
    missing = _missing(inputs, wanted, config)
    names = [system.name for system in inputs.systems]
    measured = measures(inputs, wanted, config.training)
    samples = _bootstrap(measured, config)
    found = []
    for system, several, drawn in zip(names, measured, samples, strict=True):
        by_name = {score.name: score for score in _scores(system, several, drawn, common, config)}
        by_name |= {name: Score(system=system, name=name, value=None, signature=why) for name, why in missing.items()}
        found += [by_name[name] for name in wanted if name in by_name]
    for system, several, drawn in list(zip(names, measured, samples, strict=True))[1:]:
        for place, (first, other) in enumerate(zip(measured[0], several, strict=True)):
            draws = (samples[0][place], drawn[place])
            for test, how, values in _tests(first, other, draws, config):
                signature = f"two-sided p against:{names[0]}|paired|{how}|{common}"
                found += [
                    Score(system=system, name=f"{name}:p-{test}", value=float(value), signature=signature)
                    for name, value in zip(other.names, values, strict=True)
                    if name in wanted and not np.isnan(value)
                ]
    return found


def wanted_metrics(config: EvaluateConfig) -> list[str]:
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
    if not wanted.keys().isdisjoint(FAMILIES["copy"]) and config.training is None:
        raise UsageError("copy needs the training data", "name its sessions: --training SESSIONS")
    return list(wanted)


def _missing(inputs: Inputs, wanted: Sequence[str], config: EvaluateConfig) -> dict[str, str]:
    """The metrics called for that cannot be computed here, with the reason.

    METEOR's row is always there; what needs contexts or training data that nobody spoke of has none.
    """
    missing = {}
    if "meteor" in wanted and (why := meteor.missing()):
        log.warning("%s", why)
        missing["meteor"] = f"not computed: {why}"
    if config.metrics and "repetition-context" in wanted and inputs.contexts is None:
        missing["repetition-context"] = "not computed: neither replies nor references tell the contexts"
    return missing


def _bootstrap(measured: Sequence[Sequence[Measure]], config: EvaluateConfig) -> list[list[Floats | None]]:
    """For each system and measure the scores of the samples, (B, N); None for what is not resampled."""
    drawn: list[list[Floats | None]] = [[None] * len(several) for several in measured]
    additive = [
        (system, place, measure)
        for system, several in enumerate(measured)
        for place, measure in enumerate(several)
        if isinstance(measure, Additive)
    ]
    if additive and config.samples:
        table = np.concatenate([measure.statistics for _, _, measure in additive], axis=1)
        ends = np.cumsum([measure.statistics.shape[1] for _, _, measure in additive])
        sums = np.split(significance.resampled(table, config.samples, config.seed), ends[:-1], axis=1)
        for (system, place, measure), part in zip(additive, sums, strict=True):
            drawn[system][place] = measure.scores(part)
    return drawn


def _scores(
    system: str, several: Sequence[Measure], drawn: Sequence[Floats | None], common: str, config: EvaluateConfig
) -> Iterator[Score]:
    for measure, samples in zip(several, drawn, strict=True):
        intervals, how = np.full((len(measure.names), 2), np.nan), ""
        if isinstance(measure, Jackknifed):
            intervals, how = significance.jackknife(measure), "interval:jackknife|"
        elif samples is not None:
            intervals, how = significance.percentiles(samples), f"bs:{config.samples}|seed:{config.seed}|"
        for name, value, (low, high) in zip(measure.names, measure.values, intervals, strict=True):
            if np.isnan(value):
                why = f"{measure.signature}|{common}|undefined:nothing to count"
                yield Score(system=system, name=name, value=None, signature=why)
            elif np.isnan(low + high):
                yield Score(system=system, name=name, value=float(value), signature=f"{measure.signature}|{common}")
            else:
                signature = f"{measure.signature}|{how}{common}"
                bounds = {"low": float(low), "high": float(high)}
                yield Score(system=system, name=name, value=float(value), signature=signature, **bounds)


def _tests(
    first: Measure, other: Measure, drawn: tuple[Floats | None, Floats | None], config: EvaluateConfig
) -> Iterator[tuple[str, str, Floats]]:
    """Name, settings and p-values, (N,), of every test of a difference that the measure allows."""
    if isinstance(first, Jackknifed) and isinstance(other, Jackknifed):
        yield "jackknife", "normal", significance.jackknife_p(first, other)
    if drawn[0] is not None and drawn[1] is not None:
        p = significance.bootstrap_p(first.values - other.values, drawn[0] - drawn[1])
        yield "bootstrap", f"bs:{config.samples}|seed:{config.seed}", p
    if isinstance(first, Additive) and isinstance(other, Additive) and config.trials:
        p = significance.randomised_p(first, other, config.trials, config.seed)
        yield "randomisation", f"ar:{config.trials}|seed:{config.seed}", p
