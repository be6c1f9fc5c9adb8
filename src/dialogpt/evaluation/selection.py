"""The `select` command: can a model tell the human response from others?  hits@k and pairwise accuracy, by ranker.

Each context is shown with its human response and distractors, human responses to other contexts. A ranker (a function
of a context and hypotheses, as in `decoding/rerank.py`) puts them in order. Models are ranked by the likelihood of the
response (forward), the same per token, that of the source given the response (backward, MMI), and both together.
"""

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from dialogpt import __version__
from dialogpt.decoding import Hypothesis
from dialogpt.decoding.dialogrpt import DialogRPT
from dialogpt.decoding.loading import companion_of, load_backward, load_engine
from dialogpt.decoding.rerank import MMI, Ranker
from dialogpt.errors import DataError, UsageError, check_least, given
from dialogpt.evaluation import SelectConfig
from dialogpt.evaluation.distractors import draw, nearest
from dialogpt.evaluation.likelihood import nats_and_tokens
from dialogpt.evaluation.ngrams import Floats
from dialogpt.evaluation.references import read_references
from dialogpt.evaluation.report import render
from dialogpt.evaluation.scoring import scored
from dialogpt.evaluation.significance import Additive
from dialogpt.logs import sparing
from dialogpt.model.memory import frugal_with_memory
from dialogpt.progress import Progress
from dialogpt.session import Turn, read_sessions

log = logging.getLogger(__name__)

FIRST = (1, 2, 5)  # k of hits@k


@dataclass(frozen=True, slots=True)
class Choice:
    """A context, and responses to choose from: the human one is the first."""

    context: tuple[Turn, ...]
    responses: tuple[str, ...]


def select(config: SelectConfig) -> str:
    """Rank human responses among distractors by every model of `config`; returns the report in `config.format`."""
    _check(config)
    frugal_with_memory()
    contexts, references = _read(config.refs)
    rng = np.random.default_rng(config.seed)
    chosen = np.arange(len(contexts))
    if 0 < config.items < len(contexts):
        chosen = np.sort(rng.choice(len(contexts), config.items, replace=False))
    if config.adversarial:
        others = nearest(contexts, references, chosen, config.distractors)
    else:
        others = draw(contexts, references, chosen, config.distractors, rng)
    choices = [
        Choice(contexts[place], (references[place][0], *distractors))
        for place, distractors in zip(chosen, others, strict=True)
    ]
    tables: dict[str, Floats] = {}
    with sparing("dialogpt.decoding.hypotheses"):
        for number, model in enumerate(config.models or ("",)):
            backward = config.backward[number] if config.backward else None
            tables |= _ranked_by(model, backward, choices, config)
        for name in config.rankers:
            opened = load_engine(name, device=config.device, precision=config.precision, ranker=True)
            tables[name] = ranked(choices, DialogRPT(*opened, name))
    how = f"distractors:{config.distractors} {'nearest' if config.adversarial else 'random'}|choice-seed:{config.seed}"
    measured = [[hits(table, f"{how}|chance:{1 / (1 + config.distractors):.4f}")] for table in tables.values()]
    common = f"contexts:{len(choices)}|version:dialogpt-{__version__}"
    scores, tests = scored(list(tables), measured, common, config)
    return render([*scores, *tests], config.format)


def hits(table: Floats, signature: str) -> Additive:
    """hits@k, mean reciprocal rank and pairwise accuracy of scores (S, 1 + D), the human response's first.

    Among equal scores every place is equally likely, so a ranker that scores all the same is at chance.
    """
    human, others = table[:, :1], table[:, 1:]
    above, equal = (others > human).sum(axis=1), (others == human).sum(axis=1)
    ks = [k for k in FIRST if k < table.shape[1]]
    columns = [np.clip((k - above) / (equal + 1), 0, 1) for k in ks]
    harmonic = np.concatenate([[0], np.cumsum(1 / np.arange(1, table.shape[1] + 1))])
    columns.append((harmonic[above + equal + 1] - harmonic[above]) / (equal + 1))
    columns.append(1 - (above + equal / 2) / others.shape[1])
    statistics = np.stack([*columns, np.ones(len(table))], axis=1)
    names = (*(f"hits-{k}" for k in ks), "mrr", "pairwise")
    return Additive(names, signature, statistics, lambda sums: sums[..., :-1] / sums[..., -1:])


