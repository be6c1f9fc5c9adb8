"""A run folder -> RUN/report.html: one page with the run's numbers, plots and sample replies over time.

The page is self-contained: no network, no scripts, plots as inline SVG. It can be read on a phone, in light and dark;
replies are aligned by their own writing direction. Long runs are thinned, so that the page stays under 2 MB.
"""

import html
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, TypeVar

from dialogpt.artifact import atomic_file
from dialogpt.errors import UsageError
from dialogpt.train.compare import REPORT, TrainingRun, numbers, read_run, setting_text
from dialogpt.train.metrics import ValidationLine, best_validation, memorises, perplexity
from dialogpt.train.plots import draw, plots

MAX_CONTEXTS = 16
MAX_REPLIES = 30  # per context; 16 x 30 replies of 128 tokens are well under a megabyte
MAX_VALIDATIONS = 200  # rows of the table
MAX_CHARACTERS = 1200  # characters of a text; only very long replies are longer
T = TypeVar("T")


class Reply(NamedTuple):
    step: int
    text: str


def write_report(run: Path) -> Path:
    """Write RUN/report.html, whole or not at all, in place of one that may be there; returns its path.

    Without matplotlib a sentence replaces the plots. DataError when `run` is not a run folder.
    """
    page = _page(read_run(run)).encode("utf-8", "replace")  # half an emoji (a lone surrogate) has no UTF-8
    with atomic_file(run / REPORT) as partial:
        partial.write_bytes(page)
    return run / REPORT


def _page(run: TrainingRun) -> str:
    name = html.escape(run.folder.resolve().name)
    parts = [
        f'<h1 dir="auto">{name}</h1>',
        _warning(run.validations),
        _summary(run),
        _settings(run.settings),
        _plots(run),
        _validations(run.validations),
        _samples(run.validations),
    ]
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="color-scheme" content="light dark">\n'
        f"<title>{name}</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n"
        + "\n".join(filter(None, parts))
        + "\n</main>\n</body>\n</html>\n"
    )


def _warning(validations: Sequence[ValidationLine]) -> str:
    sentence = memorises(validations)
    return f'<p class="warning">{html.escape(sentence)}.</p>' if sentence else ""


def _summary(run: TrainingRun) -> str:
    rows = (f"<tr><th>{html.escape(name)}</th><td>{html.escape(text)}</td></tr>" for name, text in numbers(run).items())
    return f'<table class="summary">{"".join(rows)}</table>'


def _settings(settings: Mapping[str, object]) -> str:
    if not settings:
        return ""
    rows = (
        f'<tr><th>{html.escape(name)}</th><td dir="auto">{html.escape(setting_text(settings, name))}</td></tr>'
        for name in settings
    )
    return f'<details><summary>settings</summary><table class="summary">{"".join(rows)}</table></details>'


def _plots(run: TrainingRun) -> str:
    found = plots(run.steps, run.validations)
    if not found:
        return "<p>no steps logged yet</p>"
    try:
        figures = [
            f"<figure><figcaption>{plot.title}</figcaption>{draw(plot, number)}</figure>"
            for number, plot in enumerate(found, 1)
        ]
    except UsageError as error:
        return f"<p>{html.escape(error.message)}: <code>{html.escape(error.hint)}</code></p>"
    return f'<div class="plots">{"".join(figures)}</div>'


def _validations(validations: Sequence[ValidationLine]) -> str:
    if not validations:
        return ""
    best = best_validation(validations)
    head = "".join(f"<th>{name}</th>" for name in ("step", "target tokens", "training", "validation"))
    rows = (
        f"<tr{' class=best' if line is best else ''}><td>{line.step:,}</td><td>{line.targets_seen:,}</td>"
        f"<td>{_perplexity(line.training_loss)}</td><td>{line.validation_perplexity:,.2f}</td></tr>"
        for line in thin(validations, MAX_VALIDATIONS)
    )
    shown = _shown(min(len(validations), MAX_VALIDATIONS), len(validations))
    return (
        f"<details><summary>perplexities at each validation{shown}</summary>"
        f'<div class="wide"><table class="numbers"><tr>{head}</tr>{"".join(rows)}</table></div></details>'
    )


def _perplexity(loss: float | None) -> str:
    return "" if loss is None else f"{perplexity(loss):,.2f}"


