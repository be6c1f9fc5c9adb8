"""Telling the human response from others: ranks by brute force, chance, distractors, and the command."""

import json
from itertools import pairwise, permutations
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialogpt.decoding import Hypothesis
from dialogpt.errors import DataError, DialoGPTError, UsageError
from dialogpt.evaluation import SelectConfig, selection
from dialogpt.evaluation.distractors import draw, nearest
from dialogpt.evaluation.selection import Choice, hits, ranked, select
from dialogpt.session import EvalItem, Turn

THEMES = ["rain", "bread", "chess", "trains", "مطر", "снег", "寿司", "music", "tennis", "cheese", "moths", "glue"]


def written(folder: Path, count: int = 40) -> Path:
    """Contexts and responses about some theme, the responses with its word."""
    path = folder / "references.jsonl"
    items = [
        EvalItem(
            (Turn("hello"), Turn(f"tell me of {THEMES[n % 12]} number {n}")), str(n), (f"{THEMES[n % 12]} is fine {n}",)
        )
        for n in range(count)
    ]
    path.write_text("".join(json.dumps(_plain(item), ensure_ascii=False) + "\n" for item in items), encoding="utf-8")
    return path


def _plain(item: EvalItem) -> dict[str, Any]:
    return {"id": item.id, "context": [turn.text for turn in item.context], "references": list(item.references)}


@given(st.lists(st.lists(st.integers(0, 3), min_size=4, max_size=4), min_size=1, max_size=5))
def test_hits_are_the_mean_over_all_orders_of_equal_scores(rows: list[list[int]]) -> None:
    found = dict(zip(*(lambda measure: (measure.names, measure.values))(hits(np.array(rows, float), "")), strict=True))
    ranks = []
    for row in rows:
        orders = [order for order in permutations(range(4)) if all(row[a] >= row[b] for a, b in pairwise(order))]
        ranks.append([1 + order.index(0) for order in orders])
    for k in (1, 2):
        assert found[f"hits-{k}"] == pytest.approx(np.mean([np.mean(np.array(r) <= k) for r in ranks]))
    assert found["mrr"] == pytest.approx(np.mean([np.mean(1 / np.array(r)) for r in ranks]))
    assert found["pairwise"] == pytest.approx(np.mean([np.mean((4 - np.array(r)) / 3) for r in ranks]))


def test_a_ranker_that_likes_all_the_same_is_at_chance() -> None:
    measure = hits(np.zeros((7, 10)), "chance")
    assert dict(zip(measure.names, measure.values, strict=True)) == pytest.approx(
        {"hits-1": 0.1, "hits-2": 0.2, "hits-5": 0.5, "mrr": sum(1 / n for n in range(1, 11)) / 10, "pairwise": 0.5}
    )


def test_any_ranker_can_be_asked() -> None:
    class Shortest:
        name = "shortest"

        def __call__(self, context: Any, hypotheses: list[Hypothesis]) -> list[float]:
            return [-len(hypothesis.text) for hypothesis in hypotheses]

    choices = [Choice((Turn("hi"),), ("ok", "fine", "yes")), Choice((Turn("hi"),), ("a long one", "b", "c"))]
    assert ranked(choices, Shortest()).tolist() == [[-2, -4, -3], [-10, -1, -1]]


def contexts_and_references() -> tuple[list[tuple[Turn, ...]], list[tuple[str, ...]]]:
    contexts = [(Turn("how do you like it?" if n % 4 == 0 else f"what of {THEMES[n % 12]}?"),) for n in range(48)]
    return contexts, [(f"{THEMES[n % 12]} {n // 12}", f"more {n}") for n in range(48)]


