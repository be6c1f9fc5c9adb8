"""What `info` says about files and folders."""

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import save_file

from dialogpt.artifact import Manifest, describe_manifest, write_manifest
from dialogpt.errors import CheckpointError, DataError
from dialogpt.hub import BUNDLED
from dialogpt.info import InfoConfig, info


def told(path: Path) -> list[str]:
    first, *lines = info(InfoConfig(path=(path,))).splitlines()
    assert first == str(path)
    return [" ".join(line.split()) for line in lines]


@pytest.mark.parametrize(
    "line, kind",
    [
        ('{"turns": [{"text": "hi"}]}', "sessions"),
        ('{"turns": [["A", "hi"]]}', "chats (turns)"),
        ('{"messages": []}', "chats (messages)"),
        ('{"context": ["hi"]}', "contexts"),
        ('{"context": ["hi"], "better": "hello", "worse": "no"}', "preferences"),
        ('{"body": "hi", "parent_id": "t1_x"}', "comments"),
        ('{"title": "hi", "selftext": ""}', "submissions"),
        ('{"x": 1}', "other JSON lines"),
        ("[1]", "other JSON lines"),
        ("hello there", "lines of text"),
    ],
)
def test_a_files_lines_are_counted_by_what_they_are(tmp_path: Path, line: str, kind: str) -> None:
    file = tmp_path / "data"
    file.write_text(f"{line}\n\n{line}\n", encoding="utf-8")
    assert told(file) == [f"{kind} 2"]


def test_a_mixed_and_an_empty_file(tmp_path: Path) -> None:
    file = tmp_path / "data"
    file.write_bytes(b'hello\n{"context": ["hi"]}\nthere\n\xff\xfe\n')
    assert told(file) == ["lines of text 3", "contexts 1"]
    file.write_bytes(b"\n")
    assert told(file) == ["empty"]


def test_a_manifest_in_words() -> None:
    text = describe_manifest(
        Manifest(kind="sessions", created="now", counts={"sessions": 12345}, inputs=["a", "b"], dropped={"too long": 6})
    )
    lines = [" ".join(line.split()) for line in text.splitlines()]
    assert lines[0].startswith("sessions, made now by dialogpt ")
    assert lines[1:] == ["sessions 12,345", "dropped:", "too long 6", "from: a, b"]


def test_a_backward_model_is_told(tmp_path: Path) -> None:
    found = []
    for reverse in (True, False):
        write_manifest(tmp_path, Manifest(kind="checkpoint", config={"reverse": reverse}))
        found.append([line for line in told(tmp_path) if line.startswith("backward: ")])
    assert [len(lines) for lines in found] == [1, 0]


def test_a_run_folder_tells_its_best_validation(tmp_path: Path) -> None:
    write_manifest(tmp_path, Manifest(kind="training run"))
    rows = [{"step": 10, "loss": 3.0}, *({"step": s, "validation_perplexity": p} for s, p in ((10, 9.5), (20, 7.25)))]
    text = "".join(json.dumps(row) + "\n" for row in [*rows, {"step": 1300, "loss": 2.0}])
    (tmp_path / "metrics.jsonl").write_text(text + '{"step": 13', encoding="utf-8")  # cut by a kill
    assert told(tmp_path)[-2:] == ["steps logged: up to 1,300", "best validation perplexity: 7.25 at step 20"]
    (tmp_path / "metrics.jsonl").write_text("", encoding="utf-8")
    assert told(tmp_path)[-1] == "no steps logged yet"


def test_a_run_folder_names_its_report(tmp_path: Path) -> None:
    (tmp_path / "metrics.jsonl").write_text('{"step": 7, "loss": 3.0}\n', encoding="utf-8")
    (tmp_path / "report.html").write_text("", encoding="utf-8")
    assert told(tmp_path) == ["steps logged: up to 7", f"report: {tmp_path / 'report.html'}"]


def test_several_runs_are_laid_side_by_side(tmp_path: Path) -> None:
    runs = (tmp_path / "plain", tmp_path / "кошки")
    for folder in runs:
        folder.mkdir()
        (folder / "metrics.jsonl").write_text('{"step": 7, "loss": 3.0}\n', encoding="utf-8")
    lines = [line.split() for line in info(InfoConfig(path=runs)).splitlines()]
    assert lines[0] == ["plain", "кошки"]
    assert ["steps", "7", "7"] in lines


