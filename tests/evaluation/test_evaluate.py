"""The `evaluate` command: from files to the paper's table."""

import json
import logging
import random
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest

from dialogpt.data.references import write_items
from dialogpt.errors import DataError, UsageError
from dialogpt.evaluation import EvaluateConfig, meteor
from dialogpt.evaluation.evaluate import evaluate
from dialogpt.evaluation.measures import FAMILIES
from dialogpt.session import EvalItem, Turn

REPLIES = {
    "good": ["does money buy happiness ?", "depends how much money you spend on it", "صباح النور", "so what ?"],
    "bland": ["i do not know what you mean"] * 4,
}
REFERENCES = [
    ["does money buy happiness ?", "can money buy it ?"],
    ["depends on how much you spend"],
    ["صباح النور يا صديقي", "صباح الخير"],
    ["what is that ?", "so what ?", "and so ?"],
]
CONTEXTS = ["hi", "does money buy happiness ?", "صباح الخير", "i do not know what to say"]
NATIVE = tuple(family for family in FAMILIES if family not in ("meteor", "copy", "perplexity"))


@pytest.fixture
def files(tmp_path: Path) -> dict[str, Path]:
    """Two systems' replies as text, references as JSONL and as three text files."""
    paths = {}
    for system, replies in REPLIES.items():
        paths[system] = tmp_path / f"{system}.txt"
        paths[system].write_text("".join(f"{reply}\n" for reply in replies), encoding="utf-8")
    items = [
        EvalItem((Turn(context),), str(n), tuple(references))
        for n, (context, references) in enumerate(zip(CONTEXTS, REFERENCES, strict=True))
    ]
    paths["refs"] = tmp_path / "references.jsonl"
    with paths["refs"].open("wb") as file:
        write_items(items, file)
    for n in range(3):
        paths[f"ref{n}"] = tmp_path / f"ref{n}.txt"
        lines = [f"{references[n] if n < len(references) else ''}\n" for references in REFERENCES]
        paths[f"ref{n}"].write_text("".join(lines), encoding="utf-8")
    return paths


def scored(hyps: list[Path], refs: list[Path], **settings: Any) -> dict[tuple[str, str], dict[str, Any]]:
    defaults = {"metrics": NATIVE, "samples": 200, "trials": 100, "format": "json"}
    text = evaluate(EvaluateConfig(hyps=tuple(hyps), refs=tuple(refs), **{**defaults, **settings}))
    return {(score["system"], score["name"]): score for score in json.loads(text)}


def test_every_score_says_how_it_was_computed(files: dict[str, Path]) -> None:
    made = scored([files["good"], files["bland"]], [files["refs"]])
    for score in made.values():
        assert set(score) == {"system", "name", "value", "signature", "low", "high"}
        assert "clean:no|segments:4|version:dialogpt-" in score["signature"]
        if score["low"] is not None:
            assert score["low"] <= score["value"] + 1e-9
            assert score["value"] <= score["high"] + 1e-9
    names = {name for _, name in made if ":" not in name}
    assert names == {name for family in NATIVE for name in FAMILIES[family]}
    assert made["good", "bleu-2"]["signature"].startswith("nrefs:1-3|case:lc|tok:13a|blanked:&<|smooth:exp|")
    assert made["good", "bleu-2"]["value"] > 5 * made["bland", "bleu-2"]["value"]
    assert made["bland", "bland"]["value"] == 1
    assert made["bland", "distinct-1"]["value"] == 7 / 28
    assert made["bland", "repetition-context"]["value"] == 3 / 20  # i do not, do not know, not know what
    assert made["good", "repetition-context"]["value"] == 0
    assert made["good", "length"]["value"] == 18 / 4


def test_references_in_any_form_are_the_same(files: dict[str, Path]) -> None:
    whole = scored([files["good"]], [files["refs"]])
    parts = scored([files["good"]], [files["ref0"], files["ref1"], files["ref2"]])
    context = parts.pop(("good", "repetition-context"))
    assert (context["value"], context["signature"][:13]) == (None, "not computed:")  # text tells no contexts
    assert whole.pop(("good", "repetition-context"))["value"] == 0
    assert parts == whole


def test_systems_are_compared_with_the_first(files: dict[str, Path]) -> None:
    made = scored([files["bland"], files["good"]], [files["refs"]])
    tests = {name: score for (_, name), score in made.items() if ":p-" in name}
    assert {system for system, name in made if ":p-" in name} == {"good"}
    for name in ("bleu-2:p-bootstrap", "nist-4:p-randomisation", "distinct-1:p-jackknife"):
        assert 0 < tests[name]["value"] <= 1
        assert tests[name]["signature"].startswith("two-sided p against:bland|paired|")
    assert tests["bleu-1:p-bootstrap"]["signature"].split("|")[2:5] == ["bs:200", "t", "seed:1"]
    assert not any(name.startswith("length-") for name in tests)  # percentiles have no test
    alone = scored([files["bland"], files["good"]], [files["refs"]], samples=0, trials=0, metrics=("bleu",))
    assert not any(":p-" in name for _, name in alone)
    assert all(score["low"] is None for score in alone.values())