def test_distractors_are_no_responses_to_the_same() -> None:
    contexts, references = contexts_and_references()
    found = draw(contexts, references, np.arange(48), 6, np.random.default_rng(3))
    assert found == draw(contexts, references, np.arange(48), 6, np.random.default_rng(3))
    assert found != draw(contexts, references, np.arange(48), 6, np.random.default_rng(4))
    for place, distractors in enumerate(found):
        assert len({text.casefold() for text in distractors}) == 6
        siblings = {references[n][0] for n in range(48) if contexts[n] == contexts[place]}
        assert siblings.isdisjoint(distractors)


def test_the_nearest_have_the_contexts_words() -> None:
    contexts = [(Turn("hi"), Turn(f"tell me of {theme}")) for theme in THEMES for _ in range(3)]
    contexts = [(*context[:-1], Turn(f"{context[-1].text} {n}")) for n, context in enumerate(contexts)]
    references = [(f"{THEMES[n // 3]} is good, said number {100 + n}",) for n in range(36)]
    found = nearest(contexts, references, np.array([0, 13, 20]), 3)
    for place, distractors in zip([0, 13, 20], found, strict=True):
        same = [references[n][0] for n in range(place // 3 * 3, place // 3 * 3 + 3) if n != place]
        assert set(same) < set(distractors)
        assert references[place][0] not in distractors


@pytest.mark.parametrize("adversarial", [False, True])
def test_too_few_to_draw_from(adversarial: bool) -> None:
    contexts, references = [(Turn("a"),), (Turn("b"),), (Turn("c"),)], [("yes",), ("Yes",), ("no",)]
    place = np.array([0])

    def choose(contexts: Any, distractors: int) -> Any:
        if adversarial:
            return nearest(contexts, references, place, distractors)
        return draw(contexts, references, place, distractors, np.random.default_rng(1))

    assert choose(contexts, 1) == [["no"]]
    with pytest.raises(UsageError, match="2 is too many for 2 different responses"):
        choose(contexts, 2)
    with pytest.raises(UsageError, match="context 1 has fewer than 1 distractors"):
        choose([(Turn("a"),)] * 3, 1)


def test_the_command(tmp_path: Path, tiny_checkpoint: Path) -> None:
    path = written(tmp_path)
    settings: dict[str, Any] = {"samples": 100, "trials": 50, "distractors": 3, "format": "json", "device": "cpu"}
    model = str(tiny_checkpoint)
    config = SelectConfig(refs=(path,), models=(model,), backward=(model,), **settings)
    found = {(score["system"], score["name"]): score for score in json.loads(select(config))}
    systems = [f"{model} {ranker}" for ranker in ("forward", "forward, mean", "backward", "both")]
    assert [system for system, name in found if name == "hits-1"] == systems
    for (_, name), score in found.items():
        assert 0 <= score["value"] <= 1
        assert "contexts:40|version:dialogpt-" in score["signature"]
        if ":" not in name:
            assert "distractors:3 random|choice-seed:1|chance:0.2500" in score["signature"]
            assert score["low"] <= score["value"] <= score["high"]
    assert json.loads(select(config)) == list(found.values())
    alone = SelectConfig(refs=(path,), models=(model,), items=10, adversarial=True, **settings | {"format": "table"})
    text = select(alone)  # no companion: forward alone
    assert "backward" not in text
    assert "contexts:10" in text


def test_rankers_stand_beside_the_models(tmp_path: Path, tiny_checkpoint: Path, tiny_ranker: Path) -> None:
    config = SelectConfig(
        refs=(written(tmp_path, 12),), models=(str(tiny_checkpoint),), rankers=(str(tiny_ranker),), distractors=3,
        samples=0, trials=0, device="cpu", precision="fp32", format="json",
    )  # fmt: skip
    found = {score["system"]: score["value"] for score in json.loads(select(config)) if score["name"] == "mrr"}
    assert [*found] == [f"{tiny_checkpoint} forward", f"{tiny_checkpoint} forward, mean", str(tiny_ranker)]
    assert 0.25 <= found[str(tiny_ranker)] < 1


def test_the_human_response_is_the_one_set_apart(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    items: list[dict[str, Any]] = [
        {"context": [f"so {n}"], "references": [f"voted {n}", f"other {n}"], "human": f"said {n}"} for n in "abc"
    ]
    items.append({"context": ["so d"], "references": ["voted d"], "human": None})
    items.append({"context": ["so e"], "references": [" ", "voted e"]})
    (tmp_path / "refs.jsonl").write_text("".join(json.dumps(item) + "\n" for item in items))
    seen: list[Choice] = []

    def ranked_by(model: str, backward: str | None, choices: list[Choice], config: SelectConfig) -> dict[str, Any]:
        seen.extend(choices)
        return {model: np.zeros((len(choices), 1 + config.distractors))}

    monkeypatch.setattr(selection, "_ranked_by", ranked_by)
    select(SelectConfig(refs=(tmp_path / "refs.jsonl",), distractors=4))
    responses = ["said a", "said b", "said c", "voted d", "voted e"]
    assert [choice.responses[0] for choice in seen] == responses
    assert all(set(choice.responses) == set(responses) for choice in seen)  # so are the distractors


def test_the_bundled_model_knows_its_place(tmp_path: Path) -> None:
    """On dialogues that it was never trained on, the true answer is told from nine others far above chance."""
    folder = Path(__file__).parents[2] / "recipes" / "bundled" / "references"
    items = map(json.loads, (folder / "references.jsonl").read_text(encoding="utf-8").splitlines())
    answers = (folder / "human.txt").read_text(encoding="utf-8").splitlines()
    path = tmp_path / "sessions.jsonl"
    with path.open("w", encoding="utf-8") as file:
        for item, answer in zip(items, answers, strict=True):
            file.write(json.dumps({"turns": [{"text": text} for text in (*item["context"], answer)]}) + "\n")
        file.write('{"turns": [{"text": "alone"}]}\n')
    config = SelectConfig(refs=(path,), format="json", samples=0, trials=0, device="cpu")
    found = {(score["system"], score["name"]): score["value"] for score in json.loads(select(config))}
    for ranker, least in (("forward, mean", 0.3), ("backward", 0.55), ("both", 0.35)):
        assert found[f"bundled {ranker}", "hits-1"] >= least
        assert found[f"bundled {ranker}", "pairwise"] >= 0.7


@pytest.mark.parametrize(
    "changes, message, hint",
    [
        ({"refs": ()}, "no references given", "dialogpt select"),
        ({"distractors": 0}, "--distractors 0 is below 1", "1 or more"),
        ({"items": -1}, "--items -1 is below 0", "0 or more"),
        ({"distractors": 40}, "--distractors 40 is too many for 40 different responses", "fewer"),
        ({"backward": ("a", "b")}, "2 backward models for 1 models", "one for each"),
        ({"rankers": ("a", "a")}, "the same model is given twice", "once"),
        ({"models": ("a", "a")}, "the same model is given twice", "once"),
        ({"models": ("nowhere",)}, "'nowhere' is not a folder here", ""),
    ],
)
def test_what_cannot_be_asked(tmp_path: Path, changes: dict[str, Any], message: str, hint: str) -> None:
    with pytest.raises(DialoGPTError) as caught:
        select(SelectConfig(**{"refs": (written(tmp_path),), **changes}))
    assert message in caught.value.message
    assert hint in caught.value.hint


def test_a_setting_of_backward_models_where_there_is_none(tmp_path: Path, tiny_checkpoint: Path) -> None:
    with pytest.raises(UsageError, match="--mmi-source is for backward models"):
        select(SelectConfig(refs=(written(tmp_path),), models=(str(tiny_checkpoint),), mmi_source="all"))


def test_references_without_contexts(tmp_path: Path) -> None:
    (tmp_path / "refs.txt").write_text("yes\nno\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"refs.txt:1: no context"):
        select(SelectConfig(refs=(tmp_path / "refs.txt",)))
