"""Scores -> text: the paper's table with intervals and signatures, or JSON, TSV, LaTeX.

JSON and TSV hold every number as it is. The table and LaTeX round, and show BLEU, METEOR, Distinct and shares in
percent, as the paper does. In LaTeX stars mark what differs from the first system.
"""

from collections.abc import Callable, Mapping, Sequence

import msgspec

from dialogpt.evaluation import Format, Score

PAPER = ("nist-2", "nist-4", "bleu-2", "bleu-4", "meteor", "entropy-4", "distinct-1", "distinct-2", "length")
TITLES = {"nist": "NIST", "bleu": "BLEU", "meteor": "METEOR", "entropy": "Entropy", "distinct": "Distinct"}
PLAIN = {"nist": 2, "entropy": 2, "length": 1, "perplexity": 2, "mrr": 3}  # decimals of scores that are not fractions
SMALLEST_P = 0.0001  # shown
DECISIVE = ("randomisation", "ratio", "jackknife", "bootstrap")  # the first one available marks a score in LaTeX
MARKS = {0.01: "**", 0.05: "*"}  # of p below
UNKNOWN = "n/a"


def render(scores: Sequence[Score], form: Format) -> str:
    """The report, without a line end."""
    return _FORMS[form](scores)


def as_json(scores: Sequence[Score]) -> str:
    return msgspec.json.format(msgspec.json.encode(list(scores)), indent=2).decode()


def as_tsv(scores: Sequence[Score]) -> str:
    fields = ("system", "name", "value", "low", "high", "signature")
    rows = [[cell(getattr(score, field)) for field in fields] for score in scores]
    return "\n".join("\t".join(row) for row in [list(fields), *rows])


def as_table(scores: Sequence[Score]) -> str:
    """The paper's columns, a row a system with its intervals below; then other scores, tests and signatures."""
    columns = _columns(scores)
    by_place = {(score.system, score.name): score for score in scores}
    rows = [["", *map(title, columns)]]
    for system in _systems(scores):
        row = [by_place.get((system, name)) for name in columns]
        rows.append([system, *map(_value, row)])
        if any(map(_interval, row)):
            rows.append(["", *map(_interval, row)])
    others = [name for name in dict.fromkeys(score.name for score in scores) if name not in columns]
    plain, tests = ([name for name in others if (":" in name) is tested] for tested in (False, True))
    blocks = [aligned(rows)] if columns else []
    systems = _systems([score for score in scores if score.name not in columns])
    if plain:
        cells = [[title(name), *(_full(by_place.get((system, name))) for system in systems)] for name in plain]
        blocks.append(aligned([["", *systems], *cells]))
    if tests:
        blocks.append(_tests(tests, _tested(scores), by_place))
    return "\n\n".join([*blocks, "\n".join(_signatures(scores))])


def _tests(names: Sequence[str], systems: Sequence[str], scores: Mapping[tuple[str, str], Score]) -> str:
    """A row a metric, a column a system after the first, and in it the p-values of the tests."""
    tests: dict[str, list[str]] = {}
    for name in names:
        tests.setdefault(name.partition(":")[0], []).append(name)
    rows = [[f"p, against {systems[0]}", *systems[1:], ""]]
    for metric, several in tests.items():
        cells = [" / ".join(_value(scores.get((system, name))) for name in several) for system in systems[1:]]
        how = " / ".join(name.partition(":p-")[2] for name in several)
        rows.append([title(metric).removesuffix(" %"), *cells, how])
    return aligned(rows)


def as_latex(scores: Sequence[Score]) -> str:
    """A tabular of the paper's columns, or of all if there are none of these, with intervals and marks of significance.

    Below it, as comments, are the p-values and the signatures.
    """
    systems, names = _systems(scores), list(dict.fromkeys(score.name for score in scores))
    columns = _columns(scores) or [name for name in names if ":" not in name]
    tests = [name for name in names if ":" in name and name.partition(":")[0] in columns]
    by_place = {(score.system, score.name): score for score in scores}
    lines = [f"\\begin{{tabular}}{{l{'r' * len(columns)}}}", "\\hline"]
    lines.append(" & ".join(["System", *(escaped(title(name)) for name in columns)]) + r" \\ \hline")
    for system in systems:
        row = [by_place.get((system, name)) for name in columns]
        marks = (_mark([by_place.get((system, f"{name}:p-{test}")) for test in DECISIVE]) for name in columns)
        values = (escaped(_value(score)) + mark for score, mark in zip(row, marks, strict=True))
        lines.append(" & ".join([escaped(system), *values]) + r" \\")
        if any(map(_interval, row)):
            small = (f"{{\\scriptsize {interval}}}" if (interval := _interval(score, "--")) else "" for score in row)
            lines.append(" & ".join(["", *small]) + r" \\")
    lines.append("\\hline")
    comments = _signatures([score for score in scores if score.name in (*columns, *tests)])
    if tests:
        legend = ", ".join(f"$^{{{mark}}}p<{below}$" for below, mark in reversed(MARKS.items()))
        legend = f"{legend} against {escaped(systems[0])}, two-sided, paired"
        lines.append(f"\\multicolumn{{{len(columns) + 1}}}{{l}}{{\\scriptsize {legend}}} \\\\")
        comments = [*_tests(tests, _tested(scores), by_place).splitlines(), *comments]
    return "\n".join([*lines, "\\end{tabular}", *(f"% {line}" for line in comments)])