def test_a_system_with_itself_does_not_differ(files: dict[str, Path]) -> None:
    twin = files["good"].with_name("twin.txt")
    twin.write_bytes(files["good"].read_bytes())
    made = scored([files["good"], twin], [files["refs"]])
    assert {score["value"] for (_, name), score in made.items() if ":p-" in name} == {1.0}
    for (system, name), score in made.items():
        if system == "good":
            assert {**score, "system": "twin"} == made["twin", name]


def test_what_is_undefined_is_null_and_says_so(files: dict[str, Path]) -> None:
    short = files["good"].with_name("short.txt")
    short.write_text("yes\n\nno\nwell\n")
    made = scored([short], [files["refs"]])
    for name in ("bleu-4", "entropy-4", "distinct-2", "repetition-self"):
        assert made["short", name]["value"] is None
        assert made["short", name]["signature"].endswith("|undefined:nothing to count")
    assert made["short", "bleu-1"]["value"] == 0  # defined: nothing matches
    assert "n/a" in evaluate(EvaluateConfig(hyps=(short,), refs=(files["refs"],), metrics=("bleu-4",)))


def test_cleaned_replies_are_other_numbers(files: dict[str, Path], caplog: pytest.LogCaptureFixture) -> None:
    raw = scored([files["good"]], [files["refs"]])
    clean = scored([files["good"]], [files["refs"]], clean=True)
    assert (raw["good", "length"]["value"], clean["good", "length"]["value"]) == (18 / 4, 16 / 3)
    assert "|clean:released|segments:3|" in clean["good", "bleu-4"]["signature"]  # without the Arabic one
    assert caplog.messages == [
        "1 segments without a reference after cleaning, left out",
        "good: 2 of 3 replies are among their references: scores against them compare it with itself",
    ]


def test_cleaning_away_every_word_is_an_error(files: dict[str, Path], tmp_path: Path) -> None:
    (tmp_path / "ar.txt").write_text("صباح النور\n" * 4, encoding="utf-8")
    with pytest.raises(DataError, match=r"ar: no reply has a word \(--clean keeps English letters only"):
        scored([tmp_path / "ar.txt"], [files["ref0"]], clean=True)
    with pytest.raises(DataError, match=r"no reference has a word \(--clean keeps English letters only"):
        scored([files["good"]], [tmp_path / "ar.txt"], clean=True)


def test_copies_of_training_data(files: dict[str, Path], tmp_path: Path) -> None:
    turns = [{"text": "Depends how much money you have"}, {"text": "i do not know what you mean"}]
    (tmp_path / "sessions.jsonl").write_text(json.dumps({"turns": turns}) + "\n")
    made = scored(
        [files["good"], files["bland"]], [files["refs"]], metrics=("copy",), training=tmp_path / "sessions.jsonl"
    )
    assert made["good", "copy-4"]["value"] == pytest.approx(2 / 6)
    assert (made["bland", "copy-4"]["value"], made["bland", "copy-reply"]["value"]) == (1, 1)
    assert made["good", "copy-reply"]["value"] == 0
    assert made["good", "copy-4"]["signature"].startswith("training-turns:2|n:4|")


