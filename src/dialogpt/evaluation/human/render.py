"""Findings -> text: tables for 100 columns, the same as LaTeX, or JSON and TSV with every number as it is.

Pairs are in the paper's form: A, wins, ties, wins, B. A star marks p-values below 0.05 after correction for the number
of tests (Holm). Correlations are shown for the mean of all criteria; JSON and TSV have each criterion.
"""

from collections.abc import Iterator, Sequence

import msgspec

from dialogpt.evaluation import Format
from dialogpt.evaluation.human.agreement import ALPHA, KAPPA
from dialogpt.evaluation.human.findings import ALL, Finding, of_name
from dialogpt.evaluation.report import SMALLEST_P, UNKNOWN, aligned, cell, escaped, title

WIDTH = 100
SIGNIFICANT = 0.05
MOST_FLAGS = 20  # judges shown
FIELDS = Finding.__struct_fields__

Grid = list[list[str]]  # the first row is the header


def render(findings: Sequence[Finding], form: Format) -> str:
    """The report, without a line end."""
    if form == "json":
        return msgspec.json.format(msgspec.json.encode(list(findings)), indent=2).decode()
    if form == "tsv":
        return "\n".join("\t".join(row) for row in [list(FIELDS), *map(_row, findings)])
    grids = list(_grids(findings))
    if form == "latex":
        return "\n\n".join([*map(_tabular, grids), "\n".join(f"% {line}" for line in _notes(findings))])
    return "\n\n".join([*map(aligned, grids), "\n".join(_notes(findings))])


def headline(findings: Sequence[Finding]) -> str:
    """The criterion that ranks systems: the mean of all, or the only one."""
    criteria = {each.criterion for each in findings if each.criterion}
    several = ALL in criteria or len(criteria) > 1
    return ALL if several else next(iter(criteria))


def _row(finding: Finding) -> list[str]:
    values = (getattr(finding, field) for field in FIELDS)
    return [cell(" | ".join(value) if isinstance(value, tuple) else value) for value in values]


def _grids(findings: Sequence[Finding]) -> Iterator[Grid]:
    if any(each.name == "preference" for each in findings):
        yield from _pairs(findings)
    else:
        yield from _ratings(findings)
        yield from _neighbours(findings)
    yield _agreement(findings)
    if flagged := [each for each in findings if each.name.startswith("flagged:")]:
        yield _flagged(flagged)
    yield from _correlations(findings)


def _pairs(findings: Sequence[Finding]) -> Iterator[Grid]:
    """A grid for each criterion, a row a pair."""
    wins, ties, losses, shares, by_item, by_judgement = (
        of_name(findings, name)
        for name in ("wins", "ties", "losses", "preference", "sign-test-items", "sign-test-judgements")
    )
    for criterion in dict.fromkeys(criterion for _, criterion in wins):
        rows = [[criterion, "wins", "ties", "wins", "", "for the first, %", "p: items", "judgements"]]
        for systems in (systems for systems, each in wins if each == criterion):
            place = (systems, criterion)
            counts = [f"{count.value:.0f} ({_percent(count)}%)" for count in (wins[place], ties[place], losses[place])]
            tests = [_starred(by_item[place]), _starred(by_judgement[place])]
            rows.append([systems[0], *counts, systems[1], _number(shares[place], 1, 100), *tests])
        yield rows


def _percent(count: Finding) -> str:
    return f"{100 * (count.value or 0) / count.n:.0f}"


def _ratings(findings: Sequence[Finding]) -> Iterator[Grid]:
    """A row a system, the best first, and a column a criterion, as many as fit beside each other."""
    means, ranks, by = of_name(findings, "mean"), of_name(findings, "rank"), headline(findings)
    systems = list(dict.fromkeys(systems for systems, _ in means))
    systems.sort(key=lambda each: (ranks[each, by].value is None, ranks[each, by].value or 0))
    names = max(len(name) for (name,) in systems)
    criteria = list(dict.fromkeys(criterion for _, criterion in means))
    columns = [[criterion, *(_number(means[each, criterion], 2) for each in systems)] for criterion in criteria]
    columns[-1][0] = "all criteria" if by == ALL else by
    columns.append(["rank", *(_rank(ranks[each, by]) for each in systems)])
    while columns:
        fitting = _fitting(columns, WIDTH - names)
        yield [list(row) for row in zip(["", *(name for (name,) in systems)], *columns[:fitting], strict=True)]
        columns = columns[fitting:]


def _fitting(columns: Grid, width: int) -> int:
    """How many of the columns fit into the width, at least one."""
    used, count = 0, 0
    for column in columns:
        used += 2 + max(map(len, column))
        count += 1 if not count or used <= width else 0
        if used > width:
            break
    return count


