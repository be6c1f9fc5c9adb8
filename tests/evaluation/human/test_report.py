"""The `judge report` command: from files to the paper's form, and DSTC-7's published means."""

import json
import logging
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dialogpt.errors import DataError, DialoGPTError, UsageError
from dialogpt.evaluation.human import JudgeReportConfig
from dialogpt.evaluation.human.comparison import system_values, with_all
from dialogpt.evaluation.human.judgements import read_judgements
from dialogpt.evaluation.human.report import report
from dialogpt.evaluation.human.tally import tally


def judgement(judge: str, item: int, value: int, **more: Any) -> str:
    made = {"judge": judge, "item": str(item), "criterion": "relevance", "systems": ["نظام_1", "Human"], "value": value}
    return json.dumps({**made, **more}, ensure_ascii=False) + "\n"


VALUES = [1, 1, 0, 1, -1, 1, 1, 0, 1, 1, -1, 1]


@pytest.fixture
def pairs(tmp_path: Path) -> Path:
    """Two careful judges of a pair by two criteria, and one who failed the checks."""
    path = tmp_path / "pairs.jsonl"
    lines = [
        judgement(judge, item, value, criterion=criterion, seconds=9.0)
        for judge in ("Ann", "Bo")
        for criterion in ("relevance", "人間らしさ")
        for item, value in enumerate(VALUES)
    ]
    lines += [judgement("Cat", item, -1, swapped=bool(item % 2)) for item in range(12)]
    lines += [judgement("Cat", item, -1, passed=False) for item in range(3)]
    path.write_text("".join(lines), encoding="utf-8")
    return path


@pytest.fixture
def ratings(tmp_path: Path) -> Path:
    path = tmp_path / "ratings.tsv"
    rows = [
        f"j{n}\ti{item}\t{system}\t{min(5, 1 + (item + n) % 3 + better)}\t{1 + (item * n) % 5}"
        for system, better in (("low", 0), ("high", 2), ("mid_$1", 1))
        for item in range(10)
        for n in range(2)
    ]
    path.write_text("\n".join(["JudgeID\tInstanceID\tSystemID\tRelevance\tTaste", *rows]), encoding="utf-8")
    return path


def made(study: Path, **settings: Any) -> str:
    return report(JudgeReportConfig(study=study, **{"samples": 100, **settings}))


def findings(study: Path, **settings: Any) -> list[dict[str, Any]]:
    return list(json.loads(made(study, format="json", **settings)))


def test_the_table_of_pairs(pairs: Path, caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING):
        lines = made(pairs).splitlines()
    assert caplog.messages == ["left out, as they failed their attention checks: Cat"]
    assert " ".join(lines[0].split()) == "relevance wins ties wins for the first, % p: items judgements"
    assert lines[1].split()[:8] == ["نظام_1", "16", "(67%)", "4", "(17%)", "4", "(17%)", "Human"]
    assert lines[1].split()[8] == "75.0"
    assert lines[1].split()[-2:] == ["0.1094", "0.0118*"]
    assert lines[3].startswith("人間らしさ")
    assert any(line.startswith("agreement") for line in lines)
    flag = next(line for line in lines if line.startswith("Cat"))
    assert " ".join(flag.split()) == "Cat 12 no failed 3 of 3 attention checks"
    assert "all: judges:2|items:12|judgements:48|judges-left-out:1|version:dialogpt-" in made(pairs)
    assert max(map(len, lines[: lines.index(flag)])) <= 100


def test_flagged_judges_can_be_kept(pairs: Path) -> None:
    lines = made(pairs, keep_flagged=True).splitlines()
    assert lines[1].split()[1:6:2] == ["16", "4", "16"]
    assert next(line for line in lines if line.startswith("Cat")).split()[2] == "yes"


