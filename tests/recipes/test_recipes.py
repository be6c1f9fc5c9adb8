"""The recipes at toy size, each from its data to its last line, and once more: what is made is not made again."""

import csv
import json
import lzma
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest
import torch
from safetensors.torch import load_file

from dialogpt.artifact import read_manifest
from dialogpt.decoding.loading import FORWARD_WEIGHT, MANY_HYPOTHESES

ROOT = Path(__file__).parents[2]
TINY = "--n-layer 1 --n-head 2 --n-embd 32 --n-ctx 64 --dropout 0"
BUNDLED = ROOT / "src" / "dialogpt" / "bundled"
LINES = [
    ("سامي", "What shall we cook today?"), ("Ólafur", "Soup, of course. It is always soup."),
    ("سامي", 'You said "soup" yesterday,\nand the day before.'), ("Ólafur", "And was I wrong, even once?"),
    ("まり", "スープは好きです。"), ("Ólafur", "You see! She likes soup 🍲"),
    ("Иван", "А я хочу блины."), ("Ólafur", "Pancakes are soup that gave up."),
]  # fmt: skip
Run = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """Run a recipe in an empty folder, for four small updates, with the code of this tree."""

    def run(name: str, *arguments: str | Path, **settings: str) -> subprocess.CompletedProcess[str]:
        environment = {
            **os.environ, "DIALOGPT": f"{sys.executable} -m dialogpt", "PYTHONPATH": str(ROOT / "src"),
            "OMP_NUM_THREADS": "1", "STEPS": "4", "BATCH": "256", **settings,
        }  # fmt: skip
        command = [str(ROOT / "recipes" / name), *map(str, arguments)]
        return subprocess.run(
            command, cwd=tmp_path, env=environment, capture_output=True, text=True, encoding="utf-8", timeout=240,
            check=False,
        )  # fmt: skip

    return run


def assert_resumes(run: Run, name: str, arguments: Sequence[str | Path], work: Path, **settings: str) -> list[str]:
    """Run twice, the second time for more steps; returns the lines that the first run printed."""
    first = run(name, *arguments, **settings)
    assert first.returncode == 0, first.stderr
    made = {path: path.stat().st_mtime_ns for path in work.glob("[st]*/manifest.json")}
    second = run(name, *arguments, **{**settings, "STEPS": "6"})
    assert second.returncode == 0, second.stderr
    assert made == {path: path.stat().st_mtime_ns for path in work.glob("[st]*/manifest.json")}
    assert "resuming from step 4" in second.stderr
    assert (work / "run" / "checkpoints" / "step-000006" / "model.safetensors").is_file()
    return first.stdout.splitlines()


@pytest.fixture
def chats(tmp_path: Path) -> Path:
    """Forty short chats."""
    turns = [[f"{name} {i}", text] for i, (name, text) in enumerate(LINES)]
    chats = [{"id": f"chats/{i}", "turns": turns[i % 5 : i % 5 + 3]} for i in range(40)]
    (tmp_path / "chats.jsonl").write_text("".join(json.dumps(chat) + "\n" for chat in chats), encoding="utf-8")
    return tmp_path / "chats.jsonl"


def write_script(path: Path, lines: Sequence[Sequence[str]]) -> Path:
    with path.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([("name", "line"), *lines])
    return path


@pytest.mark.recipe
def test_scratch(run: Run, tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(ROOT / "tests/data/mini_dump.py"), str(tmp_path)], check=True)
    settings = {"SIZE": TINY, "TOKENS": "64", "VOCAB": "400", "HELD_OUT": "0.2", "WORKERS": "1"}
    dumps = ("RC_2015-01.bz2", "RS_2015-01.gz")
    lines = assert_resumes(run, "scratch.sh", ["new/work", *dumps], tmp_path / "new/work", **settings)
    assert any("best validation perplexity" in line for line in lines)
    assert all(line.strip() for line in lines[-2:])  # two replies


