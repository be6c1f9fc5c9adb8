"""Scores as a table, JSON, TSV and LaTeX."""

import json

import pytest

from dialogpt.evaluation import Score
from dialogpt.evaluation.report import render


def score(system: str, name: str, value: float | None, low: float | None = None, high: float | None = None) -> Score:
    metric, _, test = name.partition(":")
    signature = "not computed: no Java" if value is None else "sig-p" if test else f"sig-{metric.partition('-')[0]}"
    return Score(system=system, name=name, value=value, signature=signature, low=low, high=high)


SCORES = [
    score("human", "nist-4", 3.4999, 3.4, 3.61),
    score("human", "bleu-2", 0.179, 0.17, 0.1888),
    score("human", "meteor", None),
    score("human", "entropy-1", 6.865),
    score("ours_2", "nist-4", 2.41),
    score("ours_2", "bleu-2", 0.1054),
    score("ours_2", "meteor", 0.0753),
    score("ours_2", "entropy-1", 6.5, 6.4, 6.6),
    score("ours_2", "nist-4:p-bootstrap", 0.00099),
    score("ours_2", "nist-4:p-randomisation", 0.00001),
]


def test_the_table() -> None:
    assert render(SCORES, "table") == "\n".join([
        "           NIST-4     BLEU-2 %  METEOR %",
        "human        3.50        17.90       n/a",
        "        3.40-3.61  17.00-18.88",
        "ours_2       2.41        10.54      7.53",
        "",
        "           human            ours_2",
        "Entropy-1   6.87  6.50 (6.40-6.60)",
        "",
        "p, against human            ours_2",
        "NIST-4            0.0010 / <0.0001  bootstrap / randomisation",
        "",
        "nist-4: sig-nist",
        "bleu-2: sig-bleu",
        "meteor of human: not computed: no Java",
        "entropy-1: sig-entropy",
        "meteor of ours_2: sig-meteor",
        "p-bootstrap p-randomisation: sig-p",
    ])  # fmt: skip


@pytest.mark.parametrize("count", [2, 3])
def test_p_values_are_the_others_against_the_first(count: int) -> None:
    """Also where every metric is a column of the paper's, and published rows, which nothing tests, stand below."""
    systems = ["a", "b", "c"][:count]
    scores = [score(system, name, 0.25) for system in systems for name in ("bleu-4", "distinct-1")]
    for number, system in enumerate(systems[1:], 1):
        scores += [score(system, f"{name}:p-bootstrap", number / 10) for name in ("bleu-4", "distinct-1")]
    block = render([*scores, score("paper: 345M", "bleu-4", 0.5)], "table").split("\n\n")[1]
    header, *rows = [line.split() for line in block.splitlines()]
    values = ["0.1000", "0.2000"][: count - 1]
    assert header == ["p,", "against", "a", *systems[1:]]
    assert rows == [[metric, *values, "bootstrap"] for metric in ("BLEU-4", "Distinct-1")]


def test_json_holds_every_number_as_it_is() -> None:
    made = json.loads(render(SCORES, "json"))
    assert len(made) == len(SCORES)
    assert made[1] == {
        "system": "human", "name": "bleu-2", "value": 0.179, "signature": "sig-bleu", "low": 0.17, "high": 0.1888,
    }  # fmt: skip
    assert (made[2]["value"], made[2]["low"]) == (None, None)


def test_tsv_is_a_row_a_score() -> None:
    header, *rows = [line.split("\t") for line in render([*SCORES, score("a\tb", "length", 3.0)], "tsv").splitlines()]
    assert header == ["system", "name", "value", "low", "high", "signature"]
    assert rows[1] == ["human", "bleu-2", "0.179", "0.17", "0.1888", "sig-bleu"]
    assert rows[2][2:] == ["", "", "", "not computed: no Java"]
    assert rows[-1][0] == "a b"


def test_latex_is_the_papers_columns() -> None:
    lines = render(SCORES, "latex").splitlines()
    assert lines[:7] == [
        r"\begin{tabular}{lrrr}",
        r"\hline",
        r"System & NIST-4 & BLEU-2 \% & METEOR \% \\ \hline",
        r"human & 3.50 & 17.90 & n/a \\",
        r" & {\scriptsize 3.40--3.61} & {\scriptsize 17.00--18.88} &  \\",
        r"ours\_2 & 2.41\rlap{$^{**}$} & 10.54 & 7.53 \\",
        r"\hline",
    ]
    assert lines[7:] == [
        r"\multicolumn{4}{l}{\scriptsize $^{*}p<0.05$, $^{**}p<0.01$ against human, two-sided, paired} \\",
        r"\end{tabular}",
        "% p, against human            ours_2",
        "% NIST-4            0.0010 / <0.0001  bootstrap / randomisation",
        "% nist-4: sig-nist", "% bleu-2: sig-bleu", "% meteor of human: not computed: no Java",
        "% meteor of ours_2: sig-meteor", "% p-bootstrap p-randomisation: sig-p",
    ]  # fmt: skip


@pytest.mark.parametrize(
    "tests, mark",
    [
        ({"bootstrap": 0.001, "randomisation": 0.06}, ""),  # the exact one decides
        ({"bootstrap": 0.6, "randomisation": 0.049}, "*"),
        ({"bootstrap": 0.0099}, "**"),
        ({"jackknife": 0.01}, "*"),
        ({"ratio": 0.05}, ""),
        ({}, ""),
    ],
)
def test_latex_marks_what_differs_from_the_first(tests: dict[str, float], mark: str) -> None:
    scores = [score(system, "bleu-1", 0.5) for system in "ab"]
    lines = render([*scores, *(score("b", f"bleu-1:p-{name}", p) for name, p in tests.items())], "latex").splitlines()
    assert lines[4] == (rf"b & 50.00\rlap{{$^{{{mark}}}$}} \\" if mark else r"b & 50.00 \\")
    assert any("p<0.05" in line for line in lines) == bool(tests)


def test_latex_compiles_whatever_stands_in_it() -> None:
    first = score(r"a_b & c\d", "bleu-1", 0.5)
    scores = [first, score("e<", "bleu-1", 0.4), score("e<", "bleu-1:p-bootstrap", 0.02)]
    lines = render(scores, "latex").splitlines()
    assert lines[3:6] == [
        r"a\_b \& c\textbackslash{}d & 50.00 \\",
        r"e$<$ & 40.00\rlap{$^{*}$} \\",
        r"\hline",
    ]
    assert r" against a\_b \& c\textbackslash{}d, two-sided" in lines[6]


@pytest.mark.parametrize("form", ["table", "latex", "tsv", "json"])
def test_scores_that_are_not_the_papers(form: str) -> None:
    text = render([score("a", "bleu-1", 0.5), score("a", "length-max", 12.0)], form)  # type: ignore[arg-type]
    assert "12.0" in text
    assert ("50.00" if form in ("table", "latex") else "0.5") in text
