"""Replies -> what judges are asked: contexts, pairs, draws; and everything that can be wrong with the replies."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dialogpt.errors import DataError
from dialogpt.evaluation.human import PAIR_CRITERIA, RATING_CRITERIA, JudgeConfig
from dialogpt.evaluation.human.study import Study, make_study, questions
from dialogpt.evaluation.inputs import read_replies

Make = Callable[..., Study]


@pytest.fixture
def make(tmp_path: Path) -> Make:
    """Write files named by keyword, `hyp...` replies and `ref...` references, and make a study of them."""

    def study(settings: dict[str, Any] | None = None, **files: str) -> Study:
        paths = [tmp_path / name.replace("_", ".") for name in files]
        for path, content in zip(paths, files.values(), strict=True):
            path.write_text(content, encoding="utf-8")
        hyps, refs = (tuple(path for path in paths if path.name.startswith(kind)) for kind in ("hyp", "ref"))
        config = JudgeConfig(study=tmp_path / "s.db", hyps=hyps, refs=refs, **(settings or {}))
        return make_study(config, read_replies(hyps, refs))

    return study


def told(*replies: str, ids: bool = False, contexts: list[list[str]] | None = None) -> str:
    """Lines of replies that tell their contexts."""
    lines = [
        {"context": contexts[place] if contexts else [f"hi {place}"], "hypothesis": reply}
        | ({"id": f"k{place}"} if ids else {})
        for place, reply in enumerate(replies)
    ]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def asked(study: Study) -> list[tuple[str, tuple[str, ...], tuple[str, ...]]]:
    return [(item.context, item.systems, item.replies) for item in study.items]


REFERENCES = json.dumps({"context": ["hi 0"], "references": ["x"]}) + "\n"


@pytest.mark.parametrize(
    "files, turns",
    [
        ({"hypA_jsonl": told("a"), "hypB_jsonl": told("b")}, ("hi 0",)),
        ({"hypA_txt": "a\n", "hypB_jsonl": told("b")}, ("hi 0",)),  # a file that does not tell, beside one that does
        ({"hypA_txt": "a\n", "hypB_txt": "b\n", "ref_jsonl": REFERENCES}, ("hi 0",)),
        ({"hypA_txt": "a\n", "hypB_txt": "b\n", "ref_tsv": "Hi EOS Привет\tx\n"}, ("Hi", "Привет")),
        ({"hypA_jsonl": told("a"), "hypB_txt": "b\n", "ref_txt": "a reference without context\n"}, ("hi 0",)),
        ({"hypA_jsonl": told("a", contexts=[[" صباح ", " ", "x"]]), "hypB_txt": "b\n"}, ("صباح", "x")),
    ],
)
def test_where_contexts_come_from(make: Make, files: dict[str, str], turns: tuple[str, ...]) -> None:
    study = make(**files)
    assert asked(study) == [("1", ("hypA", "hypB"), ("a", "b"))]
    assert study.items[0].turns == turns


def test_contexts_of_both_files_may_differ_in_blanks_alone(make: Make) -> None:
    study = make(hypA_jsonl=told("a", contexts=[["so  what "]]), hypB_jsonl=told("b", contexts=[["so what"]]))
    assert study.items[0].turns == ("so  what",)
    with pytest.raises(DataError, match=r"hypB: reply 1 answers 'so not', but .*hypA.jsonl:1 it answers 'so what'"):
        make(hypA_jsonl=told("a", contexts=[["so what"]]), hypB_jsonl=told("b", contexts=[["so not"]]))


def test_ids_match_replies_and_name_items(make: Make) -> None:
    turned = "".join(reversed(told("b0", "b1", ids=True).splitlines(keepends=True)))
    study = make(hypA_jsonl=told("a0", "a1", ids=True), hypB_jsonl=turned)
    assert asked(study) == [("k0", ("hypA", "hypB"), ("a0", "b0")), ("k1", ("hypA", "hypB"), ("a1", "b1"))]


@pytest.mark.parametrize(
    "settings, pairs",
    [
        ({}, [("hypA", "hypB"), ("hypA", "hypC")]),
        ({"against": "all"}, [("hypA", "hypB"), ("hypA", "hypC"), ("hypB", "hypC")]),
        ({"kind": "ratings"}, [("hypA",), ("hypB",), ("hypC",)]),
    ],
)
def test_which_systems_are_compared(make: Make, settings: dict[str, Any], pairs: list[tuple[str, ...]]) -> None:
    study = make(settings, hypA_jsonl=told("a"), hypB_txt="b\n", hypC_txt="c\n")
    assert [item.systems for item in study.items] == pairs
    assert study.settings.systems == ("hypA", "hypB", "hypC")


def test_the_same_reply_twice_is_a_tie_and_nobody_is_asked(make: Make) -> None:
    files = {"hypA_jsonl": told("so", "no", ""), "hypB_txt": " so\nyes\n \n"}
    study = make(**files)
    assert [item.context for item in study.items] == ["2"]
    assert (study.settings.ties_left_out, study.settings.contexts) == (2, 3)
    rated = make({"kind": "ratings"}, **files)  # each is rated by itself
    assert (len(rated.items), rated.settings.ties_left_out) == (6, 0)
    with pytest.raises(DataError, match="the replies of all pairs are the same"):
        make(hypA_jsonl=told("so"), hypB_txt="so\n")


def test_contexts_are_drawn_by_the_seed(make: Make) -> None:
    files = {"hypA_jsonl": told(*"abcdefghij"), "hypB_txt": "x\n" * 10}
    drawn = [[item.context for item in make({"items": 4, "seed": seed}, **files).items] for seed in (1, 1, 2, 3)]
    assert drawn[0] == drawn[1]
    assert len({tuple(names) for names in drawn}) == 3
    assert all(names == sorted(names, key=int) and len(names) == 4 for names in drawn)
    with pytest.raises(DataError, match="--items 11, but there are 10 contexts"):
        make({"items": 11}, **files)


def test_criteria_are_the_papers_and_those_of_dstc7(make: Make) -> None:
    files = {"hypA_jsonl": told("a"), "hypB_txt": "b\n"}
    assert make(**files).settings.criteria == PAIR_CRITERIA
    rated = make({"kind": "ratings"}, **files).settings
    assert rated.criteria == RATING_CRITERIA
    assert [question.text for question in questions(rated)] == ["Relevance", "Informativeness"]
    own = questions(make({"criteria": ("relevance", "الأدب")}, **files).settings)
    assert [(question.text, bool(question.meaning)) for question in own] == [
        ("Which reply is more relevant?", True),
        ("الأدب", False),
    ]


@pytest.mark.parametrize(
    "files, message",
    [
        ({"hypA_txt": "a\n", "hypB_txt": "b\n"}, "no file includes the contexts that its replies answer"),
        ({"hypA_txt": "a\n", "hypB_txt": "b\n", "ref_txt": "x\n"}, r"ref.txt:1: no context"),
        ({"hypA_jsonl": told("a", "b", contexts=[["hi"], [" "]]), "hypB_txt": "b\nc\n"}, r"hypA.jsonl:2: no context"),
        ({"hypA_jsonl": told("a", "b"), "hypB_txt": "b\n"}, r"hypB.txt has 1 replies, .*hypA.jsonl has 2 lines"),
        ({"hypA_jsonl": told("a", ids=True), "hypB_jsonl": told("b", ids=True).replace("k0", "k9")}, "with id 'k0'"),
        ({"hypA_jsonl": '{"context": ["x"]}\n', "hypB_txt": "b\n"}, r"hypA.jsonl:1: .*hypothesis"),
        ({"hypA_jsonl": "", "hypB_txt": "b\n"}, r"hypA.jsonl is empty"),
    ],
)
def test_replies_that_cannot_be_judged(make: Make, files: dict[str, str], message: str) -> None:
    with pytest.raises(DataError, match=message):
        make(**files)
