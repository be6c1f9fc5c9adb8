"""A tally -> how far the judges agree: Krippendorff's alpha at three levels, and Fleiss' kappa.

A unit is a reply, or a pair of replies, of one item; if a judge judged it twice, the first judgement counts.
"""

from collections.abc import Iterator

from dialogpt.evaluation.human.findings import Basis, Finding, bounds, known
from dialogpt.evaluation.human.statistics import LEVELS, alpha, coincidences, fleiss_kappa, fleiss_rows
from dialogpt.evaluation.human.tally import Tally
from dialogpt.evaluation.ngrams import Floats
from dialogpt.evaluation.significance import resampled

ALPHA = tuple(f"alpha-{level}" for level in LEVELS)
KAPPA = "kappa-fleiss"


def agreement(tally: Tally, basis: Basis) -> Iterator[Finding]:
    """Alpha and kappa of each criterion, over all units."""
    for at, criterion in enumerate(tally.criteria):
        counts = tally.first[:, :, at]
        judges = counts.sum(axis=-1)
        paired, alone = int((judges > 1).sum()), int((judges == 1).sum())
        pairs = coincidences(counts).sum(axis=1)
        drawn = _drawn(pairs, basis)
        undefined = "" if paired else "|undefined:no unit has two judges"
        for name, level in zip(ALPHA, LEVELS, strict=True):
            low, high = bounds(None if drawn is None else alpha(drawn, tally.values, level))
            yield Finding(
                name=name, criterion=criterion, value=known(float(alpha(pairs.sum(axis=0), tally.values, level))),
                low=low, high=high, n=paired,
                signature=basis.signature(f"Krippendorff's alpha|left-out:{alone} of one judge{undefined}", drawn=True),
            )  # fmt: skip
        yield _kappa(counts, criterion, basis)


def _kappa(counts: Floats, criterion: str, basis: Basis) -> Finding:
    items, units, values = counts.shape
    rows, number = fleiss_rows(counts.reshape(-1, values))
    kept, seen = int(rows[:, 0].sum()), int((counts.sum(axis=-1) > 0).sum())
    by_item = rows.reshape(items, units, -1).sum(axis=1)
    drawn = _drawn(by_item, basis)
    low, high = bounds(None if drawn is None else fleiss_kappa(drawn))
    how = f"Fleiss' kappa|judges-of-a-unit:{number}|left-out:{seen - kept} of other numbers"
    return Finding(
        name=KAPPA, criterion=criterion, value=known(float(fleiss_kappa(by_item.sum(axis=0)))), low=low, high=high,
        n=kept, signature=basis.signature(how if number else "undefined:no unit has two judges", drawn=True),
    )  # fmt: skip


def _drawn(rows: Floats, basis: Basis) -> Floats | None:
    """Sums over bootstrap samples of the items: (I, ...) -> (B, ...)."""
    if not basis.samples or len(rows) < 2:
        return None
    return resampled(rows.reshape(len(rows), -1), basis.samples, basis.seed).reshape(-1, *rows.shape[1:])