@pytest.mark.recipe
def test_finetune(run: Run, chats: Path, tmp_path: Path) -> None:
    settings = {"IMPORT": "--max-words 20 --merge", "HELD_OUT": "0.2"}
    lines = assert_resumes(run, "finetune.sh", ["", chats.name, "work"], tmp_path / "work", **settings)
    assert lines[-1].endswith("chat work/run")
    sessions = read_manifest(tmp_path / "work/sessions")
    assert sessions is not None
    assert sessions.config["max_words"] == 20
    before, after = (load_file(folder / "model.safetensors") for folder in (BUNDLED, tmp_path / "work/run/best"))
    name = "transformer.h.0.mlp.c_fc.weight"
    assert 0 < (after[name] - before[name].float()).abs().max() < 0.1  # that model, trained on


@pytest.mark.recipe
def test_a_released_file_is_fine_tuned(
    run: Run, chats: Path, tmp_path: Path, tiny_tokenizer: object, make_model: Callable[..., torch.nn.Module]
) -> None:
    tiny_tokenizer.save(tmp_path)  # type: ignore[attr-defined]
    state = make_model(n_embd=64, n_head=1, n_ctx=256).half().state_dict()
    square = {name: weight.T if "c_" in name and weight.dim() == 2 else weight for name, weight in state.items()}
    torch.save({f"module.{name}": weight.contiguous() for name, weight in square.items()}, tmp_path / "small_ft.pkl")
    done = run("finetune.sh", "small_ft.pkl", chats.name, "work", STEPS="2", HELD_OUT="0")
    assert done.returncode == 0, done.stderr
    config = json.loads((tmp_path / "work/run/best/config.json").read_text())
    assert (config["n_layer"], config["n_head"], config["n_embd"], config["n_positions"]) == (2, 1, 64, 256)


@pytest.mark.recipe
def test_reverse(run: Run, chats: Path, tmp_path: Path) -> None:
    assert run("finetune.sh", "bundled", chats.name, "forward", HELD_OUT="0.2", STEPS="2").returncode == 0
    lines = assert_resumes(
        run, "reverse.sh", ["forward/shards", "work"], tmp_path / "work", SIZE=TINY.replace("64", "128")
    )
    assert any("best validation perplexity" in line for line in lines)
    again = run("reverse.sh", "forward/shards", "from-forward", "forward/run", STEPS="2")
    assert again.returncode == 0, again.stderr
    for folder, layers in (("work", 1), ("from-forward", 6)):
        manifest = read_manifest(tmp_path / folder / "run/best")
        assert manifest is not None
        assert manifest.config["reverse"] is True
        assert json.loads((tmp_path / folder / "run/best/config.json").read_text())["n_layer"] == layers


@pytest.mark.recipe
def test_ranker(run: Run, tmp_path: Path) -> None:
    pairs = [{"context": [f"How many are {n}?"], "better": f"{n}, I think.", "worse": "Why?"} for n in range(60)]
    (tmp_path / "pairs.jsonl").write_text("".join(json.dumps(pair) + "\n" for pair in pairs), encoding="utf-8")
    lines = assert_resumes(run, "ranker.sh", ["pairs.jsonl", "work"], tmp_path / "work", HELD_OUT="0.2", BATCH="256")
    assert any("best validation perplexity" in line for line in lines)
    assert lines[-1].endswith("chat --ranker work/run --show-hypotheses")
    config = json.loads((tmp_path / "work/run/best/config.json").read_text())
    assert (config["architectures"], config["n_layer"]) == (["GPT2ForSequenceClassification"], 6)


@pytest.mark.recipe
def test_character_bot(run: Run, tmp_path: Path) -> None:
    write_script(tmp_path / "script.csv", LINES * 25)
    lines = assert_resumes(run, "character_bot.sh", ["script.csv", "Ólafur", "work"], tmp_path / "work", CUT="10")
    assert lines[-1].startswith("Chat with Ólafur: ")
    assert lines[-1].endswith("chat work/run")
    sessions, shards = (read_manifest(tmp_path / "work" / name) for name in ("sessions", "shards"))
    assert sessions is not None
    assert shards is not None
    # Every line of Ólafur's, those that begin a scene counted as dropped, and no other session: no quoted line was cut.
    assert sessions.counts["sessions"] + sessions.dropped["turn without context"] == 100
    assert sessions.dropped.keys() == {"turn without context"}
    assert 0 < shards.counts["held_out"] < 50
    done = run("character_bot.sh", "script.csv", "Olaf", "other")
    assert done.returncode == 2
    assert "did you mean 'Ólafur'?" in done.stderr or "the most frequent: Ólafur" in done.stderr


