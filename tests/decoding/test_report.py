"""The repetition report, counted by hand; and settings that do not go together."""

from pathlib import Path
from typing import Any

import pytest

from dialogpt.decoding import GenerateConfig, ReplyConfig
from dialogpt.decoding.generate import generate
from dialogpt.decoding.report import repetition
from dialogpt.errors import UsageError


def test_a_report_by_hand() -> None:
    contexts = [["hi"], ["do you like red cars"], ["what now"], ["are you sure"], ["نعم أنا هنا"]]
    hypotheses = ["Hi", "I like red cars a lot", "no no no no", "", "I  LIKE red cars a lot"]
    report = repetition(contexts, hypotheses)
    assert report.hypotheses == 5
    assert report.empty == 0.2
    assert report.repeats_itself == 0.2  # no no no, twice
    assert report.copies_context == 0.2
    assert report.overlaps_context == 0.2  # like red cars
    assert report.same_as_another == 0.4
    assert report.mean_words == (1 + 6 + 4 + 0 + 6) / 5
    assert report.distinct_1 == 8 / 17
    assert report.distinct_2 == 6 / 13
    assert report.most_frequent == (("i like red cars a lot", 2),)
    assert [line.split()[-1] for line in report.lines()[:3]] == ["5", "3.4", "20.0%"]


def test_no_hypothesis_at_all() -> None:
    assert repetition([], []).hypotheses == 0


@pytest.mark.parametrize(
    "settings, flag",
    [
        ({"num_beams": 3, "num_hypotheses": 4}, "--num-beams 3"),
        ({"num_beams": 10, "mmi": True}, "--num-beams 10"),
        ({"temperature": 0, "num_hypotheses": 2}, "--temperature 0"),
        ({"temperature": 0, "mmi": True}, "--temperature 0"),
        ({"num_hypotheses": -1}, "--num-hypotheses -1"),
    ],
    ids=str,
)
def test_settings_that_do_not_go_together(settings: dict[str, Any], flag: str) -> None:
    with pytest.raises(UsageError) as caught:
        ReplyConfig(**settings)
    assert flag in caught.value.message
    assert caught.value.hint


def test_hypotheses_are_shown_as_json_only(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="--show-hypotheses"):
        generate(GenerateConfig(contexts=tmp_path / "c", show_hypotheses=True))
