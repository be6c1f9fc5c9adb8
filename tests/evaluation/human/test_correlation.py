"""Metrics against judges: matched by id and name, by system and by segment, and what is undefined stays so."""

import json
import logging
from collections import Counter
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dialogpt.errors import DataError, UsageError
from dialogpt.evaluation.human import Judgement, JudgeReportConfig
from dialogpt.evaluation.human.correlation import Correlations, correlate
from dialogpt.evaluation.human.findings import Basis, Finding
from dialogpt.evaluation.human.judgements import judged
from dialogpt.evaluation.human.segments import of_units
from dialogpt.evaluation.human.statistics import pearson, spearman
from dialogpt.evaluation.human.tally import Tally, tally

ITEMS = [f"ت{n}" for n in range(8)]
WORDS = list("abcdefgh")
# Longer replies are liked better, by item and by system.
LENGTHS = {"A": [1, 2, 1, 2, 1, 2, 1, 2], "B": [3, 3, 2, 4, 3, 3, 4, 2], "C": [5, 4, 5, 4, 3, 5, 5, 5]}


def rated(lengths: dict[str, list[int]] = LENGTHS) -> Tally:
    rows = [
        Judgement(judge="j", item=item, criterion="liking", systems=(system,), value=min(5, count))
        for system, counts in lengths.items()
        for item, count in zip(ITEMS, counts, strict=True)
    ]
    return tally(judged(Path("study"), [("", each) for each in rows], Counter()))


def compared(systems: str = "ABC") -> Tally:
    rows = [
        Judgement(judge="j", item=item, criterion="liking", systems=(one, other), value=int(np.sign(x - y)))
        for at, one in enumerate(systems)
        for other in systems[at + 1 :]
        for item, x, y in zip(ITEMS, LENGTHS[one], LENGTHS[other], strict=True)
    ]
    return tally(judged(Path("study"), [("", each) for each in rows], Counter()))


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Each system's replies, the same in one TSV in another order, and references."""
    paths = {}
    table = ["SystemID\tInstanceID\tResponse"]
    for system, counts in LENGTHS.items():
        paths[system] = tmp_path / f"{system}.jsonl"
        replies = [" ".join(WORDS[:count]) for count in counts]
        rows = [{"id": item, "hypothesis": reply} for item, reply in zip(ITEMS, replies, strict=True)]
        paths[system].write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
        table += [f"{system}\t{item}\t{reply}" for item, reply in zip(ITEMS[::-1], replies[::-1], strict=True)]
    paths["table"], paths["refs"] = tmp_path / "systems.tsv", tmp_path / "refs.tsv"
    paths["table"].write_text("\n".join(table), encoding="utf-8")
    paths["refs"].write_text("id\tref\n" + "".join(f"{item}\ta x c y\n" for item in ITEMS), encoding="utf-8")
    return paths


def run(counts: Tally, files: dict[str, Path], hyps: str = "ABC", **settings: Any) -> Correlations:
    chosen = tuple(files[name] for name in ([hyps] if hyps == "table" else hyps))
    config = JudgeReportConfig(
        study=Path("study"), hyps=chosen, refs=(files["refs"],), **{"metrics": ("length", "bleu-1"), **settings}
    )
    return correlate(counts, config, Basis(settings.get("samples", 100), 1, "version:x"))


def named(made: Correlations) -> dict[str, Finding]:
    return {each.name: each for each in made.findings}


@pytest.mark.parametrize("hyps", ["ABC", "table", "CAB"])
def test_by_system_and_by_segment(files: dict[str, Path], hyps: str) -> None:
    made = run(rated(), files, hyps)
    assert made.systems == ("A", "B", "C")
    assert made.metrics["length"].tolist() == [1.5, 3, 4.5]
    found = named(made)
    assert found["length:system-pearson"].value == pytest.approx(1)
    assert found["length:system-kendall"].value == 1
    assert found["length:system-spearman"].n == 3
    segment = found["length:segment-pearson"]
    assert (segment.value, segment.low, segment.high, segment.n) == pytest.approx((1, 1, 1, 24))
    assert "over replies|tok:blanks|bs:100|seed:1|resampled:items|systems:3|segments:8" in segment.signature
    bleu = found["bleu-1:system-pearson"]
    low, value, high = (float(each or "nan") for each in (bleu.low, bleu.value, bleu.high))
    assert low <= value <= high


def test_segment_correlation_is_that_of_the_points(files: dict[str, Path]) -> None:
    counts = rated({**LENGTHS, "C": [1, 2, 3, 4, 5, 1, 2, 3]})
    found = named(run(counts, files))
    x = np.array([count for counts in LENGTHS.values() for count in counts], np.float64)
    y = np.array([*LENGTHS["A"], *LENGTHS["B"], 1, 2, 3, 4, 5, 1, 2, 3], np.float64)
    for name, plain in (("pearson", pearson), ("spearman", spearman)):
        segment = found[f"length:segment-{name}"]
        assert segment.value == pytest.approx(float(plain(x, y)))
        rng = np.random.default_rng(5)
        drawn = [rng.integers(0, 8, 8) for _ in range(400)]
        samples = [float(plain(x.reshape(3, 8)[:, at].reshape(-1), y.reshape(3, 8)[:, at].reshape(-1))) for at in drawn]
        assert [segment.low, segment.high] == pytest.approx(np.quantile(samples, [0.025, 0.975]), abs=0.12)


