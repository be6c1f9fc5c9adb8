"""A tally, replies and references -> how each automatic metric correlates with the judges, by system and by segment.

Contexts are matched by id and systems by name. A system's human score is its mean rating, or its share of preferences;
a segment's is the mean rating of a reply, or for pairs the mean preference, against the difference of the metric.
"""

import logging
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from dialogpt.errors import DataError, UsageError
from dialogpt.evaluation import EvaluateConfig, meteor, significance
from dialogpt.evaluation.evaluate import wanted_metrics
from dialogpt.evaluation.human import JudgeReportConfig
from dialogpt.evaluation.human.comparison import system_values, with_all
from dialogpt.evaluation.human.findings import ALL, Basis, Finding, bounds
from dialogpt.evaluation.human.segments import segment_findings
from dialogpt.evaluation.human.statistics import kendall, pearson, spearman
from dialogpt.evaluation.human.tally import Tally
from dialogpt.evaluation.inputs import Inputs, among_references, read_inputs, warn_of
from dialogpt.evaluation.measures import FAMILIES, measures
from dialogpt.evaluation.ngrams import Floats
from dialogpt.evaluation.significance import WIDTH, Additive, Jackknifed, Measure

log = logging.getLogger(__name__)
COEFFICIENTS = {"pearson": pearson, "spearman": spearman, "kendall": kendall}
FEWEST_SYSTEMS = 3  # through two points there is always a line


@dataclass(frozen=True, slots=True)
class Matched:
    """The tally and the replies of the same items, in the same order.

    `systems` are those that have both, in the order of the replies; with pairs the tally may have others, too. `leaked`
    are those left out because their replies are among the references.
    """

    tally: Tally
    systems: tuple[str, ...]
    inputs: Inputs
    leaked: tuple[str, ...] = ()

    def human(self, sums: Floats) -> Floats:
        """The systems' human scores, (..., S, C + 1), the mean of all criteria the last, of sums, (..., U, C, V)."""
        places = [self.tally.systems.index(name) for name in self.systems]
        return with_all(system_values(self.tally, sums)[..., places, :])


@dataclass(frozen=True, slots=True)
class Correlations:
    """The findings, and what a scatter shows: of each system the human score, (S,), and metrics by name, (S,)."""

    findings: list[Finding]
    systems: tuple[str, ...]
    human: Floats
    metrics: dict[str, Floats]


def correlate(tally: Tally, config: JudgeReportConfig, basis: Basis) -> Correlations:
    """Correlate all metrics asked for; UsageError or DataError where files or names do not fit."""
    wanted = _wanted(config)
    inputs = read_inputs(config.hyps, config.refs)
    warn_of(inputs.dropped)
    matched = match(tally, inputs)
    leaked = f"|references-are-replies-of:{','.join(matched.leaked)}, left out" if matched.leaked else ""
    common = f"systems:{len(matched.systems)}|segments:{len(matched.tally.items)}{leaked}|{basis.common}"
    basis = Basis(basis.samples if len(matched.tally.items) > 1 else 0, basis.seed, common)
    found = [list(several) for several in zip(*measures(matched.inputs, wanted, None), strict=True)]
    names = [*matched.tally.criteria, *([ALL] if len(matched.tally.criteria) > 1 else [])]
    findings = [each for several in found for each in _of_systems(matched, several, names, wanted, basis)]
    if (part := matched.tally.of_systems(matched.systems)).units:
        findings += segment_findings(part, matched.systems, found, names, wanted, basis)
    if "meteor" in wanted and (why := meteor.missing()):
        log.warning("%s", why)
        findings += _not_computed("meteor", f"not computed: {why}", names)
    order = {name: place for place, name in enumerate(wanted)}
    findings.sort(key=lambda each: order[each.name.partition(":")[0]])
    values = {name: at for several in found for name, at in zip(several[0].names, _values(several).T, strict=True)}
    human = matched.human(matched.tally.sums())[:, -1]
    return Correlations(findings, matched.systems, human, {name: values[name] for name in wanted if name in values})


def _wanted(config: JudgeReportConfig) -> list[str]:
    """The metrics asked for, or all but copies of training data, which is not read here."""
    if not config.metrics:
        return [name for names in FAMILIES.values() for name in names if name not in FAMILIES["copy"]]
    if copies := set(config.metrics) & {"copy", *FAMILIES["copy"]}:
        raise UsageError(f"{copies.pop()!r} needs training data, which `judge report` does not read", "leave it out")
    return wanted_metrics(EvaluateConfig(hyps=config.hyps, refs=config.refs, metrics=config.metrics))


def match(tally: Tally, inputs: Inputs) -> Matched:
    """What judges and files have in common; the rest is counted in warnings."""
    systems, leaked = _systems(tally, inputs)
    ids = [segment.id for segment in inputs.segments]
    if not all(ids) or len(set(ids)) < len(ids):  # then a study numbers its contexts
        ids = [str(number) for number in range(1, len(ids) + 1)]
    places = {name: place for place, name in enumerate(ids)}
    items = [at for at, name in enumerate(tally.items) if name in places]
    if not items:
        raise DataError(
            f"no judged item, such as {tally.items[0]!r}, is among the references, such as {ids[0]!r}",
            "give the replies and references that were judged: contexts are matched by id",
        )
    if without := len(tally.items) - len(items):
        log.warning("%d judged items without references and replies, left out of the correlations", without)
    kept = [places[tally.items[at]] for at in items]
    return Matched(tally.of_items(items), systems, _part(inputs, systems, kept), leaked)