def _samples(validations: Sequence[ValidationLine]) -> str:
    found = replies_over_time(validations)
    if not found:
        return ""
    contexts = thin(list(found), MAX_CONTEXTS)
    sections = [_replies(context, found[context]) for context in contexts]
    return f"<h2>sample replies{_shown(len(contexts), len(found))}</h2>\n" + "\n".join(sections)


def replies_over_time(validations: Sequence[ValidationLine]) -> dict[tuple[str, ...], list[Reply]]:
    """The replies to each context, by step; contexts in the order in which they first occur."""
    found: dict[tuple[str, ...], list[Reply]] = {}
    for line in validations:
        for sample in line.samples:
            found.setdefault(tuple(sample.context), []).append(Reply(line.step, sample.reply))
    return found


def _replies(context: Sequence[str], replies: Sequence[Reply]) -> str:
    turns = "".join(f'<p class="turn" dir="auto" lang="">{_text(turn)}</p>' for turn in context)
    kept = thin(replies, MAX_REPLIES)
    rows = "".join(
        f'<tr><td class="step">{reply.step:,}</td><td class="reply" dir="auto" lang="">{_text(reply.text)}</td></tr>'
        for reply in kept
    )
    note = f'<p class="note">{_shown(len(kept), len(replies)).strip()}</p>' if len(kept) < len(replies) else ""
    return f'<section>{turns}<table class="replies">{rows}</table>{note}</section>'


def _text(text: str) -> str:
    cut = text if len(text) <= MAX_CHARACTERS else text[:MAX_CHARACTERS] + "…"
    return html.escape(cut)


def _shown(shown: int, of: int) -> str:
    return f" ({shown:,} of {of:,} shown)" if shown < of else ""


def thin(items: Sequence[T], most: int) -> list[T]:
    """At most `most` (2 or more) of the items, evenly spread, the first and the last among them."""
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


STYLE = """
:root { color-scheme: light dark; --ink: #1d2330; --soft: #5b6577; --paper: #fbfbfd; --card: #fff; --grid: #e3e6ec;
  --training: #2563c9; --validation: #c2410c; --warn: #fff3d6; }
@media (prefers-color-scheme: dark) { :root { --ink: #e6e9ef; --soft: #9aa4b5; --paper: #14171d; --card: #1c2129;
  --grid: #343b47; --training: #7db0ff; --validation: #ff9d66; --warn: #4a3a12; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--paper); color: var(--ink); font: 16px/1.5 system-ui, sans-serif; }
main { max-width: 60rem; margin: 0 auto; padding: 1rem; }
h1 { font-size: 1.5rem; overflow-wrap: anywhere; }
h2 { font-size: 1.15rem; margin: 2rem 0 .5rem; }
table { border-collapse: collapse; }
th { font-weight: normal; color: var(--soft); text-align: start; }
th, td { padding: .25rem .9rem .25rem 0; vertical-align: top; }
.summary td { overflow-wrap: anywhere; font-variant-numeric: tabular-nums; }
.numbers td, .numbers th { text-align: right; font-variant-numeric: tabular-nums; }
.best td { font-weight: bold; }
.wide { overflow-x: auto; }
details { margin: 1rem 0; }
summary { cursor: pointer; color: var(--soft); }
.warning { background: var(--warn); padding: .6rem .9rem; border-radius: .5rem; }
.plots { display: grid; grid-template-columns: repeat(auto-fit, minmax(min(100%, 22rem), 1fr)); gap: 1rem; }
figure, section { margin: 0; background: var(--card); border: 1px solid var(--grid); border-radius: .6rem;
  padding: .7rem; }
section { margin-bottom: 1rem; }
figcaption { font-size: .9rem; color: var(--soft); }
svg { display: block; width: 100%; height: auto; }
.turn { margin: .2rem 0; color: var(--soft); }
.turn, .reply { white-space: pre-wrap; overflow-wrap: anywhere; text-align: start; }
.replies { width: 100%; }
.reply { padding-inline-end: 0; width: 100%; border-top: 1px solid var(--grid); }
.step { color: var(--soft); text-align: right; white-space: nowrap; border-top: 1px solid var(--grid);
  font-variant-numeric: tabular-nums; }
.note { color: var(--soft); font-size: .85rem; margin: .3rem 0 0; }
"""