@pytest.mark.recipe
def test_a_character_in_a_language_that_no_model_here_knows(run: Run, tmp_path: Path) -> None:
    write_script(tmp_path / "script.csv", LINES * 25)
    assert_resumes(run, "character_bot.sh", ["script.csv", "سامي", "work"], tmp_path / "work", CUT="10", MODEL="new")
    tokenizer, config = (tmp_path / "work" / name for name in ("tokenizer/tokenizer.json", "run/best/config.json"))
    words = json.loads(tokenizer.read_text(encoding="utf-8"))["model"]["vocab"]
    assert json.loads(config.read_text(encoding="utf-8"))["vocab_size"] == len(words)
    assert json.loads(config.read_text(encoding="utf-8"))["n_embd"] == 128


@pytest.mark.recipe
def test_a_script_of_twenty_lines_and_another_one_into_its_work(run: Run, tmp_path: Path) -> None:
    write_script(tmp_path / "short.csv", (LINES * 20)[:20])
    done = run("character_bot.sh", "short.csv", "Ólafur", "work", STEPS="1")
    assert done.returncode == 0, done.stderr
    shards = read_manifest(tmp_path / "work/shards")
    assert shards is not None
    assert shards.counts["held_out"] > 0
    write_script(tmp_path / "other.csv", (LINES * 20)[:21])
    for script, settings in (("short.csv", {"CUT": "4"}), ("short.csv", {"WINDOW": "2"}), ("other.csv", {})):
        again = run("character_bot.sh", script, "Ólafur", "work", STEPS="2", **settings)
        assert (again.returncode, again.stdout) == (1, "")
        assert again.stderr == (
            "work holds the sessions of another script, SPEAKER, CUT or WINDOW: name another WORK, or delete it\n"
        )


@pytest.mark.recipe
def test_scenes_of_the_scripts_own_are_kept(run: Run, tmp_path: Path) -> None:
    scenes = [row for _ in range(25) for row in (*LINES, ())]
    write_script(tmp_path / "script.csv", scenes)
    done = run("character_bot.sh", "script.csv", "سامي", "work", STEPS="1")
    assert done.returncode == 0, done.stderr
    sessions = read_manifest(tmp_path / "work/sessions")
    assert sessions is not None
    assert sessions.dropped["turn without context"] == 25  # his first line begins each scene


@pytest.mark.recipe
def test_a_real_script(run: Run, shared: Path, tmp_path: Path) -> None:
    """Part of an episode, for a few steps: what is held out shows that something was learned."""
    import lzma

    with lzma.open(shared / "corpora/crd3.jsonl.xz", "rt", encoding="utf-8") as file:
        turns = json.loads(next(file))["turns"][100:400]
    write_script(tmp_path / "script.csv", turns)
    done = run("character_bot.sh", "script.csv", "MATT", "work", STEPS="5", CUT="15")
    assert done.returncode == 0, done.stderr
    assert "best validation perplexity" in done.stdout


