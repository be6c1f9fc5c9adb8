"""Runs side by side: what differs, how far each came, perplexity at like numbers of target tokens."""

import json
import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from safetensors.numpy import save_file

from dialogpt.errors import DataError
from dialogpt.train.compare import POINTS, compare, is_run, numbers, read_run
from dialogpt.train.metrics import MetricsFile, StepLine, ValidationLine

MakeRun = Callable[..., Path]


@pytest.fixture
def make_run(tmp_path: Path) -> MakeRun:
    """A run folder with settings, a validation for each (targets, loss), and a step line beside each."""

    def make(name: str, *losses: tuple[int, float], **settings: Any) -> Path:
        folder = tmp_path / name
        folder.mkdir(parents=True)
        (folder / "settings.json").write_text(json.dumps({"out": name, "lr": 0.001, **settings}), encoding="utf-8")
        file = MetricsFile(folder / "metrics.jsonl")
        for i, (targets, loss) in enumerate(losses, 1):
            file.append(StepLine(step=i, targets_seen=targets, loss=loss, tokens_per_s=100.0 * i))
            perplexity = math.exp(loss)
            file.append(
                ValidationLine(step=i, targets_seen=targets, validation_loss=loss, validation_perplexity=perplexity)
            )
        return folder

    return make


def rows(text: str) -> dict[str, list[str]]:
    """The cells of each line by its name; columns stand two blanks apart."""
    cells = [[cell.strip() for cell in line.strip().split("  ") if cell.strip()] for line in text.splitlines()]
    return {name: values for name, *values in cells}


def test_the_numbers_of_a_run(make_run: MakeRun) -> None:
    folder = make_run("run", (1000, 3.0), (2000, math.log(4)), (3000, 1.5))
    line = StepLine(
        step=4, targets_seen=12345, loss=1.25, tokens_per_s=250.0, memory_bytes=3_210_000_000, elapsed_s=5400
    )
    MetricsFile(folder / "metrics.jsonl").append(line)
    assert numbers(read_run(folder)) == {
        "model": "-", "steps": "4", "target tokens seen": "12,345", "best validation perplexity": "4.00 at step 2",
        "last training loss": "1.250 nats", "target tokens per second": "225", "peak memory": "3.21 GB",
        "training time": "1.50 hours",
    }  # fmt: skip


def test_a_run_that_has_just_begun_has_no_numbers_yet(make_run: MakeRun) -> None:
    folder = make_run("run")
    assert set(numbers(read_run(folder)).values()) == {"-"}
    (folder / "checkpoints").mkdir()  # before the first checkpoint
    assert set(numbers(read_run(folder)).values()) == {"-"}
    assert rows(compare([folder, folder]))["steps"] == ["-", "-"]


def test_the_size_of_the_model_is_that_of_its_checkpoint(make_run: MakeRun) -> None:
    folder = make_run("bundled")
    (folder / "best").mkdir()
    (folder / "best" / "config.json").write_text("{}")
    assert read_run(folder).model == "-"
    weights = folder / "best" / "model.safetensors"
    save_file({"a": np.zeros((1000, 1200), np.float16), "b": np.zeros(50_000, np.float32)}, weights)
    assert read_run(folder).model == "1.2M parameters"
    weights.write_bytes(weights.read_bytes()[:40])
    with pytest.raises(DataError, match=r"model\.safetensors does not load"):
        read_run(folder)


def test_settings_that_differ_and_no_others(make_run: MakeRun) -> None:
    runs = [make_run("a", lr=0.1, init="", size=""), make_run("b", lr=0.1, init="кот", size="", clip=1.0)]
    found = rows(compare(runs))
    assert found["init"] == ['""', "кот"]
    assert found["clip"] == ["-", "1.0"]
    assert not {"lr", "size", "out"} & found.keys()
    assert "settings that differ" not in compare([runs[0], runs[0]])