def test_json_is_a_finding_a_number(pairs: Path) -> None:
    every = findings(pairs)
    fields = ["name", "systems", "criterion", "value", "low", "high", "p", "p_holm", "n", "signature"]
    assert all(list(each) == fields for each in every)
    (wins,) = (each for each in every if each["name"] == "wins" and each["criterion"] == "relevance")
    assert (wins["systems"], wins["value"], wins["n"]) == (["نظام_1", "Human"], 16, 24)
    assert {"preference", "sign-test-items", "alpha-ordinal", "kappa-fleiss", "flagged:Cat"} <= {
        e["name"] for e in every
    }
    assert all("version:dialogpt-" in each["signature"] for each in every)


def test_the_table_of_ratings(ratings: Path) -> None:
    lines = made(ratings, samples=1000).splitlines()
    assert lines[0].split() == ["relevance", "taste", "all", "criteria", "rank"]
    assert [line.split()[0] for line in lines[1:4]] == ["high", "mid_$1", "low"]
    assert lines[5].split()[0] == "neighbours"
    assert lines[6].startswith("high - mid_$1")
    assert [lines[at].split()[-2].endswith("*") for at in (6, 7)] == [True, True]


def test_many_criteria_stand_below_each_other(tmp_path: Path) -> None:
    names = [f"criterion-number-{n}" for n in range(9)]
    rows = [f"j\ti{item}\t{system}" + "\t3" * 8 + f"\t{1 + item}" for item in range(4) for system in "AB"]
    path = tmp_path / "many.tsv"
    path.write_text("\n".join(["\t".join(["JudgeID", "InstanceID", "SystemID", *names]), *rows]), encoding="utf-8")
    lines = made(path).splitlines()
    shown = [line for line in lines if line.strip().startswith("criterion-") and "alpha" not in line]
    assert max(map(len, lines[:14])) <= 100
    assert " ".join(shown).count("criterion-number-") >= 9


def test_tsv_and_latex(pairs: Path, ratings: Path) -> None:
    header, *rows = [line.split("\t") for line in made(pairs, format="tsv").splitlines()]
    assert len(rows) == len(findings(pairs))
    assert all(len(row) == len(header) == 10 for row in rows)
    assert rows[0][:4] == ["wins", "نظام_1 | Human", "relevance", "16.0"]
    latex = made(ratings, format="latex")
    assert r"mid\_\$1 & " in latex
    assert latex.count(r"\begin{tabular}") == latex.count(r"\end{tabular}") == 3
    assert latex.splitlines()[-1].startswith("% ")


def test_the_same_seed_gives_the_same_report(pairs: Path) -> None:
    assert made(pairs) == made(pairs)
    assert made(pairs, seed=2) != made(pairs)


BAD: dict[str, tuple[dict[str, Any], type[DialoGPTError], str]] = {
    "no references": ({"hyps": (Path("x"),)}, UsageError, "--hyps without --refs"),
    "no replies": ({"refs": (Path("x"),)}, UsageError, "--refs without --hyps"),
    "metrics alone": ({"metrics": ("bleu",)}, UsageError, "--metrics without --hyps"),
    "samples": ({"samples": -1}, UsageError, "--samples -1 is below 0"),
    "plot's ending": ({"plot": Path("x.gif")}, UsageError, "the ending does not say which format"),
    "plot's folder": ({"plot": Path("no/such/x.png")}, UsageError, "there is no folder"),
    "no file": ({"study": Path("no-such-study")}, DataError, "does not exist"),
}  # fmt: skip


@pytest.mark.parametrize("kind", BAD)
def test_bad_settings_are_one_clear_error(pairs: Path, kind: str) -> None:
    settings, error, message = BAD[kind]
    with pytest.raises(error, match=message) as raised:
        made(**{"study": pairs, **settings})
    assert raised.value.hint


def test_all_judges_failed(tmp_path: Path) -> None:
    path = tmp_path / "failed.jsonl"
    path.write_text(
        judgement("Cat", 1, 1) + judgement("Cat", 2, 1, passed=False) + judgement("Cat", 3, 0, passed=False)
    )
    with pytest.raises(DataError, match="all judges failed") as raised:
        made(path)
    assert "--keep-flagged" in raised.value.hint
    assert "flagged:Cat" in made(path, keep_flagged=True, format="json")


