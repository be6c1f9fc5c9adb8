"""Judgements -> how often each value was given to each unit: all that the statistics count.

A unit is what one judgement is about: the system of a rating, or the two of a pair.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from dialogpt.errors import DataError
from dialogpt.evaluation.human import Kind
from dialogpt.evaluation.human.judgements import Judged
from dialogpt.evaluation.ngrams import Floats
from dialogpt.evaluation.significance import resampled

MOST_SYSTEMS = 200
MOST_COUNTS = 1 << 27  # a gibibyte


@dataclass(frozen=True, slots=True)
class Tally:
    """Counts of I items, U units, C criteria and V values.

    `counts` and `first`, (I, U, C, V), count all judgements, and only each judge's first one of a unit, since agreement
    is between judges. `values` are 1 to 5, or -1, 0, 1: the first system of a pair lost, tied, won.
    """

    kind: Kind
    systems: tuple[str, ...]
    criteria: tuple[str, ...]
    items: tuple[str, ...]
    units: tuple[tuple[str, ...], ...]
    values: Floats
    counts: Floats
    first: Floats

    def of_items(self, places: Sequence[int]) -> "Tally":
        """That of some of the items, in the order given."""
        items, kept = tuple(self.items[place] for place in places), list(places)
        return Tally(
            self.kind, self.systems, self.criteria, items, self.units, self.values, self.counts[kept], self.first[kept]
        )

    def of_systems(self, names: Sequence[str]) -> "Tally":
        """That of the units all of whose systems are named."""
        kept = [place for place, unit in enumerate(self.units) if set(unit) <= set(names)]
        units = tuple(self.units[place] for place in kept)
        systems = tuple(name for name in self.systems if any(name in unit for unit in units))
        counts, first = self.counts[:, kept], self.first[:, kept]
        return Tally(self.kind, systems, self.criteria, self.items, units, self.values, counts, first)

    def sums(self) -> Floats:
        """Over all items, (U, C, V)."""
        total: Floats = self.counts.sum(axis=0)
        return total

    def resampled(self, samples: int, seed: int) -> Floats:
        """Sums over bootstrap samples of the items, (samples, U, C, V)."""
        return resampled(self.counts.reshape(len(self.items), -1), samples, seed).reshape(-1, *self.counts.shape[1:])

    def means(self, counts: Floats) -> Floats:
        """The mean value, (..., U, C), of counts, (..., U, C, V); NaN where there is none."""
        total = counts.sum(axis=-1)
        return (counts @ self.values) / np.where(total > 0, total, np.nan)


def tally(judged: Judged) -> Tally:
    """Count the judgements (at least one); DataError for absurdly many systems."""
    items = {name: place for place, name in enumerate(dict.fromkeys(each.item for each in judged.judgements))}
    given = {each.systems for each in judged.judgements}
    order = {name: place for place, name in enumerate(judged.systems)}
    units = {unit: place for place, unit in enumerate(sorted(given, key=lambda unit: [order[name] for name in unit]))}
    criteria = {name: place for place, name in enumerate(judged.criteria)}
    shape = (len(items), len(units), len(criteria), len(judged.values))
    if len(order) > MOST_SYSTEMS or np.prod(shape, dtype=np.float64) > MOST_COUNTS:
        raise DataError(
            f"{len(order)} systems, {len(items)} items and {len(criteria)} criteria are too many",
            "does each column hold what its name says?",
        )
    places = np.array(
        [
            (items[each.item], units[each.systems], criteria[each.criterion], judged.values.index(each.value))
            for each in judged.judgements
        ]
    )
    judges = {name: place for place, name in enumerate(dict.fromkeys(each.judge for each in judged.judgements))}
    whose = np.array([judges[each.judge] for each in judged.judgements])
    _, first = np.unique(np.column_stack([whose, places[:, :3]]), axis=0, return_index=True)
    counts, firsts = np.zeros(shape), np.zeros(shape)
    np.add.at(counts, tuple(places.T), 1)
    np.add.at(firsts, tuple(places[first].T), 1)
    values = np.array(judged.values, np.float64)
    systems = tuple(name for name in judged.systems if any(name in unit for unit in units))
    return Tally(judged.kind, systems, tuple(criteria), tuple(items), tuple(units), values, counts, firsts)