def test_perplexities_stand_at_like_numbers_of_targets(make_run: MakeRun) -> None:
    short = make_run("short", (1000, 4.0), (3000, 2.0))
    long = make_run("long", (500, 5.0), (2000, 3.0), (8000, 1.0))
    found = rows(compare([short, long]))
    at = {name: values for name, values in found.items() if name.replace(",", "").isdigit()}

    def text(loss: float) -> str:
        return f"{math.exp(loss):,.2f}"

    assert at == {
        "500": ["-", text(5.0)],
        "2,000": [text(3.0), text(3.0)],  # the short run's lies between its own
        "3,000": [text(2.0), text(3.0 - 2.0 / 6)],
        "8,000": ["-", text(1.0)],
    }


def test_a_long_run_has_few_rows_and_a_short_one_its_share(make_run: MakeRun) -> None:
    long = make_run("long", *((i * 1000, 5.0 - i / 300) for i in range(1, 1001)))
    short = make_run("short", *((i * 1000, 5.0 - i / 300) for i in range(1, 51)))
    found = rows(compare([long, short]))
    at = [values for name, values in found.items() if name.replace(",", "").isdigit()]
    assert 4 <= len(at) <= POINTS + 2
    shared = [values for values in at if values[1] != "-"]
    assert len(shared) >= 3
    assert all(first == second for first, second in shared)


@pytest.mark.parametrize(
    "losses",
    [[], [(0, 3.0)], [(5, 3.0)], [(0, 3.0), (0, 2.0)], [(5, math.inf)], [(5, math.inf), (6, 1.0)], [(2**63 - 1, 1.0)]],
)
def test_degenerate_curves_are_laid_side_by_side(make_run: MakeRun, losses: list[tuple[int, float]]) -> None:
    one, other = make_run("one"), make_run("other", (0, 4.0), (10, 3.0))
    file = MetricsFile(one / "metrics.jsonl")
    for targets, loss in losses:
        file.append(ValidationLine(step=1, targets_seen=targets, validation_loss=loss))
    for runs in ([one, other], [other, one], [one, one]):
        assert "target tokens seen" in compare(runs)


@pytest.mark.parametrize("name", ["shards", "reverse"])
def test_perplexities_of_different_things_are_said_to_be(make_run: MakeRun, name: str) -> None:
    one, other = make_run("a", (5, 1.0), **{name: "x"}), make_run("b", (5, 1.0), **{name: "y"})
    assert f"where {name} differ" in compare([one, other])
    assert "cannot be compared" not in compare([one, one])


def test_shards_are_the_same_wherever_they_are(make_run: MakeRun) -> None:
    runs = {
        name: make_run(name, (5, 1.0), shards=place, shards_digest=digest)
        for name, place, digest in (("a", "/x", "1"), ("moved", "/y", "1"), ("replaced", "/x", "2"))
    }
    assert "cannot be compared" not in compare([runs["a"], runs["moved"]])
    assert "where shards differ" in compare([runs["a"], runs["replaced"]])
    older = make_run("older", (5, 1.0), shards="/y")
    assert "where shards differ" in compare([runs["a"], older])


def test_columns_are_named_so_that_they_differ(make_run: MakeRun) -> None:
    plain, same, arabic = make_run("one/run"), make_run("two/run"), make_run("تجربة")
    assert compare([plain, arabic]).split()[:2] == ["run", "تجربة"]
    assert compare([plain, same]).split()[:2] == [str(plain), str(same)]


def test_what_is_no_run_is_an_error(tmp_path: Path, make_run: MakeRun) -> None:
    assert not is_run(tmp_path)
    assert not is_run(tmp_path / "missing")
    with pytest.raises(DataError, match="not a run folder"):
        compare([make_run("run"), tmp_path])
    damaged = make_run("damaged")
    (damaged / "settings.json").write_text("[1]")
    with pytest.raises(DataError, match=r"settings\.json"):
        compare([damaged, damaged])
