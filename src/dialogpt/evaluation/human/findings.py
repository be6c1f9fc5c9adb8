"""The numbers of a report: what each is about, its interval and p-value, and how it was computed."""

from collections.abc import Sequence
from dataclasses import dataclass

import msgspec
import numpy as np

from dialogpt.evaluation.ngrams import Floats
from dialogpt.evaluation.significance import percentiles

ALL = "all"  # instead of a criterion: the mean of all criteria


class Finding(msgspec.Struct, frozen=True, kw_only=True):
    """A number of a report; `signature` says how it was computed, and why there is no `value` where there is none.

    `systems` are the one or two that it is about, none for the judges or a metric. `low` and `high` are a 95%
    interval, `p` is two-sided, `p_holm` the same, corrected for all tests of its name and criterion. `n` is how many
    judgements, items, units or systems it is of.
    """

    name: str
    systems: tuple[str, ...] = ()
    criterion: str = ""
    value: float | None
    low: float | None = None
    high: float | None = None
    p: float | None = None
    p_holm: float | None = None
    n: int
    signature: str


@dataclass(frozen=True, slots=True)
class Basis:
    """What all numbers of a report share: bootstrap samples, their seed, and the end of all signatures."""

    samples: int
    seed: int
    common: str

    def signature(self, how: str, *, drawn: bool = False) -> str:
        """How a number came about; `drawn` where bootstrap samples of items took part."""
        bootstrap = f"bs:{self.samples}|seed:{self.seed}|resampled:items|" if drawn and self.samples else ""
        return f"{how}|{bootstrap}{self.common}"


def bounds(drawn: Floats | None) -> tuple[float | None, float | None]:
    """The 95% interval of bootstrap samples, (B,); none where there are none, or some are undefined."""
    if drawn is None or not len(drawn):
        return None, None
    low, high = percentiles(drawn[:, None])[0]
    return (None, None) if np.isnan(low + high) else (float(low), float(high))


def known(value: float) -> float | None:
    """The value, or None where it is undefined."""
    return None if np.isnan(value) else float(value)


def of_name(findings: Sequence[Finding], name: str) -> dict[tuple[tuple[str, ...], str], Finding]:
    """The findings of a name, by systems and criterion."""
    return {(each.systems, each.criterion): each for each in findings if each.name == name}
