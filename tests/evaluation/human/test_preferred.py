"""What judges preferred -> pairs for training a ranker."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dialogpt.errors import DataError
from dialogpt.evaluation.human import JudgeReportConfig
from dialogpt.evaluation.human.report import report
from dialogpt.evaluation.human.store import Shown, Store
from dialogpt.tokens.preferences import all_pairs, read_pairs

Make = Callable[..., Store]


def judge_all(store: Store, name: str, value: Callable[[Shown], int]) -> None:
    judge = store.add_judge(name)
    while shown := store.next_item(judge):
        store.answer(judge, shown.assignment, dict.fromkeys(store.settings.criteria, value(shown)), 5.0)


def written(store: Store, folder: Path, **settings: Any) -> list[dict[str, Any]]:
    file = folder / "preferred.jsonl"
    report(JudgeReportConfig(study=store.path, preferences=file, samples=0, **settings))
    assert all_pairs([file])
    assert len(list(read_pairs(file))) == len(file.read_bytes().splitlines())
    return [json.loads(line) for line in file.read_text(encoding="utf-8").splitlines()]


def for_first(shown: Shown) -> int:
    """That the first system's reply is better, of context 3 that neither is."""
    if shown.turns == ("hi 3",):
        return 0
    return 1 if shown.replies[0].startswith("first") else -1


def test_pairs_go_by_all_judges_and_criteria(make_store: Make, tmp_path: Path) -> None:
    store = make_store(contexts=4, judges=3, check_every=0)
    for name in ("Ann", "Bo"):
        judge_all(store, name, for_first)
    judge_all(store, "Cy", lambda shown: -for_first(shown))
    found = written(store, tmp_path)
    assert sorted(found, key=lambda pair: pair["context"][0]["text"]) == [
        {"context": [{"text": f"hi {n}"}], "better": f"first {n}", "worse": f"second {n}", "id": f"t{n + 1}"}
        for n in range(3)
    ]


def test_ratings_go_by_their_means(make_store: Make, tmp_path: Path) -> None:
    store = make_store(contexts=3, kind="ratings", judges=2, check_every=0)
    judge_all(store, "Ann", lambda shown: 5 if shown.replies[0] == "second 1" else 3)
    judge_all(store, "Bo", lambda shown: 4 if shown.replies[0] in ("second 1", "first 2") else 3)
    assert sorted((pair["better"], pair["worse"]) for pair in written(store, tmp_path)) == [
        ("first 2", "second 2"), ("second 1", "first 1"),
    ]  # fmt: skip


def test_nothing_preferred_writes_nothing(make_store: Make, tmp_path: Path) -> None:
    store = make_store(contexts=2, check_every=0)
    judge_all(store, "Ann", lambda shown: 0)
    with pytest.raises(DataError, match="judges preferred no reply"):
        written(store, tmp_path)
    line = '{"judge": "Ann", "item": "1", "criterion": "relevance", "systems": ["A", "B"], "value": 1}\n'
    (tmp_path / "judged.jsonl").write_text(line)
    with pytest.raises(DataError, match=r"judged\.jsonl is not a study"):
        report(JudgeReportConfig(study=tmp_path / "judged.jsonl", preferences=tmp_path / "preferred.jsonl", samples=0))
    assert not (tmp_path / "preferred.jsonl").exists()
