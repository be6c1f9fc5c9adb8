"""Measures of systems -> scores with intervals, and tests of what differs from the first system.

All scores that add up over segments share one bootstrap, so that systems are compared on the same samples.
"""

import logging
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np

from dialogpt.evaluation import Score, significance
from dialogpt.evaluation.ngrams import Floats
from dialogpt.evaluation.significance import Additive, Jackknifed, Measure

log = logging.getLogger(__name__)

FEW = 50  # segments; with fewer, up to 10% of equal systems have p < 0.05 (bench/significance.py)


class Sampling(Protocol):
    """The settings of a command that has scores: bootstrap samples, trials of the randomisation test, seed."""

    @property
    def samples(self) -> int: ...
    @property
    def trials(self) -> int: ...
    @property
    def seed(self) -> int: ...


def scored(
    systems: Sequence[str], measured: Sequence[Sequence[Measure]], common: str, config: Sampling
) -> tuple[list[Score], list[Score]]:
    """The scores of every system's measures, and the tests' p-values, named `bleu-4:p-bootstrap` and the like.

    Systems have the same measures in the same order; `common` ends every signature.
    """
    if len(systems) > 1 and 0 < (count := _segments(measured)) < FEW:
        log.warning("%d replies are few: rely on p-randomisation, as other p-values may be too small", count)
    samples = _bootstrap(measured, config)
    scores = [
        score
        for system, several, drawn in zip(systems, measured, samples, strict=True)
        for score in _scores(system, several, drawn, common, config)
    ]
    tests = []
    for system, several, drawn in list(zip(systems, measured, samples, strict=True))[1:]:
        for place, (first, other) in enumerate(zip(measured[0], several, strict=True)):
            for test, how, values in _tests(first, other, (samples[0][place], drawn[place]), config):
                signature = f"two-sided p against:{systems[0]}|paired|{how}|{common}"
                tests += [
                    Score(system=system, name=f"{name}:p-{test}", value=float(value), signature=signature)
                    for name, value in zip(other.names, values, strict=True)
                    if not np.isnan(value)
                ]
    return scores, tests


def _segments(measured: Sequence[Sequence[Measure]]) -> int:
    """How many segments the measures are of; 0 where there is no measure."""
    tables = (each.statistics if isinstance(each, Additive) else each.left_out for each in measured[0])
    return max(map(len, tables), default=0)


def _bootstrap(measured: Sequence[Sequence[Measure]], config: Sampling) -> list[list[Floats | None]]:
    """For each system and measure the scores of the samples, (B, N); None for what is not resampled: a lone segment."""
    drawn: list[list[Floats | None]] = [[None] * len(several) for several in measured]
    additive = [
        (system, place, measure)
        for system, several in enumerate(measured)
        for place, measure in enumerate(several)
        if isinstance(measure, Additive)
    ]
    if additive and config.samples and _segments(measured) > 1:
        table = np.concatenate([measure.statistics for _, _, measure in additive], axis=1)
        ends = np.cumsum([measure.statistics.shape[1] for _, _, measure in additive])
        sums = np.split(significance.resampled(table, config.samples, config.seed), ends[:-1], axis=1)
        for (system, place, measure), part in zip(additive, sums, strict=True):
            drawn[system][place] = measure.scores(part)
    return drawn


def _scores(
    system: str, several: Sequence[Measure], drawn: Sequence[Floats | None], common: str, config: Sampling
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
    first: Measure, other: Measure, drawn: tuple[Floats | None, Floats | None], config: Sampling
) -> Iterator[tuple[str, str, Floats]]:
    """Name, settings and p-values, (N,), of every test of a difference that the measure allows."""
    if isinstance(first, Jackknifed) and isinstance(other, Jackknifed):
        yield "jackknife", "t", significance.jackknife_p(first, other)
    if not isinstance(first, Additive) or not isinstance(other, Additive) or not first.tested:
        return
    if not significance.exchangeable(first, other):
        yield "ratio", "t|error:larger of own and pooled", significance.ratio_p(first, other)
        return
    if drawn[0] is not None and drawn[1] is not None:
        p = significance.bootstrap_p(first.values - other.values, drawn[0] - drawn[1], len(first.statistics))
        yield "bootstrap", f"bs:{config.samples}|t|seed:{config.seed}", p
    if config.trials:
        p = significance.randomised_p(first, other, config.trials, config.seed)
        yield "randomisation", f"ar:{config.trials}|seed:{config.seed}", p