def _systems(tally: Tally, inputs: Inputs) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """The systems that were judged and have replies, and those left out since their replies are the references."""
    replied, leaked = {system.name for system in inputs.systems}, _leaked(tally, inputs)
    shared = [name for name in tally.systems if name in replied]
    if len(shared) < 2:
        names = ", ".join(system.name for system in inputs.systems)
        raise DataError(
            f"the judged systems are {', '.join(tally.systems)}; replies are of {names}",
            "name the files, or their SystemID, like the judged systems: at least two are needed",
        )
    if len(shared) - len(leaked) < 2:
        raise DataError(
            f"most replies of {', '.join(leaked)} are among their references, and other systems are fewer than two",
            "take those replies out of the references, as no metric can be compared there",
        )
    for kind, missing in (
        ("judged systems without replies", [name for name in tally.systems if name not in replied]),
        ("systems that nobody judged", sorted(replied - set(tally.systems))),
    ):
        if missing:
            log.warning("%d %s, left out of the correlations: %s", len(missing), kind, ", ".join(missing))
    return tuple(name for name in shared if name not in leaked), leaked


def _leaked(tally: Tally, inputs: Inputs) -> tuple[str, ...]:
    """The judged systems most of whose replies are among their references: no metric can be compared there."""
    found = []
    for name, same in among_references(inputs).items():
        if name in tally.systems:
            log.warning(
                "%s: %d of %d replies are among their references, so it is left out of the correlations",
                name, same, len(inputs.segments),
            )  # fmt: skip
            found.append(name)
    return tuple(found)


def _part(inputs: Inputs, names: Sequence[str], kept: Sequence[int]) -> Inputs:
    """The replies of some systems to some segments, both in the order given."""
    by_name = {system.name: system for system in inputs.systems}
    systems = tuple(by_name[name].at(kept) for name in names)
    return Inputs(tuple(inputs.segments[place] for place in kept), systems)


def _values(several: Sequence[Measure]) -> Floats:
    """The metrics of each system, (S, N)."""
    return np.stack([measure.values for measure in several])


def _of_systems(
    matched: Matched, several: Sequence[Measure], criteria: Sequence[str], wanted: Sequence[str], basis: Basis
) -> Iterator[Finding]:
    """The correlations over systems of one measure's metrics."""
    human = matched.human(matched.tally.sums())
    metrics = _values(several)
    human_draws, metric_draws = _drawn(matched, several, basis)
    count = len(matched.systems)
    for metric_at, metric in enumerate(several[0].names):
        if metric not in wanted:
            continue
        for name, coefficient in COEFFICIENTS.items():
            for at, criterion in enumerate(criteria):
                value = float(coefficient(metrics[:, metric_at], human[:, at]))
                how, (low, high) = "interval:none", (None, None)
                if human_draws is not None and metric_draws is not None:
                    drawn = coefficient(metric_draws[..., metric_at], human_draws[..., at])
                    how, (low, high) = "interval:bootstrap", bounds(drawn)
                elif name == "pearson" and isinstance(several[0], Jackknifed):  # ranks do not change smoothly
                    low, high = _jackknife(matched, several, metric_at, at, value)
                    how = how if low is None else "interval:jackknife"
                why = "fewer than 3 systems" if count < FEWEST_SYSTEMS else "constant" if np.isnan(value) else ""
                how = f"over systems|{several[0].signature}|" + (f"undefined:{why}" if why else how)
                yield Finding(
                    name=f"{metric}:system-{name}", criterion=criterion, value=None if why else value, n=count,
                    low=None if why else low, high=None if why else high,
                    signature=basis.signature(how, drawn="bootstrap" in how),
                )  # fmt: skip


def _drawn(matched: Matched, several: Sequence[Measure], basis: Basis) -> tuple[Floats | None, Floats | None]:
    """Human scores, (B, S, C + 1), and metrics, (B, S, N), of the same bootstrap samples; None where there are none."""
    additive = [measure for measure in several if isinstance(measure, Additive)]
    if not additive or not basis.samples:
        return None, None
    human = matched.human(matched.tally.resampled(basis.samples, basis.seed))
    table = np.concatenate([measure.statistics for measure in additive], axis=1)
    parts = np.split(significance.resampled(table, basis.samples, basis.seed), len(additive), axis=1)
    return human, np.stack([measure.scores(part) for measure, part in zip(additive, parts, strict=True)], axis=1)


def _jackknife(
    matched: Matched, several: Sequence[Measure], metric: int, criterion: int, value: float
) -> tuple[float | None, float | None]:
    """The 95% interval of Pearson's correlation from its values with each item left out."""
    left_out = np.stack([each.left_out[:, metric] for each in several if isinstance(each, Jackknifed)], axis=1)
    human = matched.human(matched.tally.sums() - matched.tally.counts)[..., criterion]
    found = pearson(left_out, human)
    if len(found) < 2 or np.isnan(found).any() or np.isnan(value):
        return None, None
    far = WIDTH * float(np.sqrt((len(found) - 1) * found.var()))
    return max(-1.0, value - far), min(1.0, value + far)


def _not_computed(metric: str, why: str, criteria: Sequence[str]) -> list[Finding]:
    return [
        Finding(name=f"{metric}:{scope}-{name}", criterion=criterion, value=None, n=0, signature=why)
        for scope, names in (("system", COEFFICIENTS), ("segment", ("pearson", "spearman")))
        for name in names
        for criterion in criteria
    ]