def test_several_paths_that_are_not_all_runs_are_each_described(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "metrics.jsonl").write_text('{"step": 7, "loss": 3.0}\n', encoding="utf-8")
    (tmp_path / "data").write_text("hello\n", encoding="utf-8")
    paths = (tmp_path / "run", tmp_path / "data")
    alone = [info(InfoConfig(path=(path,))) for path in paths]
    assert info(InfoConfig(path=paths)) == "\n\n".join(alone)
    with pytest.raises(DataError, match="missing does not exist"):
        info(InfoConfig(path=(*paths, tmp_path / "missing")))


def test_a_checkpoint_tells_its_shape_without_being_loaded(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gpt2", "n_layer": 3, "n_head": 2}', encoding="utf-8")
    shape = "checkpoint: model_type gpt2, n_layer 3, n_head 2"
    save_file({"wte.weight": np.zeros((65, 9000), np.float32)}, tmp_path / "model.safetensors")
    assert told(tmp_path) == [shape, "weights: 2.3 MB"]
    assert info(InfoConfig(path=(tmp_path / "model.safetensors",))) == info(InfoConfig(path=(tmp_path,)))


@pytest.mark.parametrize(
    "content, wrong",
    [
        (None, "holds no model.safetensors"),
        (b"", "model.safetensors do not load"),
        (b"version https://git-lfs.github.com/spec/v1\n", "git lfs pull"),
        (b"@" + bytes(7) + b'{"wte.weight":{"dtype":"F32","shape":[2],"data_offsets":[0,8]}} ', "not inside the file"),
    ],
)
def test_weights_that_are_missing_or_damaged_are_told(tmp_path: Path, content: bytes | None, wrong: str) -> None:
    (tmp_path / "config.json").write_text('{"model_type": "gpt2"}', encoding="utf-8")
    if content is not None:
        (tmp_path / "model.safetensors").write_bytes(content)
    *_, weights = told(tmp_path)
    assert weights.startswith("weights: 0.0 MB, but ")
    assert wrong in weights


def test_a_single_file_of_weights(tmp_path: Path) -> None:
    file = tmp_path / "medium_ft.pkl"
    shapes = {"wte.weight": (300, 128), "wpe.weight": (40, 128), "h.0.ln_1.weight": (128,)}
    weights = {name: torch.zeros(shape) for name, shape in shapes.items()}
    torch.save({f"module.{name}": weight.half() for name, weight in weights.items()}, file)
    found, size = told(file)
    assert found == "checkpoint: n_layer 1, n_head 2, n_embd 128, n_ctx 40, vocab_size 300"
    assert size == f"weights: {file.stat().st_size / 1e6:.1f} MB"
    torch.save({"model": weights}, file)
    assert told(file)[0] == "checkpoint: of a kind that torch may read"
    file.write_bytes(file.read_bytes()[:1000])
    with pytest.raises(CheckpointError, match=r"medium_ft\.pkl do not load: it is cut off"):
        told(file)


@pytest.mark.parametrize(
    "name, what", [("bot.gguf", "a model for llama.cpp (GGUF)"), ("model.safetensors", "weights of a folder")]
)
def test_files_of_weights_have_no_lines(tmp_path: Path, name: str, what: str) -> None:
    (tmp_path / name).write_bytes(b"GGUF\n" * 500_000)
    assert told(tmp_path / name) == [f"{what}, 2.5 MB"]


def test_the_bundled_model_has_its_name_here_too(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert info(InfoConfig(path=(Path("bundled"),))) == info(InfoConfig(path=(BUNDLED,)))
    Path("bundled").write_text("hello\n", encoding="utf-8")  # what is there goes before
    assert told(Path("bundled")) == ["lines of text 1"]


@pytest.mark.parametrize("name, content", [("config.json", b"{"), ("manifest.json", b"{}"), ("metrics.jsonl", b"{a}\n"),
                                           ("config.json", b"[]"), ("metrics.jsonl", b"\xff}\n")])  # fmt: skip
def test_damaged_files_are_errors_that_name_them(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(DataError, match=name):
        told(tmp_path)


def test_what_is_not_there_and_what_is_not_ours(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="does not exist"):
        told(tmp_path / "missing")
    with pytest.raises(DataError, match="not a folder that dialogpt writes") as caught:
        told(tmp_path)
    assert "nothing" in caught.value.hint