def _rank(rank: Finding) -> str:
    if rank.value is None:
        return UNKNOWN
    if rank.low is None or rank.high is None or rank.low == rank.high:
        return f"{rank.value:.0f}"
    return f"{rank.value:.0f} [{rank.low:.0f}, {rank.high:.0f}]"


def _neighbours(findings: Sequence[Finding]) -> Iterator[Grid]:
    """Each system against the next one of the ranking."""
    by = headline(findings)
    rows = [
        [f"{each.systems[0]} - {each.systems[1]}", _number(each, 2), _starred(each), str(each.n)]
        for each in findings
        if each.name == "difference" and each.criterion == by
    ]
    if rows:
        yield [["neighbours", "difference", "p", "items of both"], *rows]


def _agreement(findings: Sequence[Finding]) -> Grid:
    columns = [of_name(findings, name) for name in (*ALPHA, KAPPA)]
    rows = [["agreement", "alpha: nominal", "ordinal", "interval", "Fleiss' kappa"]]
    for place in columns[0]:
        rows.append([place[1], *(_number(column[place], 2) for column in columns)])
    return rows


def _flagged(flagged: Sequence[Finding]) -> Grid:
    rows = [["judges to look at", "items", "counted", "why"]]
    for each in flagged[:MOST_FLAGS]:
        reasons, counted = each.signature.split("|")[:2]
        rows.append([each.name.partition(":")[2], str(each.n), counted.removeprefix("counted:"), reasons])
    if len(flagged) > MOST_FLAGS:
        rows.append([f"and {len(flagged) - MOST_FLAGS} more", "", "", "see --format json"])
    return rows


def _correlations(findings: Sequence[Finding]) -> Iterator[Grid]:
    """A grid of the correlations over systems, and one of those over segments."""
    by = headline(findings)
    chosen = {each.name: each for each in findings if each.criterion == by and ":" in each.name}
    for scope, names in (("system", ("pearson", "spearman", "kendall")), ("segment", ("pearson", "spearman"))):
        metrics = dict.fromkeys(name.partition(":")[0] for name in chosen if f":{scope}-" in name)
        if not metrics:
            continue
        rows = [[f"metric and judges, by {scope}", *(name.capitalize() for name in names), "n"]]
        for metric in metrics:
            found = [chosen[f"{metric}:{scope}-{name}"] for name in names]
            rows.append([title(metric).removesuffix(" %"), *(_number(each, 2) for each in found), str(found[0].n)])
        yield rows


def _number(finding: Finding, decimals: int, times: float = 1) -> str:
    """The value and its interval."""
    if finding.value is None:
        return UNKNOWN
    shown = f"{times * finding.value:z.{decimals}f}"
    if finding.low is None or finding.high is None:
        return shown
    return f"{shown} [{times * finding.low:z.{decimals}f}, {times * finding.high:z.{decimals}f}]"


def _starred(finding: Finding) -> str:
    if finding.p is None:
        return UNKNOWN
    corrected = finding.p if finding.p_holm is None else finding.p_holm
    shown = f"<{SMALLEST_P}" if finding.p < SMALLEST_P else f"{finding.p:.4f}"
    return shown + ("*" if corrected < SIGNIFICANT else " ")


def _tabular(grid: Grid) -> str:
    header, *rows = [" & ".join(map(escaped, row)) + r" \\" for row in grid]
    columns = f"l{'r' * (len(grid[0]) - 1)}"
    return "\n".join(
        [f"\\begin{{tabular}}{{{columns}}}", "\\hline", header + r" \hline", *rows, "\\hline", "\\end{tabular}"]
    )


def _notes(findings: Sequence[Finding]) -> list[str]:
    """A line for each signature, with what has it; their common end is shown once."""
    owners: dict[str, dict[str, None]] = {}
    for each in findings:
        if not each.name.startswith("flagged:"):
            owners.setdefault(each.signature, {})[each.name.partition(":")[0]] = None
    computed = [signature.split("|") for signature in owners if not signature.startswith("not computed")]
    shared = 0
    while len({tuple(parts[-shared - 1 :]) for parts in computed}) == 1 and shared < len(computed[0]) - 1:
        shared += 1
    lines = [f"all: {'|'.join(computed[0][len(computed[0]) - shared :])}"] if shared else []
    if any(each.p is not None for each in findings):
        lines.append(f"[95% interval]; * p below {SIGNIFICANT}, corrected for the number of tests (Holm)")
    for signature, names in owners.items():
        parts = signature.split("|")
        kept = parts[: len(parts) - shared] if parts in computed else parts
        lines.append(f"{' '.join(names)}: {'|'.join(kept)}")
    return lines
