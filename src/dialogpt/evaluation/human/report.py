"""The `judge report` command: a file of judgements -> who wins, how certainly, how far judges and metrics agree."""

import logging

from dialogpt import __version__
from dialogpt.errors import DataError, UsageError, check_least
from dialogpt.evaluation.human import JudgeReportConfig
from dialogpt.evaluation.human.agreement import agreement
from dialogpt.evaluation.human.comparison import compare
from dialogpt.evaluation.human.correlation import Correlations, correlate
from dialogpt.evaluation.human.findings import Basis, Finding
from dialogpt.evaluation.human.flags import Flag, flags
from dialogpt.evaluation.human.judgements import Judged, judged, read_judgements
from dialogpt.evaluation.human.plots import plot
from dialogpt.evaluation.human.preferred import write_preferences
from dialogpt.evaluation.human.render import render
from dialogpt.evaluation.human.tally import tally
from dialogpt.evaluation.inputs import warn_of
from dialogpt.evaluation.plots import check_plot

log = logging.getLogger(__name__)


def report(config: JudgeReportConfig) -> str:
    """Report on the judgements of `config.study`, in `config.format`; draws them where `config.plot` says."""
    _check(config)
    found = read_judgements(config.study)
    warn_of(found.dropped)
    flagged = flags(found)
    left_out = [flag.judge for flag in flagged if flag.failed and not config.keep_flagged]
    kept = _without(config, found, left_out)
    counted = tally(kept)
    judges = len({each.judge for each in kept.judgements})
    common = (
        f"judges:{judges}|items:{len(counted.items)}|judgements:{len(kept.judgements)}"
        f"|judges-left-out:{len(left_out)}|version:dialogpt-{__version__}"
    )
    basis = Basis(config.samples, config.seed, common)
    findings = [*compare(counted, basis), *agreement(counted, basis)]
    findings += [_of_flag(flag, flag.judge in left_out, common) for flag in flagged]
    correlations: Correlations | None = None
    if config.hyps:
        correlations = correlate(counted, config, basis)
        findings += correlations.findings
    if config.plot is not None:
        plot(findings, correlations, config.plot)
    if config.preferences is not None:
        written = write_preferences(config.study, kept, config.preferences)
        log.info("%s: %s", config.preferences, ", ".join(f"{count} {what}" for what, count in written.items()))
    return render(findings, config.format)


def _check(config: JudgeReportConfig) -> None:
    """Errors in the settings are reported before anything is read."""
    check_least(config, samples=0, seed=0)
    hint = "to correlate metrics: --hyps replies.jsonl --refs references.jsonl"
    if config.hyps and not config.refs:
        raise UsageError("--hyps without --refs", hint)
    if (config.refs or config.metrics) and not config.hyps:
        raise UsageError(f"--{'refs' if config.refs else 'metrics'} without --hyps", hint)
    if config.plot is not None:
        check_plot(config.plot)


def _without(config: JudgeReportConfig, found: Judged, left_out: list[str]) -> Judged:
    """The judgements without those of some judges; DataError where too little is left."""
    if not left_out:
        return found
    log.warning("left out, as they failed their attention checks: %s", ", ".join(left_out))
    kept = [("", each) for each in found.judgements if each.judge not in left_out]
    if not kept:
        raise DataError(f"{config.study}: all judges failed their attention checks", "count them: --keep-flagged")
    return judged(config.study, kept, found.dropped.copy(), found.systems, found.criteria)


def _of_flag(flag: Flag, left_out: bool, common: str) -> Finding:
    counted = "no" if left_out else "yes"
    return Finding(
        name=f"flagged:{flag.judge}", value=None, n=flag.items,
        signature=f"{'; '.join(flag.reasons)}|counted:{counted}|{common}",
    )  # fmt: skip
