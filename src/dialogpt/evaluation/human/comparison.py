"""A tally -> who wins: wins, ties and losses of pairs with sign tests, or mean ratings with ranks and differences.

Intervals come from bootstrap samples of the items, the same ones for every number, since judgements of one item are not
independent of each other.
"""

from collections.abc import Iterator

import numpy as np

from dialogpt.evaluation.human.findings import ALL, Basis, Finding, bounds, known
from dialogpt.evaluation.human.statistics import holm, sign_test
from dialogpt.evaluation.human.tally import Tally
from dialogpt.evaluation.ngrams import Floats
from dialogpt.evaluation.significance import bootstrap_p

LOST, TIED, WON = range(3)  # places of the values of pairs


def compare(tally: Tally, basis: Basis) -> list[Finding]:
    """All findings about the systems."""
    drawn = tally.resampled(basis.samples, basis.seed) if basis.samples and len(tally.items) > 1 else None
    return [*(_pairs if tally.kind == "pairs" else _ratings)(tally, drawn, basis)]


def preference(sums: Floats) -> Floats:
    """The share of judgements that prefer the first system, ties half to each, (..., 3) -> (...)."""
    total = sums.sum(axis=-1)
    share: Floats = (sums[..., WON] + sums[..., TIED] / 2) / np.where(total > 0, total, np.nan)
    return share


def with_all(values: Floats) -> Floats:
    """Values of criteria, (..., C), and as the last one their mean, (..., C + 1)."""
    return np.concatenate([values, values.mean(axis=-1, keepdims=True)], axis=-1)


def system_values(tally: Tally, sums: Floats) -> Floats:
    """Each system's mean rating, or share of its pairs' judgements that prefer it: (..., U, C, V) -> (..., S, C)."""
    if tally.kind == "ratings":
        places = [tally.units.index((system,)) for system in tally.systems]
        return tally.means(sums)[..., places, :]
    found = []
    for system in tally.systems:
        first = [place for place, unit in enumerate(tally.units) if unit[0] == system]
        second = [place for place, unit in enumerate(tally.units) if unit[1] == system]
        mine = sums[..., first, :, :].sum(axis=-3) + sums[..., second, :, ::-1].sum(axis=-3)
        found.append(preference(mine))
    return np.stack(found, axis=-2)


def _pairs(tally: Tally, drawn: Floats | None, basis: Basis) -> Iterator[Finding]:
    sums = tally.sums()
    majorities = np.sign(tally.counts[..., WON] - tally.counts[..., LOST])  # of an item's judges
    by_item = np.stack([(majorities == side).sum(axis=0) for side in (-1, 0, 1)], axis=-1)
    shares, share_draws = preference(sums), None if drawn is None else preference(drawn)
    for criterion_at, criterion in enumerate(tally.criteria):
        tests = [_sign_tests(counts[:, criterion_at]) for counts in (sums, by_item)]
        for unit_at, unit in enumerate(tally.units):
            place = (unit_at, criterion_at)
            counts = sums[place]
            if not (n := int(counts.sum())):
                continue
            for name, value in (("wins", WON), ("ties", TIED), ("losses", LOST)):
                yield Finding(
                    name=name, systems=unit, criterion=criterion, value=float(counts[value]), n=n,
                    signature=basis.signature("count of judgements|of:first system"),
                )  # fmt: skip
            low, high = bounds(None if share_draws is None else share_draws[:, *place])
            yield Finding(
                name="preference", systems=unit, criterion=criterion, value=float(shares[place]), low=low, high=high,
                n=n, signature=basis.signature("share of judgements for first system|ties:half", drawn=True),
            )  # fmt: skip
            for (p, corrected), found, what in zip(
                tests, (counts, by_item[place]), ("judgements", "items"), strict=True
            ):
                untied = int(found[WON] + found[LOST])
                how = "two-sided p|exact sign test|ties:left out"
                how += f"|of:{what}" + ("|item:side of more judges" if what == "items" else "")
                yield Finding(
                    name=f"sign-test-{what}", systems=unit, criterion=criterion, p=float(p[unit_at]), n=untied,
                    p_holm=float(corrected[unit_at]) if len(tally.units) > 1 else None,
                    value=float(found[WON]) / untied if untied else None,
                    signature=basis.signature(how + _corrected(len(tally.units))),
                )  # fmt: skip