def ranked(choices: Sequence[Choice], ranker: Ranker) -> Floats:
    """What a ranker gives to each choice's responses, (S, 1 + D)."""
    table = []
    with Progress(ranker.name, len(choices), "contexts") as bar:
        for choice in choices:
            made = [Hypothesis(text=text, tokens=(), logprob=0.0, ended=True) for text in choice.responses]
            table.append(ranker(choice.context, made))
            bar.advance(1)
    return np.array(table, np.float64)


def _ranked_by(
    model: str, backward: str | None, choices: Sequence[Choice], config: SelectConfig
) -> Mapping[str, Floats]:
    """The scores by each of a model's rankers; without `backward` its companion, where it has one."""
    name = model or "bundled"
    found = _forward(model, choices, config)
    tables = {f"{name} forward": -found[..., 0], f"{name} forward, mean": -found[..., 0] / found[..., 1]}
    if backward is not None or companion_of(model or None):
        opened = load_backward(backward or "", model or None, device=config.device, precision=config.precision)
        tables[f"{name} backward"] = ranked(choices, MMI(*opened, config.mmi_source, f"{name} backward"))
        tables[f"{name} both"] = tables[f"{name} forward"] + tables[f"{name} backward"]
    return tables


def _forward(model: str, choices: Sequence[Choice], config: SelectConfig) -> Floats:
    """Nats and tokens of every response, (S, 1 + D, 2)."""
    engine, tokenizer = load_engine(model, device=config.device, precision=config.precision)
    found = []
    with Progress(f"{model or 'bundled'} forward", len(choices), "contexts") as bar:
        for choice in choices:
            contexts = [choice.context] * len(choice.responses)
            found.append(nats_and_tokens(engine, tokenizer, contexts, choice.responses))
            bar.advance(1)
    return np.stack(found)


def _read(paths: Sequence[Path]) -> tuple[list[tuple[Turn, ...]], list[tuple[str, ...]]]:
    """Contexts and the human responses to each, the one to be found first; DataError if one is missing.

    That is the response set apart as `human`, else the first reference.
    """
    if len(paths) == 1 and (paths[0].is_dir() or _is_of_sessions(paths[0])):
        sessions = list(read_sessions(paths[0]))
        whole = [session for session in sessions if len(session.turns) > 1 and session.response.text.strip()]
        if len(whole) < len(sessions):
            log.warning("%d sessions without a context or response, left out", len(sessions) - len(whole))
        return [session.context for session in whole], [(session.response.text,) for session in whole]
    segments = read_references(paths)
    responses = [tuple(filter(str.strip, (segment.human, *segment.references))) for segment in segments]
    for segment, several in zip(segments, responses, strict=True):
        if not any(turn.strip() for turn in segment.context) or not several:
            raise DataError(
                f"{segment.place}: no {'response' if any(segment.context) else 'context'}",
                "`select` needs both: JSONL or TSV as `dialogpt references` writes, or sessions",
            )
    contexts = [tuple(map(Turn, segment.context)) for segment in segments]
    return contexts, responses


def _is_of_sessions(path: Path) -> bool:
    from dialogpt.files import read_lines

    return b'"turns"' in next(filter(bytes.strip, read_lines(path)), b"")


def _check(config: SelectConfig) -> None:
    check_least(config, distractors=1, items=0, samples=0, trials=0, seed=0)
    if not config.refs:
        raise UsageError("no references given", "dialogpt select references.jsonl --models RUN")
    if config.backward and len(config.backward) != max(len(config.models), 1):
        raise UsageError(
            f"{len(config.backward)} backward models for {max(len(config.models), 1)} models",
            "name one for each, in the same order",
        )
    if given(config, "mmi_source") and not config.backward and not any(map(companion_of, config.models or ("",))):
        raise UsageError("--mmi-source is for backward models, and there is none", "name them with --backward")
    if any(len(set(names)) < len(names) for names in (config.models, config.rankers)):
        raise UsageError("the same model is given twice", "name each once")