def _mark(tests: Sequence[Score | None]) -> str:
    """The mark of the first p-value available, in zero width, so that numbers stay aligned."""
    p = next((test.value for test in tests if test is not None and test.value is not None), 1.0)
    mark = next((mark for below, mark in MARKS.items() if p < below), "")
    return f"\\rlap{{$^{{{mark}}}$}}" if mark else ""


_FORMS: dict[str, Callable[[Sequence[Score]], str]] = {
    "table": as_table, "json": as_json, "tsv": as_tsv, "latex": as_latex,
}  # fmt: skip


def _systems(scores: Sequence[Score]) -> list[str]:
    return list(dict.fromkeys(score.system for score in scores))


def _tested(scores: Sequence[Score]) -> list[str]:
    """The first system, which has no test of its own, and those that are compared with it."""
    return list(dict.fromkeys([_systems(scores)[0], *(score.system for score in scores if ":" in score.name)]))


def _columns(scores: Sequence[Score]) -> list[str]:
    names = {score.name for score in scores}
    return [name for name in PAPER if name in names]


def title(name: str) -> str:
    family, dash, rest = name.partition("-")
    shown = TITLES.get(family, family) + dash + rest
    return shown if _decimals(name) is not None else f"{shown} %"


def _decimals(name: str) -> int | None:
    """The decimals of a score as it is, or None for a fraction, shown in percent."""
    if ":" in name:  # a p-value
        return 4
    return PLAIN.get(name.partition("-")[0])


def _number(name: str, value: float) -> str:
    decimals = _decimals(name)
    if ":" in name and value < SMALLEST_P:
        return f"<{SMALLEST_P}"
    return f"{100 * value:.2f}" if decimals is None else f"{value:.{decimals}f}"


def _value(score: Score | None) -> str:
    return UNKNOWN if score is None or score.value is None else _number(score.name, score.value)


def _interval(score: Score | None, dash: str = "-") -> str:
    if score is None or score.low is None or score.high is None:
        return ""
    return f"{_number(score.name, score.low)}{dash}{_number(score.name, score.high)}"


def _full(score: Score | None) -> str:
    interval = _interval(score)
    return _value(score) + (f" ({interval})" if interval else "")


def _signatures(scores: Sequence[Score]) -> list[str]:
    """A line for each signature: the names that have it, and whose, where systems differ in it."""
    systems = _systems(scores)
    owners: dict[str, dict[str, list[str]]] = {}
    for score in scores:
        owners.setdefault(score.signature, {}).setdefault(score.name, []).append(score.system)
    lines = []
    for signature, names in owners.items():
        whose = next(iter(names.values()))
        of = "" if len(whose) == len(systems) or ":" in next(iter(names)) else f" of {', '.join(whose)}"
        lines.append(f"{_together(list(names))}{of}: {signature}")
    return lines


def _together(names: Sequence[str]) -> str:
    """`bleu-1 bleu-2:p-bootstrap` in full, but a test's names as the test: `p-bootstrap`."""
    return " ".join(dict.fromkeys(name.partition(":")[2] or name for name in names))


def aligned(rows: Sequence[Sequence[str]]) -> str:
    """Columns under each other, the first to the left."""
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = (
        "  ".join(cell.ljust(width) if place == 0 else cell.rjust(width) for place, (cell, width) in enumerate(row))
        for row in ([(cell, width) for cell, width in zip(row, widths, strict=True)] for row in rows)
    )
    return "\n".join(line.rstrip() for line in lines)


def cell(value: object) -> str:
    return "" if value is None else " ".join(str(value).split())


def escaped(text: str) -> str:
    special = {c: f"\\{c}" for c in "&%$#_{}"} | {"\\": r"\textbackslash{}", "~": r"\textasciitilde{}", "^": r"\^{}"}
    special |= {"<": "$<$", ">": "$>$"}  # other characters in TeX's own fonts
    return "".join(special.get(c, c) for c in text)