@pytest.mark.recipe
def test_paper_eval(run: Run, tmp_path: Path) -> None:
    said = ["Hello, how are you?", "كيف حالك؟", "What is for dinner?", "Do you bake?", "I am tired."]
    lines = [{"id": str(n), "context": [text], "references": [f"reference {n}", "yes"]} for n, text in enumerate(said)]
    (tmp_path / "refs").mkdir()
    text = "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)
    (tmp_path / "refs/references.jsonl").write_text(text, encoding="utf-8")
    (tmp_path / "refs/human.txt").write_text("fine\n" * 5, encoding="utf-8")
    done = run("paper_eval.sh", "refs/references.jsonl", "bundled", "work", TOKENS="8")
    assert done.returncode == 0, done.stderr
    rows = [line.partition("  ")[0] for line in done.stdout.splitlines()]
    systems = ["greedy", "beam", "sampling", "mmi", "human"]
    assert [row for row in rows if row in systems][:5] == systems
    assert sum(row.startswith("paper: ") for row in rows) == 6
    assert (tmp_path / "work/table.txt").read_text(encoding="utf-8") == done.stdout
    scores = json.loads((tmp_path / "work/scores.json").read_text(encoding="utf-8"))
    assert {score["system"] for score in scores} == set(systems)
    first = (tmp_path / "work/mmi.jsonl").stat().st_mtime_ns
    (tmp_path / "work/beam.jsonl").unlink()
    assert run("paper_eval.sh", "refs/references.jsonl", "bundled", "work", TOKENS="8").stdout == done.stdout
    assert (tmp_path / "work/mmi.jsonl").stat().st_mtime_ns == first


@pytest.mark.recipe
@pytest.mark.parametrize(
    "name", ["scratch.sh", "finetune.sh", "reverse.sh", "ranker.sh", "character_bot.sh", "paper_eval.sh"]
)
def test_without_arguments_the_usage_is_said(run: Run, name: str, tmp_path: Path) -> None:
    done = run(name)
    assert done.returncode == 2
    assert done.stderr.startswith(f"usage: recipes/{name} ")
    assert not list(tmp_path.iterdir())


def test_every_recipe_parses() -> None:
    bash = shutil.which("bash")
    assert bash
    for recipe in sorted((ROOT / "recipes").glob("*.sh")):
        assert os.access(recipe, os.X_OK), recipe
        subprocess.run([bash, "-n", str(recipe)], check=True)


def test_quality_shows_what_chat_does() -> None:
    recipe = (ROOT / "recipes" / "quality.sh").read_text(encoding="utf-8")
    assert f"replies chat --mmi --forward-weight {FORWARD_WEIGHT:g} --num-hypotheses {MANY_HYPOTHESES}\n" in recipe


def test_quality_says_what_is_missing(run: Run, tiny_checkpoint: Path, tmp_path: Path) -> None:
    done = run("quality.sh", tiny_checkpoint, tmp_path / "work")
    assert done.returncode == 2
    assert "has no backward companion" in done.stderr


def test_bundled_goes_from_the_corpora_to_a_page_of_samples(run: Run, tmp_path: Path) -> None:
    """The corpora here are small, and the models take one step each; the talk is the real one."""
    (tmp_path / "corpora").mkdir()
    names = ("self_dialogue", "topical_chat_vt", "cabnc", "persuasion4good", "casino", "crd3")
    for name in names:
        with lzma.open(tmp_path / "corpora" / f"{name}.jsonl.xz", "wt") as file:
            for n in range(200):
                turns = [["A", f"Hello, I am speaker {name} of {n * n}."], ["B", f"And I like {n} ((laugh)) a lot."]]
                file.write(json.dumps({"id": f"{name}/{n}", "turns": turns}) + "\n")
    done = run("bundled.sh", tmp_path / "work", STEPS="1", AGAIN_STEPS="1", TALK_STEPS="1", CHAIN_STEPS="1",
               BACKWARD_STEPS="1", DIALOGPT_SHARED=str(tmp_path), PYTHON=sys.executable)  # fmt: skip
    assert done.returncode == 0, done.stderr
    samples = (tmp_path / "work" / "quality" / "samples.md").read_text(encoding="utf-8")
    prompts = (ROOT / "recipes" / "bundled" / "prompts.txt").read_text(encoding="utf-8").splitlines()
    rows = [line.split(" | ") for line in samples.splitlines() if line.startswith("| ")][1:]
    assert [row[0].removeprefix("| ") for row in rows] == [prompt.replace("\t", " / ") for prompt in prompts]
    assert all(len(row) == 4 for row in rows)
    assert samples.count("\nA: ") == 10 * 4
    assert "same as another" in samples
    assert "copy-reply" in samples
    assert read_manifest(tmp_path / "work" / "bundled" / "backward") is not None
    assert "trigrams  perplexity" in done.stdout
