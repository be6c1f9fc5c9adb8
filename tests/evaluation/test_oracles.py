"""The authors' own digits: the human row of the 6K set, and three systems of DSTC-7 against five references."""

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dialogpt.evaluation import EvaluateConfig, meteor
from dialogpt.evaluation.evaluate import evaluate

KEPT = 5  # references of a context


def rows(path: Path) -> list[list[str]]:
    return [line.split("\t") for line in path.read_text(encoding="utf-8").split("\n")[1:] if line]


@pytest.fixture(scope="module")
def dstc7(shared: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[list[Path], list[Path], dict[str, Any]]:
    """Files of replies, files of references, and what the systems are to score."""
    source, folder = shared / "eval" / "dstc7-task2", tmp_path_factory.mktemp("dstc7")
    expected = json.loads((source / "expected-scores.json").read_text(encoding="utf-8"))["systems"]
    references = {name: texts[:KEPT] for name, *texts in rows(source / "dstc7-task2-gold_responses.tsv") if texts[4:]}
    replies = {(system, name): text for system, name, text in rows(source / "dstc7-task2-system_responses.tsv")}
    keys = sorted(references)

    def write(name: str, lines: Sequence[str]) -> Path:
        (folder / name).write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
        return folder / name

    hyps = [write(f"{system}.txt", [replies[system, key] for key in keys]) for system in expected]
    refs = [write(f"ref{i}.txt", [references[key][i] for key in keys]) for i in range(KEPT)]
    return hyps, refs, expected


def scored(hyps: Sequence[Path], refs: Sequence[Path], *metrics: str) -> dict[tuple[str, str], dict[str, Any]]:
    config = EvaluateConfig(hyps=tuple(hyps), refs=tuple(refs), metrics=metrics, format="json", samples=20, trials=0)
    return {(score["system"], score["name"]): score for score in json.loads(evaluate(config))}


def test_three_systems_of_dstc7(dstc7: tuple[list[Path], list[Path], dict[str, Any]]) -> None:
    hyps, refs, expected = dstc7
    made = scored(hyps, refs, "nist", "bleu", "entropy", "distinct", "length")
    for system, numbers in expected.items():
        assert numbers["n"] == len(hyps[0].read_text(encoding="utf-8").splitlines())
        for family, tolerance in (("nist", 1e-4), ("bleu", 1e-4), ("entropy", 1e-6), ("distinct", 1e-6)):
            for n, number in enumerate(numbers[family], 1):
                assert made[system, f"{family}-{n}"]["value"] == pytest.approx(number, abs=tolerance)
        assert made[system, "length"]["value"] == pytest.approx(numbers["avg_len"], abs=1e-6)
    assert "nrefs:5|" in made["TeamB", "bleu-4"]["signature"]


@pytest.mark.skipif(bool(meteor.missing()), reason=meteor.missing())
def test_meteor_of_dstc7_is_the_jars(dstc7: tuple[list[Path], list[Path], dict[str, Any]]) -> None:
    hyps, refs, expected = dstc7
    made = scored(hyps, refs, "meteor")
    for system, numbers in expected.items():
        score = made[system, "meteor"]
        assert score["value"] == pytest.approx(numbers["meteor"], abs=1e-9)
        assert score["low"] < score["value"] < score["high"]
        assert "version:1.5|lang:en|norm:yes" in score["signature"]


def test_the_published_human_row(shared: Path) -> None:
    replies = shared / "eval" / "human.ref.6k.txt"
    made = scored([replies], [replies], "entropy", "distinct", "length")
    expected = {
        "entropy-1": 6.8650, "entropy-2": 10.2133, "entropy-3": 10.9705, "entropy-4": 10.9951,
        "distinct-1": 0.145482, "distinct-2": 0.629633, "length": 13.1002,
    }  # fmt: skip
    for name, number in expected.items():
        score = made["human.ref.6k", name]
        assert score["value"] == pytest.approx(number, abs=6e-7 if "distinct" in name else 6e-5)
        assert score["low"] < score["value"] < score["high"]
    widths = {name: made["human.ref.6k", name]["high"] - made["human.ref.6k", name]["low"] for name in expected}
    assert all(np.array(list(widths.values())) > 0)