def _sign_tests(counts: Floats) -> tuple[Floats, Floats]:
    """The p-values of each pair, (U, 3) -> (U,), and corrected for their number; NaN where nothing was judged."""
    p = [sign_test(int(row[WON]), int(row[LOST])) if row.sum() else np.nan for row in counts]
    return np.array(p), holm(p)


def _corrected(tests: int) -> str:
    return f"|p_holm:{tests} pairs" if tests > 1 else ""


def _ratings(tally: Tally, drawn: Floats | None, basis: Basis) -> Iterator[Finding]:
    criteria = [*tally.criteria, ALL] if len(tally.criteria) > 1 else list(tally.criteria)
    sums = tally.sums()
    means = with_all(system_values(tally, sums))
    draws = None if drawn is None else with_all(system_values(tally, drawn))
    numbers = system_totals(tally, sums)
    for at, criterion in enumerate(criteria):
        of_systems, n = means[:, at], numbers[:, at]
        samples = None if draws is None else draws[..., at]
        places, place_draws = _places(of_systems), None if samples is None else _places(samples)
        what = "mean of the criteria's means" if criterion == ALL else "mean of ratings"
        for system_at, system in enumerate(tally.systems):
            low, high = bounds(None if samples is None else samples[:, system_at])
            yield Finding(
                name="mean", systems=(system,), criterion=criterion, value=known(of_systems[system_at]), low=low,
                high=high, n=int(n[system_at]), signature=basis.signature(what, drawn=True),
            )  # fmt: skip
            low, high = bounds(None if place_draws is None else place_draws[:, system_at])
            yield Finding(
                name="rank", systems=(system,), criterion=criterion, value=known(places[system_at]), low=low,
                high=high, n=len(tally.systems), signature=basis.signature("rank of the mean|1:best", drawn=True),
            )  # fmt: skip
        yield from _differences(tally, criterion, of_systems, samples, basis)


def system_totals(tally: Tally, sums: Floats) -> Floats:
    """How many judgements are of each system, (U, C, V) -> (S, C + 1), of all criteria in the last."""
    of_units = sums.sum(axis=-1)
    by_system = [sum(of_units[at] for at, unit in enumerate(tally.units) if system in unit) for system in tally.systems]
    found = np.array(by_system)
    return np.concatenate([found, found.sum(axis=-1, keepdims=True)], axis=-1)


def _places(means: Floats) -> Floats:
    """1 for the best, (..., S); equal ones share the better place. NaN where there is no mean."""
    better = (means[..., None, :] > means[..., :, None]).sum(axis=-1)
    return np.where(np.isnan(means), np.nan, 1.0 + better)


def _differences(
    tally: Tally, criterion: str, means: Floats, samples: Floats | None, basis: Basis
) -> Iterator[Finding]:
    """Each system against the next lower one."""
    order = [place for place in np.argsort(-means, kind="stable") if not np.isnan(means[place])]
    upper, lower = order[:-1], order[1:]
    differences = means[upper] - means[lower]
    p = corrected = np.full(len(upper), np.nan)
    if samples is not None:
        p = bootstrap_p(differences, samples[:, upper] - samples[:, lower], len(tally.items))
        corrected = holm(p)
    for at, (one, other) in enumerate(zip(upper, lower, strict=True)):
        low, high = bounds(None if samples is None else samples[:, one] - samples[:, other])
        both = [
            place for place, unit in enumerate(tally.units) if unit[0] in (tally.systems[one], tally.systems[other])
        ]
        judged = (tally.counts[:, both].sum(axis=(-1, -2)) > 0).all(axis=-1)
        yield Finding(
            name="difference", systems=(tally.systems[one], tally.systems[other]), criterion=criterion,
            value=float(differences[at]), low=low, high=high, p=known(p[at]),
            p_holm=known(corrected[at]) if len(upper) > 1 else None, n=int(judged.sum()),
            signature=basis.signature(
                f"difference of means|neighbours in rank|two-sided p|paired bootstrap{_corrected(len(upper))}",
                drawn=True,
            ),
        )  # fmt: skip
