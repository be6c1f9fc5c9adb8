"""METEOR's arithmetic against the jar's own, and what happens without the jar or Java."""

import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from dialogpt.errors import DialoGPTError
from dialogpt.evaluation import meteor

# Statistics and scores that meteor-1.5.jar (pycocoevalcap 1.2) gave: `SCORE ||| references ||| reply`, then `EVAL`.
JARS = {
    "2 2 0 1 1 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1 1 1": 0.27906976744186046,  # hello friend: hello there
    "0 2 0 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0": 0.0,  # an empty reply
    "5 5 3 3 2 2 3 3 0 0 0 0 0 0 0 0 0 0 0 0 1 5 5": 1.0,  # I do not know . : the same
    "2 2 0 1 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0 0": 0.0,
    "9 7 4 3 1 1 2 2 2 2 0 0 0 0 0 0 0 0 0 0 3 5 5": 0.25263697888020764,
    "2 3 0 0 2 2 0 0 0 0 0 0 0 0 0 0 0 0 0 0 1 2 2": 0.33520678036654417,  # Доброе утро: доброе утро , друг
}
CORPUS = 0.2971488928561142


def table() -> Any:
    return np.array([row.split() for row in JARS], np.float64)


def test_the_arithmetic_is_the_jars() -> None:
    statistics = meteor.without_whole_chunks(table())
    assert meteor.scores(statistics)[:, 0] == pytest.approx(list(JARS.values()), abs=1e-12)
    assert meteor.scores(statistics.sum(axis=0)) == pytest.approx([CORPUS], abs=1e-12)


def fake_jar(monkeypatch: pytest.MonkeyPatch, answer: str, code: int = 0) -> list[str]:
    """Put a jar in place that says `answer` to whatever it is sent; returns where that is written to."""
    sent: list[str] = []

    def run(command: list[str], *, input: bytes, **settings: Any) -> Any:
        sent.append(input.decode())
        return subprocess.CompletedProcess(command, code, answer.encode(), b"Exception: no memory\n")

    monkeypatch.setattr(meteor, "_jar", lambda: Path("meteor.jar"))
    monkeypatch.setattr(subprocess, "run", run)
    return sent


@pytest.mark.parametrize(
    ("replies", "warned"),
    [(["كتاب جميل", "ok"], True), (["ספר"], True), (["βιβλίο"], True), (["Доброе утро"], False), (["été 😀 ١٢"], False),
     (["hi there يا", "..."], False), ([""], False)],
)  # fmt: skip
def test_scripts_that_the_jar_takes_apart_are_said(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture, replies: list[str], warned: bool
) -> None:
    fake_jar(monkeypatch, "".join(f"{row}\n" for row in list(JARS)[: len(replies)]))
    meteor.statistics([replies], [("x",)] * len(replies))
    assert ("compares letters, not words" in caplog.text) is warned


def test_each_segment_has_its_own_references(monkeypatch: pytest.MonkeyPatch) -> None:
    sent = fake_jar(monkeypatch, "\n".join(JARS) + "\n")
    replies = [["hi", "", "كيف ||| حالك\u2028"], ["a", "b", "😀"]]
    found = meteor.statistics(replies, [["x", "y z"], ["w"], ["v\tv"]])
    assert sent[0].split("\n") == [
        "SCORE ||| x ||| y z ||| hi", "SCORE ||| w ||| ", "SCORE ||| v v ||| كيف حالك",
        "SCORE ||| x ||| y z ||| a", "SCORE ||| w ||| b", "SCORE ||| v v ||| 😀", "",
    ]  # fmt: skip
    assert np.array_equal(np.concatenate(found), meteor.without_whole_chunks(table()))


@pytest.mark.parametrize(
    "answer, code, message",
    [
        ("", 0, "answered 0 of 1 lines"),
        ("1 2 3\n", 0, "answered 1 of 1 lines"),
        ("", 1, "ended with code 1: Exception: no memory"),
    ],
)
def test_a_jar_that_fails_is_an_error(monkeypatch: pytest.MonkeyPatch, answer: str, code: int, message: str) -> None:
    fake_jar(monkeypatch, answer, code)
    with pytest.raises(DialoGPTError, match=message):
        meteor.statistics([["hi"]], [["ho"]])


def test_java_that_does_not_start_is_an_error(monkeypatch: pytest.MonkeyPatch) -> None:
    fake_jar(monkeypatch, "")
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: (_ for _ in ()).throw(subprocess.TimeoutExpired("java", 1)))
    with pytest.raises(DialoGPTError, match=r"did not run: .*timed out"):
        meteor.statistics([["hi"]], [["ho"]])


def test_what_is_missing_is_named_with_the_way_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(meteor, "_jar", lambda: None)
    assert meteor.missing() == 'METEOR needs the package pycocoevalcap: pip install "dialogpt[meteor]"'
    monkeypatch.setattr(meteor, "_jar", lambda: Path("meteor.jar"))
    monkeypatch.setenv("PATH", "")
    assert meteor.missing().startswith("METEOR needs Java: install")