def test_without_meteor_its_row_says_so(
    files: dict[str, Path], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(meteor, "_jar", lambda: None)
    with caplog.at_level(logging.WARNING):
        made = scored([files["good"]], [files["refs"]], metrics=())
    assert [record.message for record in caplog.records] == [meteor.missing()]
    assert made["good", "meteor"]["value"] is None
    assert 'pip install "dialogpt[meteor]"' in made["good", "meteor"]["signature"]
    with pytest.raises(UsageError, match="METEOR needs the package pycocoevalcap") as raised:
        scored([files["good"]], [files["refs"]], metrics=("meteor",))
    assert raised.value.hint == 'pip install "dialogpt[meteor]"'


@pytest.mark.parametrize(
    "settings, message, hint",
    [
        ({"metrics": ("blue-4",)}, "no metric 'blue-4'", "did you mean 'bleu-4'"),
        ({"metrics": ("xyz",)}, "no metric 'xyz'", "there are nist, bleu, meteor"),
        ({"metrics": ("copy",)}, "copy needs the training data", "--training"),
        (
            {"training": Path("s.jsonl"), "metrics": ("length",)},
            "--training is for copy, which is not asked",
            "--metrics",
        ),
        (
            {"models": ("bundled",), "metrics": ("length",)},
            "--models is for perplexity, which is not asked",
            "--metrics",
        ),
        (
            {"models": ("bundled",), "metrics": (), "refs": ()},
            "--models is for perplexity, which needs refer",
            "--refs",
        ),
        ({"samples": -1}, "--samples -1 is below 0", ""),
        ({"trials": -1}, "--trials -1 is below 0", ""),
        ({"seed": -1}, "--seed -1 is below 0", ""),
        ({"refs": (), "metrics": ("length", "bleu-4")}, "bleu-4 needs references", "--refs"),
        ({"refs": (), "models": ("bundled",), "metrics": ("perplexity",)}, "perplexity needs references", "--refs"),
        ({"refs": (), "clean": True}, "--clean needs references", "--refs"),
        ({"hyps": ()}, "no files of replies given", "--refs"),
    ],
)
def test_wrong_usage(files: dict[str, Path], settings: dict[str, Any], message: str, hint: str) -> None:
    config = {"hyps": (files["good"],), "refs": (files["refs"],), **settings}
    with pytest.raises(UsageError, match=message) as raised:
        evaluate(EvaluateConfig(**config))
    assert hint in raised.value.hint


def test_without_references_what_needs_none_is_measured(files: dict[str, Path], tmp_path: Path) -> None:
    lines = (
        {"context": [context], "hypothesis": reply} for context, reply in zip(CONTEXTS, REPLIES["good"], strict=True)
    )
    (tmp_path / "told.jsonl").write_text("\n".join(map(json.dumps, lines)))
    alone = scored([tmp_path / "told.jsonl"], [], metrics=())
    assert {name for _, name in alone} == {
        name for family in ("entropy", "distinct", "length", "repetition", "bland") for name in FAMILIES[family]
    }
    beside = scored([tmp_path / "told.jsonl"], [files["refs"]])
    assert all(beside[key]["value"] == score["value"] for key, score in alone.items())


def test_text_without_references_or_contexts(files: dict[str, Path], tmp_path: Path) -> None:
    hyps = [files["good"], files["bland"]]
    alone = scored(hyps, [], metrics=())
    beside = scored(hyps, [files["ref0"]], metrics=("entropy", "distinct", "length", "repetition-self", "bland"))
    assert {name for _, name in alone} == {name for _, name in beside}
    assert all(alone[key]["value"] == score["value"] for key, score in beside.items())
    family = scored(hyps, [], metrics=("repetition",))
    assert family["good", "repetition-context"]["signature"].startswith("not computed: neither replies nor references")
    with pytest.raises(DataError, match="no file includes the contexts"):
        scored(hyps, [], metrics=("repetition-context",))
    several = tmp_path / "several.tsv"
    several.write_text("SystemID\tInstanceID\tResponse\nA\t1\tyes\n")
    with pytest.raises(DataError, match="no file includes the contexts"):  # which its ids would belong to
        scored([several], [], metrics=())


def command(*arguments: object) -> "subprocess.CompletedProcess[str]":
    words = [sys.executable, "-m", "dialogpt", "evaluate", *map(str, arguments)]
    return subprocess.run(words, capture_output=True, encoding="utf-8", check=False, timeout=60)


def test_options_take_several_words(files: dict[str, Path]) -> None:
    refs = [files["ref0"], files["ref1"], files["ref2"]]
    made = command(files["good"], files["bland"], "--refs", *refs, "--metrics", "bleu", "length", "--format", "tsv")
    assert made.returncode == 0, made.stderr
    assert {line.split("\t")[0] for line in made.stdout.splitlines()[1:]} == {"good", "bland"}
    assert made.stderr.splitlines() == [
        "4 blank references, left out",
        "4 replies are few: rely on p-randomisation, as other p-values may be too small",
    ]
    again = command("--metrics", "bleu", "--metrics", "length", "--format", "tsv", "--refs", *refs, "--", files["good"],
                    files["bland"])  # fmt: skip
    assert again.stdout == made.stdout


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["good", "--refs", "ref0", "--metrics", "blue"], 2, "no metric 'blue'"),
        (["good", "--metrics", "repetition-context"], 1, "no file includes the contexts"),
        (["--refs", "ref0", "good"], 2, "HYPS is missing"),
        (["good", "--refs", "missing"], 1, "missing.txt does not exist"),
    ],
)
def test_errors_are_one_line(files: dict[str, Path], arguments: list[str], code: int, message: str) -> None:
    files["missing"] = files["good"].with_name("missing.txt")
    made = command(*(files.get(word, word) for word in arguments))
    assert (made.returncode, made.stdout) == (code, "")
    error, hint = made.stderr.splitlines()
    assert error.startswith("error: ")
    assert message in error
    assert hint.startswith("hint: ")


def test_it_is_fast(tmp_path: Path) -> None:
    """6,000 replies, 5 to 15 references each, every native metric, 1,000 bootstrap samples: under 10 s of two cores."""
    rng = random.Random(1)
    words = [f"word{n}" for n in range(5000)]

    def texts(count: int) -> list[str]:
        return [" ".join(rng.choices(words, range(5000, 0, -1), k=rng.randint(3, 23))) for _ in range(count)]

    pool = texts(9000)
    with (tmp_path / "refs.jsonl").open("wb") as file:
        items = (EvalItem((Turn("hi"),), str(n), tuple(rng.sample(pool, rng.randint(5, 15)))) for n in range(6000))
        write_items(items, file)
    (tmp_path / "hyps.txt").write_text("\n".join(texts(6000)))
    started = time.process_time()
    made = scored([tmp_path / "hyps.txt"], [tmp_path / "refs.jsonl"], samples=1000)
    assert time.process_time() - started < 10
    assert made["hyps", "bleu-4"]["low"] is not None