def test_pairs_are_compared_by_shares_and_differences(files: dict[str, Path]) -> None:
    made = run(compared(), files)
    assert made.human[0] < 0.1
    assert made.human.sum() == pytest.approx(1.5)  # what one wins another loses
    found = named(made)
    assert found["length:system-kendall"].value == 1
    assert found["length:segment-spearman"].n == 24
    points = [
        (x - y, np.sign(x - y)) for a, b in ("AB", "AC", "BC") for x, y in zip(LENGTHS[a], LENGTHS[b], strict=True)
    ]
    expected = float(spearman(*np.array(points, np.float64).T))
    assert found["length:segment-spearman"].value == pytest.approx(expected)
    assert "over differences of replies" in found["length:segment-pearson"].signature


def test_units_of_pairs_are_differences() -> None:
    scores = np.array([[1.0, 10.0, 100.0]])
    assert of_units([("A", "C"), ("B", "A")], ("A", "B", "C"), scores).tolist() == [[-99, 9]]
    assert of_units([("C",), ("A",)], ("A", "B", "C"), scores).tolist() == [[100, 1]]


def test_what_has_no_meaning_has_no_value(files: dict[str, Path]) -> None:
    two = named(run(compared("AB"), files, "AB"))
    assert two["length:system-pearson"].value is None
    assert "undefined:fewer than 3 systems" in two["length:system-pearson"].signature
    assert two["length:segment-pearson"].n == 8
    same = run(rated(dict.fromkeys("ABC", [2] * 8)), files)
    assert {each.value for each in same.findings} == {None}
    assert {each.low for each in same.findings} == {None}
    assert all("undefined:constant" in each.signature for each in same.findings)


def test_metrics_without_segments_have_correlations_of_systems_alone(files: dict[str, Path]) -> None:
    found = named(run(rated(), files, metrics=("distinct-1", "length-max")))
    assert set(found) == {
        f"{m}:system-{c}" for m in ("distinct-1", "length-max") for c in ("pearson", "spearman", "kendall")
    }
    assert found["distinct-1:system-pearson"].low is not None
    assert "interval:jackknife" in found["distinct-1:system-pearson"].signature
    assert found["distinct-1:system-spearman"].low is None
    assert found["length-max:system-pearson"].low is None


def test_a_system_whose_replies_are_the_references_is_left_out(
    files: dict[str, Path], caplog: pytest.LogCaptureFixture
) -> None:
    replies = [" ".join(WORDS[:count]) for count in LENGTHS["A"]]
    rows = [f"{item}\tno\t{reply.upper()} !\n" for item, reply in zip(ITEMS, replies, strict=True)]
    files["refs"].write_text("id\tref\n" + "".join(rows), encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        made = run(rated(), files)
    assert made.systems == ("B", "C")
    assert "A: 8 of 8 replies are among their references" in caplog.text
    assert "references-are-replies-of:A, left out" in made.findings[0].signature
    shares = run(compared(), files)  # still judged against A
    assert shares.human.sum() > 1
    with pytest.raises(DataError, match="most replies of A are among their references"):
        run(rated(), files, "AB")


def test_what_does_not_match_is_left_out_and_counted(files: dict[str, Path], caplog: pytest.LogCaptureFixture) -> None:
    text = files["table"].read_text(encoding="utf-8").replace("C\t", "D\t").replace(f"B\t{ITEMS[3]}\t", "B\tother\t")
    files["table"].write_text(text, encoding="utf-8")
    with caplog.at_level(logging.WARNING):
        made = run(rated(), files, "table")
    assert made.systems == ("A", "B")
    assert [record.message for record in caplog.records] == [
        "1 segments without a reply of every system, left out",
        "1 replies to what the references do not name, left out",
        "1 judged systems without replies, left out of the correlations: C",
        "1 systems that nobody judged, left out of the correlations: D",
        "1 judged items without references and replies, left out of the correlations",
    ]


@pytest.mark.parametrize(
    "change, error, message",
    [
        ({"hyps": "A"}, DataError, "the judged systems are A, B, C; replies are of A"),
        ({"metrics": ("blue",)}, UsageError, "no metric 'blue'"),
        ({"metrics": ("copy",)}, UsageError, "'copy' needs training data"),
        ({"ids": True}, DataError, "no judged item, such as 'ت0', is among the references, such as 'x0'"),
    ],
)
def test_errors(files: dict[str, Path], change: dict[str, Any], error: type[Exception], message: str) -> None:
    if change.pop("ids", False):
        for path in files.values():
            path.write_text(
                path.read_text(encoding="utf-8").replace("ت", "x").replace("\\u062a", "x"), encoding="utf-8"
            )
    with pytest.raises(error, match=message):
        run(rated(), files, **change)