@pytest.mark.parametrize("ending", ["png", "svg", "pdf"])
@pytest.mark.parametrize("kind", ["pairs", "ratings"])
def test_plots(request: pytest.FixtureRequest, tmp_path: Path, kind: str, ending: str) -> None:
    pytest.importorskip("matplotlib")
    path = tmp_path / f"plot.{ending}"
    made(request.getfixturevalue(kind), plot=path)
    assert path.stat().st_size > 3000
    assert [each.name for each in tmp_path.iterdir() if "partial" in each.name] == []


def test_plots_without_matplotlib(pairs: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(UsageError) as raised:
        made(pairs, plot=Path("x.png"))
    assert raised.value.hint == 'pip install "dialogpt[plots]"'


def test_the_command(pairs: Path) -> None:
    command = [sys.executable, "-m", "dialogpt", "judge", "report", str(pairs), "--samples", "0"]
    done = subprocess.run(command, capture_output=True, check=False, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "نظام_1" in done.stdout.decode()


def test_the_published_means_of_dstc7(shared: Path, tmp_path: Path) -> None:
    """The published means are of all ratings of a reply, both criteria; its TeamCE is TeamCE and TeamEC, six judges."""
    folder = shared / "eval" / "dstc7-task2"
    text = (folder / "dstc7-task2-human-eval-per-judge.tsv").read_text(encoding="utf-8")
    merged = tmp_path / "merged.tsv"
    merged.write_text(text.replace("\tTeamEC\t", "\tTeamCE\t"), encoding="utf-8")
    counts = tally(read_judgements(merged))
    lines = (folder / "dstc7-task2-human_evaluation.tsv").read_text(encoding="utf-8-sig").splitlines()
    header, *rows, average = [line.split("\t") for line in lines]
    assert (len(rows), average[0]) == (1000, "Average")
    order = [counts.systems.index(name) for name in header[1:]]
    found = with_all(system_values(counts, counts.counts))[:, order, -1]
    for row, item in zip(rows, found[[counts.items.index(row[0]) for row in rows]], strict=True):
        assert [f"{value:.2f}" for value in item] == row[1:]
    means = {
        each["systems"][0]: each for each in findings(merged) if each["name"] == "mean" and each["criterion"] == "all"
    }
    assert [f"{means[name]['value']:.2f}" for name in header[1:]] == average[1:]
    printed = np.array([[float(cell) for cell in row[1:]] for row in rows]).mean(axis=0)
    assert [means[name]["value"] for name in header[1:]] == pytest.approx(printed, abs=1e-3)
    assert means["TeamCE"]["n"] == 12_000


def test_dstc7_by_system_and_metric(shared: Path, caplog: pytest.LogCaptureFixture) -> None:
    folder = shared / "eval" / "dstc7-task2"
    with caplog.at_level(logging.WARNING):
        every = findings(
            folder / "dstc7-task2-human-eval-per-judge.tsv",
            hyps=(folder / "dstc7-task2-system_responses.tsv",),
            refs=(folder / "dstc7-task2-gold_responses.tsv",),
            metrics=("bleu-4", "nist-4", "length"),
        )
    assert "108 repeated judgements by the same judge, which count, but not in the agreement" in caplog.text
    assert "46 segments without a reference, left out" in caplog.text
    assert "Human: 893 of 954 replies are among their references" in caplog.text
    found = {each["name"]: each for each in every if each["criterion"] == "all"}
    assert (found["bleu-4:system-pearson"]["n"], found["length:segment-pearson"]["n"]) == (9, 9 * 954)
    assert found["bleu-4:system-pearson"]["value"] == pytest.approx(0.62, abs=0.01)
    assert found["nist-4:system-pearson"]["value"] == pytest.approx(0.54, abs=0.01)
    assert found["bleu-4:segment-pearson"]["value"] == pytest.approx(0.11, abs=0.01)
    ranks = {
        each["systems"][0]: each["value"] for each in every if each["name"] == "rank" and each["criterion"] == "all"
    }
    assert sorted(ranks, key=lambda name: ranks[name])[:3] == ["Human", "TeamCE", "TeamB"]
