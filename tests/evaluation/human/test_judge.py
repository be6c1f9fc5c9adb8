"""The `judge` command line: what it refuses, and how it goes on with a study."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dialogpt.errors import DialoGPTError
from dialogpt.evaluation.human import JudgeConfig, server, terminal
from dialogpt.evaluation.human.judge import judge
from dialogpt.evaluation.human.store import Store

Systems = tuple[Path, Path]


@pytest.fixture(autouse=True)
def _nobody_to_ask(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(terminal, "ask", lambda *_: None)
    monkeypatch.setattr(server, "serve", lambda *_: None)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"judges": 0}, "--judges 0 is below 1"),
        ({"items": -1}, "--items -1 is below 0"),
        ({"check_every": -2}, "--check-every -2 is below 0"),
        ({"check_every": 1}, "--check-every 1: every item would be a check"),
        ({"port": -1}, "--port -1 is below 0"),
        ({"port": 65_536}, "--port 65536 is above 65535"),
        ({"seed": -1}, "--seed -1 is below 0"),
        ({"items": 9}, "--items 9, but there are 5 contexts"),
        ({"criteria": ("charm", "charm")}, "--criteria charm charm: one is blank or named twice"),
        ({"criteria": (" ",)}, "one is blank"),
        ({"kind": "ratings", "against": "all"}, "--against all is for pairs"),
        ({"terminal": "Ann", "port": 9000}, "--terminal and --port together"),
        ({"terminal": "Ann", "names": ("Bo",)}, "--terminal and --names together"),
        ({"names": ("Ann", " ann")}, "--names Ann ann: a name occurs twice"),
        ({"names": ("",)}, "a name has 1 to 80 letters"),
        ({"terminal": "\t"}, "a name has 1 to 80 letters"),
        ({"hyps": ()}, "study.db does not exist"),
    ],
)
def test_settings_that_cannot_work(tmp_path: Path, systems: Systems, settings: dict[str, Any], message: str) -> None:
    with pytest.raises(DialoGPTError, match=message):
        judge(JudgeConfig(**{"study": tmp_path / "study.db", "hyps": systems, **settings}))
    assert not (tmp_path / "study.db").exists()


def test_pairs_need_two_systems_and_ratings_one(tmp_path: Path, systems: Systems) -> None:
    with pytest.raises(DialoGPTError, match="pairs need two systems"):
        judge(JudgeConfig(study=tmp_path / "study.db", hyps=systems[:1]))
    judge(JudgeConfig(study=tmp_path / "study.db", hyps=systems[:1], kind="ratings"))
    with pytest.raises(DialoGPTError, match="the same file of replies is given twice"):
        judge(JudgeConfig(study=tmp_path / "other.db", hyps=(systems[0], systems[0])))


@pytest.mark.parametrize(
    "settings, message",
    [
        ({}, ""),
        ({"hyps": "both"}, ""),
        ({"hyps": "both", "judges": 2, "criteria": ("charm",)}, ""),
        ({"judges": 2, "criteria": ("charm",), "terminal": "Ann"}, ""),
        ({"judges": 4}, r"--judges 4, but .*study.db was made with 2"),
        ({"criteria": ("wit", "charm")}, r"--criteria wit charm, but .*study.db was made with charm"),
        ({"kind": "ratings"}, r"--kind ratings, but .*study.db was made with pairs"),
        ({"hyps": "both", "seed": 5}, r"--seed 5, but .* was made with 1"),
        ({"hyps": "one and another"}, r"study.db is about ours, human, --hyps about ours, other"),
        ({"hyps": "changed"}, r"study.db was made with other replies or contexts of ours, human"),
        ({"refs": (Path("references.jsonl"),)}, r"--refs is given, but .*study.db exists already"),
    ],
)
def test_a_study_that_is_there_is_gone_on_with(
    tmp_path: Path, systems: Systems, settings: dict[str, Any], message: str
) -> None:
    study, made_with = tmp_path / "study.db", {"judges": 2, "criteria": ("charm",)}
    judge(JudgeConfig(study=study, hyps=systems, **made_with))
    other = tmp_path / "other.jsonl"
    other.write_bytes(systems[1].read_bytes())
    if settings.get("hyps") == "changed":
        systems[1].write_text(systems[1].read_text(encoding="utf-8").replace("first", "last"))
    hyps = {"both": systems, "changed": systems, "one and another": (systems[0], other), None: ()}[settings.get("hyps")]
    again = JudgeConfig(**{"study": study, **(made_with if hyps else {}), **settings, "hyps": hyps})
    if message:
        with pytest.raises(DialoGPTError, match=message):
            judge(again)
    else:
        assert judge(again).endswith(f"who wins: dialogpt judge report {study}")
    with Store.open(study) as store:
        assert (store.settings.judges, store.settings.criteria, len(store.items)) == (2, ("charm",), 4)


def test_errors_are_two_lines(tmp_path: Path, systems: Systems, run_judge: Callable[..., tuple[int, str]]) -> None:
    text = tmp_path / "notes.txt"
    text.write_text("no study at all\n" * 20)
    for arguments, code, error in (
        ((text,), 1, f"error: {text} is not a study"),
        ((tmp_path / "s.db", "--hyps", *systems, "--judges", "0"), 2, "error: --judges 0 is below 1"),
        ((tmp_path / "s.db", "--hyps", systems[0], tmp_path / "gone"), 1, f"error: {tmp_path / 'gone'} does not exist"),
    ):
        found, err = run_judge(*arguments)
        assert (found, err.splitlines()[0][: len(error)]) == (code, error)
        assert err.splitlines()[1].startswith("hint: ")
        assert len(err.splitlines()) == 2


def test_without_the_extra_it_says_what_to_install(
    tmp_path: Path, systems: Systems, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(DialoGPTError, match=r"the page needs uvicorn.*pip install \"dialogpt\[server\]\""):
        judge(JudgeConfig(study=tmp_path / "study.db", hyps=systems))
    assert not (tmp_path / "study.db").exists()
    judge(JudgeConfig(study=tmp_path / "study.db", hyps=systems, terminal="Ann"))  # needs none of it
