"""The `evaluate` command: files of replies and references -> the paper's table, every number with its signature.

The first system is what the others are compared with.
"""

import logging
from collections.abc import Sequence

from dialogpt import __version__
from dialogpt.errors import UsageError, check_least, did_you_mean
from dialogpt.evaluation import EvaluateConfig, Score, meteor
from dialogpt.evaluation.inputs import Inputs, among_references, read_inputs, read_replies, warn_of
from dialogpt.evaluation.measures import AGAINST_REFERENCES, FAMILIES, measures
from dialogpt.evaluation.plots import check_plot, draw_lengths
from dialogpt.evaluation.published import published
from dialogpt.evaluation.report import render
from dialogpt.evaluation.scoring import scored
from dialogpt.evaluation.significance import Measure
from dialogpt.evaluation.words import released_clean

log = logging.getLogger(__name__)


def evaluate(config: EvaluateConfig) -> str:
    """Score every system of `config.hyps` against `config.refs`; returns the report in `config.format`.

    Without references, what needs none is measured: diversity, lengths, repetition, copies.
    """
    check_least(config, samples=0, trials=0, seed=0)
    if not config.hyps:
        raise UsageError("no files of replies given", "dialogpt evaluate replies.txt --refs references.jsonl")
    if config.clean and not config.refs:
        raise UsageError("--clean needs references", "name them with --refs, or leave it out")
    if config.plot is not None:
        check_plot(config.plot)
    wanted = wanted_metrics(config)
    _check_asked(config, wanted)
    if config.refs:
        inputs = read_inputs(config.hyps, config.refs, released_clean if config.clean else None)
    else:
        inputs = read_replies(config.hyps, in_context="repetition-context" in config.metrics)
    if config.models and len(config.models) != len(inputs.systems):
        raise UsageError(
            f"{len(config.models)} models for {len(inputs.systems)} systems", "name one for each, in the same order"
        )
    warn_of(inputs.dropped)
    for name, same in among_references(inputs).items():
        log.warning(
            "%s: %d of %d replies are among their references: scores against them compare it with itself",
            name, same, len(inputs.segments),
        )  # fmt: skip
    found = [*scores(inputs, wanted, config), *published(config.published)]
    if config.plot is not None:
        draw_lengths(inputs, config.plot)
    return render(found, config.format)


def scores(inputs: Inputs, wanted: Sequence[str], config: EvaluateConfig) -> list[Score]:
    """The wanted scores, by system and in the order of `wanted`, then the comparisons of systems."""
    common = (
        f"clean:{'released' if config.clean else 'no'}|segments:{len(inputs.segments)}|version:dialogpt-{__version__}"
    )
    missing = _missing(inputs, wanted, config)
    names = [system.name for system in inputs.systems]
    measured = measures(inputs, wanted, config.training)
    if config.models and "perplexity" in wanted:
        for several, perplexity in zip(measured, _perplexities(inputs, config), strict=True):
            several.append(perplexity)
    values, tests = scored(names, measured, common, config)
    by_place = {(score.system, score.name): score for score in values}
    found = []
    for system in names:
        absent = {name: Score(system=system, name=name, value=None, signature=why) for name, why in missing.items()}
        found += [score for name in wanted if (score := by_place.get((system, name)) or absent.get(name)) is not None]
    return [*found, *(score for score in tests if score.name.partition(":")[0] in wanted)]


def _perplexities(inputs: Inputs, config: EvaluateConfig) -> Sequence[Measure]:
    if (contexts := inputs.contexts) is None:
        raise UsageError(
            "perplexity needs the contexts", "references or replies must include them: JSONL, or TSV with contexts"
        )
    from dialogpt.evaluation.likelihood import perplexities  # imports engines, which takes long

    return perplexities(inputs, contexts, config.models)


def wanted_metrics(config: EvaluateConfig) -> list[str]:
    """The names of the metrics asked for; UsageError for one that does not exist, or cannot be computed."""
    every = [name for names in FAMILIES.values() for name in names]
    referenced = {name for family in AGAINST_REFERENCES for name in FAMILIES[family]} if not config.refs else set()
    if not config.metrics:
        return [name for name in every if name not in referenced]
    wanted: dict[str, None] = {}
    for name in config.metrics:
        if name not in FAMILIES and name not in every:
            hint = did_you_mean(name, [*FAMILIES, *every], f"there are {', '.join(FAMILIES)}")
            raise UsageError(f"no metric {name!r}", hint)
        wanted |= dict.fromkeys(FAMILIES.get(name, (name,)))
    if needing := [name for name in wanted if name in referenced]:
        raise UsageError(f"{needing[0]} needs references", "name them: --refs references.jsonl")
    if "meteor" in wanted and (why := meteor.missing()):
        raise UsageError(*why.split(": ", 1))
    if not wanted.keys().isdisjoint(FAMILIES["copy"]) and config.training is None:
        raise UsageError("copy needs the training data", "name its sessions: --training SESSIONS")
    if "perplexity" in wanted and not config.models:
        raise UsageError("perplexity needs the systems' models", "name one for each file of replies: --models A B")
    return list(wanted)


def _check_asked(config: EvaluateConfig, wanted: Sequence[str]) -> None:
    """UsageError for what is given for metrics that are not computed."""
    if config.models and "perplexity" not in wanted:
        why = (
            ("needs references", "name them: --refs")
            if not config.refs
            else ("is not asked for", "add it to --metrics")
        )
        raise UsageError(f"--models is for perplexity, which {why[0]}", f"{why[1]}, or leave --models out")
    if config.training is not None and set(FAMILIES["copy"]).isdisjoint(wanted):
        raise UsageError("--training is for copy, which is not asked for", "add it to --metrics, or leave it out")


def _missing(inputs: Inputs, wanted: Sequence[str], config: EvaluateConfig) -> dict[str, str]:
    """The wanted metrics that cannot be computed here, with the reason.

    METEOR always has a row; metrics that need contexts or training data that were not given have none.
    """
    missing = {}
    if "meteor" in wanted and (why := meteor.missing()):
        log.warning("%s", why)
        missing["meteor"] = f"not computed: {why}"
    if config.metrics and "repetition-context" in wanted and inputs.contexts is None:
        missing["repetition-context"] = "not computed: neither replies nor references include the contexts"
    return missing
