"""Models by their hub names, from a server that speaks as the Hugging Face hub does."""

import hashlib
import json
import os
import shutil
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, ClassVar

import pytest
import torch
from safetensors.torch import load_file

from dialogpt.errors import CheckpointError
from dialogpt.hub import model_path
from dialogpt.model import checkpoint

COMMIT = "0123456789abcdef0123456789abcdef01234567"
PARTS = ("pytorch_model-00001-of-00002.bin", "pytorch_model-00002-of-00002.bin")
SCRIPT = """
import sys
from dialogpt import Chatbot
print(Chatbot.load(sys.argv[1]).reply("hello"), sorted({"torch", "transformers"} & set(sys.modules)))
"""


class Hub(BaseHTTPRequestHandler):
    """One model, `people/talker`, of the files in `folder`; what was fetched is in `fetched`."""

    folder: ClassVar[Path]
    fetched: ClassVar[list[str]]
    asked: ClassVar[list[str]]
    refuses: ClassVar[tuple[int, str] | None] = None  # a status, and the hub's name for why

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, *, with_body: bool) -> None:
        if self.refuses:
            self.send_response(self.refuses[0])
            self.send_header("X-Error-Code", self.refuses[1])
            self.send_header("Content-Length", "0")
            return self.end_headers()
        path = self.path.partition("?")[0]
        self.asked.append(path)
        files = {file.name: file for file in self.folder.iterdir()}
        if path.startswith("/people/talker/resolve/"):
            name = path.rpartition("/")[2]
            if with_body:
                self.fetched.append(name)
            return self.send(files[name].read_bytes(), with_body)
        known: dict[str, Any] = {
            "/api/models/people/talker/revision/main": {"id": "people/talker", "sha": COMMIT},
            f"/api/models/people/talker/tree/{COMMIT}": [
                {"type": "file", "path": name, "size": file.stat().st_size, "oid": "0" * 40}
                for name, file in files.items()
            ],
        }
        if path not in known:
            return self.send_error(404)
        return self.send(json.dumps(known[path]).encode(), with_body)

    def send(self, body: bytes, with_body: bool) -> None:
        self.send_response(200)
        for name, value in {
            "Content-Length": str(len(body)), "Content-Type": "application/json",
            "ETag": f'"{hashlib.sha1(body).hexdigest()}"', "X-Repo-Commit": COMMIT,
        }.items():  # fmt: skip
            self.send_header(name, value)
        self.end_headers()
        if with_body:
            self.wfile.write(body)

    def log_message(self, *_: Any) -> None:
        pass


@pytest.fixture
def served(tiny_checkpoint: Path, tmp_path: Path) -> Iterator[tuple[type[Hub], str]]:
    """The hub's model, and where it is asked."""

    class OfTest(Hub):
        folder: ClassVar[Path] = Path(shutil.copytree(tiny_checkpoint, tmp_path / "talker"))
        fetched: ClassVar[list[str]] = []
        asked: ClassVar[list[str]] = []

    (OfTest.folder / "model.int8").unlink(missing_ok=True)
    server = ThreadingHTTPServer(("127.0.0.1", 0), OfTest)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield OfTest, f"http://127.0.0.1:{server.server_address[1]}"
    server.shutdown()
    server.server_close()


def as_old(folder: Path) -> None:
    torch.save(load_file(folder / "model.safetensors"), folder / "pytorch_model.bin")
    (folder / "model.safetensors").unlink()


def both(folder: Path) -> None:
    safe = (folder / "model.safetensors").read_bytes()
    as_old(folder)
    (folder / "model.safetensors").write_bytes(safe)


def old_parts(folder: Path) -> None:
    stored = load_file(folder / "model.safetensors")
    parts = {name: f"pytorch_model-0000{1 + i % 2}-of-00002.bin" for i, name in enumerate(sorted(stored))}
    for part in PARTS:
        torch.save({name: weight for name, weight in stored.items() if parts[name] == part}, folder / part)
    (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"weight_map": parts}))
    (folder / "model.safetensors").unlink()


def ask(endpoint: str, folder: Path, **more: str) -> subprocess.CompletedProcess[str]:
    """Another process talks with the hub's model, which is then in a cache in the folder."""
    environment = {"HF_ENDPOINT": endpoint, "HF_HOME": str(folder / "cache"), "HF_HUB_OFFLINE": "0", **more}
    command = [sys.executable, "-c", SCRIPT, "people/talker"]
    return subprocess.run(command, env={**os.environ, **environment}, capture_output=True, text=True, check=False)


@pytest.mark.parametrize(
    "change, weights",
    [(as_old, {"pytorch_model.bin"}), (both, {"model.safetensors"}), (old_parts, set(PARTS))],
    ids=["old", "both", "old parts"],
)
def test_a_model_of_the_hub_talks(
    served: tuple[type[Hub], str], tmp_path: Path, change: Callable[[Path], None], weights: set[str]
) -> None:
    hub, endpoint = served
    change(hub.folder)

    def reply(**more: str) -> str:
        done = ask(endpoint, tmp_path, **more)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert reply().endswith(" []\n")  # the native engine read the weights
    assert {name for name in hub.fetched if "model" in Path(name).stem and name.endswith(("bin", "rs"))} == weights
    assert hub.asked.count("/api/models/people/talker/revision/main") <= 2  # for pickled weights a second time
    fetched = list(hub.fetched)
    assert reply(HF_HUB_OFFLINE="1").endswith(" []\n")
    hub.refuses = (200, "")  # a network's own page, say
    assert reply().endswith(" []\n")
    assert hub.fetched == fetched


def test_a_folder_that_comes_or_goes_while_a_process_runs(
    tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[str] = []

    def fetched(name: str, **_: Any) -> Path:
        asked.append(name)
        if len(asked) == 1:
            raise ConnectionError
        return Path(shutil.copytree(tiny_checkpoint, tmp_path / str(len(asked))))

    monkeypatch.setattr("dialogpt.hub._fetched", lambda name, **kind: fetched(name) if not kind else 1 / 0)
    monkeypatch.chdir(tmp_path)
    with pytest.raises(CheckpointError, match="cannot be reached"):
        model_path("people/other")
    folder = model_path("people/other")  # a failure is not remembered
    assert model_path("people/other") == folder
    shutil.rmtree(folder)
    assert model_path("people/other") != folder
    shutil.copytree(tiny_checkpoint, tmp_path / "people" / "other")
    assert model_path("people/other") == Path("people/other")
    assert len(asked) == 3


@pytest.mark.parametrize(
    "refusal, said",
    [
        ((403, "GatedRepo"), "gives 'people/talker' only to people whom its owners have admitted (request access"),
        ((401, "RepoNotFound"), "has no model 'people/talker' (check the name; for a private one, set HF_TOKEN"),
        ((404, "RepoNotFound"), "has no model 'people/talker'"),
        ((500, "Down"), "the Hugging Face hub does not give 'people/talker': it answers with status 500 (try again"),
        ((403, "Forbidden"), "status 403 (check your token (HF_TOKEN))"),
        ((200, ""), "the Hugging Face hub cannot be reached (go online once"),  # a page in the place of JSON
    ],
)
def test_what_the_hub_refuses(
    served: tuple[type[Hub], str], tmp_path: Path, refusal: tuple[int, str], said: str
) -> None:
    hub, endpoint = served
    hub.refuses = refusal
    last = ask(endpoint, tmp_path).stderr.splitlines()[-1]
    assert last.startswith("dialogpt.errors.CheckpointError: ")
    assert said in last


def test_a_hub_without_an_answer(tmp_path: Path) -> None:
    for endpoint in ("http://127.0.0.1:9", "no-address"):
        last = ask(endpoint, tmp_path).stderr.splitlines()[-1]
        assert "'people/talker' is not a folder here, and the Hugging Face hub cannot be reached" in last


def test_a_cache_that_cannot_be_written(served: tuple[type[Hub], str], tmp_path: Path) -> None:
    (tmp_path / "cache").write_text("a file")
    last = ask(served[1], tmp_path).stderr.splitlines()[-1]
    assert f"'people/talker' cannot be saved at {tmp_path / 'cache'}" in last
    assert "HF_HOME" in last


def test_a_revision() -> None:
    with pytest.raises(CheckpointError, match="is neither a folder nor a hub name") as caught:
        model_path("people/talker@v2")
    assert caught.value.hint == "to get a revision: hf download people/talker --revision v2"


def an_adapter(folder: Path) -> None:
    for file in (folder / "config.json", folder / "model.safetensors"):
        file.unlink()
    (folder / "adapter_config.json").write_text("{}")


def without_weights(folder: Path) -> None:
    (folder / "model.safetensors").unlink()


@pytest.mark.parametrize(
    "change, said",
    [
        (an_adapter, "holds an adapter of PEFT, which is a part of a model (merge it"),
        (without_weights, "holds no model.safetensors or pytorch_model.bin"),
    ],
)
def test_what_is_no_model(
    served: tuple[type[Hub], str], tmp_path: Path, change: Callable[[Path], None], said: str
) -> None:
    hub, endpoint = served
    change(hub.folder)
    assert said in ask(endpoint, tmp_path).stderr.splitlines()[-1]


@pytest.mark.parametrize(
    "name, said",
    [
        ("adapter_config.json", "an adapter of PEFT"),
        ("model.Q4_K_M.gguf", r"a model for llama\.cpp"),
        ("onnx/model.onnx", "a model for ONNX"),
        ("tf_model.h5", "weights for TensorFlow"),
        ("flax_model.msgpack", "weights for Flax"),
    ],
)
@pytest.mark.parametrize("config", [True, False], ids=["with config.json", "without"])
def test_weights_of_other_programs(tiny_checkpoint: Path, tmp_path: Path, name: str, said: str, config: bool) -> None:
    if config:
        shutil.copytree(tiny_checkpoint, tmp_path, dirs_exist_ok=True, ignore=shutil.ignore_patterns("model.*"))
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_bytes(b"GGUF")
    with pytest.raises(CheckpointError, match=f"{tmp_path} holds {said}"):
        checkpoint.load(tmp_path)
    if "onnx/" not in name:
        with pytest.raises(CheckpointError, match=f"{name} is {said}"):
            checkpoint.load(tmp_path / name)


def test_folders_that_a_trainer_left(tiny_checkpoint: Path, tmp_path: Path) -> None:
    for step in (500, 1000):
        shutil.copytree(tiny_checkpoint, tmp_path / f"checkpoint-{step}")
    with pytest.raises(CheckpointError, match="has no config") as caught:
        checkpoint.load(tmp_path)
    assert caught.value.hint == f"name a folder in it: {tmp_path / 'checkpoint-1000'}"
    with pytest.raises(CheckpointError, match="holds only a folder's weights"):
        checkpoint.load(tmp_path / "checkpoint-500" / "model.safetensors")


@pytest.mark.parametrize(
    "changes, said",
    [
        ({"quantization_config": {"quant_method": "gptq", "bits": 4}}, "is quantised by another program"),
        ({"model_type": ...}, r"config\.json has no model_type"),
        ({"model_type": "gptj"}, "is a 'gptj' model"),
    ],
)
def test_configurations_of_other_models(
    tiny_checkpoint: Path, tmp_path: Path, changes: dict[str, Any], said: str
) -> None:
    file = Path(shutil.copytree(tiny_checkpoint, tmp_path / "model")) / "config.json"
    config = json.loads(file.read_text()) | changes
    file.write_text(json.dumps({name: value for name, value in config.items() if value is not ...}))
    with pytest.raises(CheckpointError, match=said):
        checkpoint.load(file.parent)


def test_who_has_no_home_is_told_what_to_name(homeless: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "~/.cache")
    monkeypatch.setattr("huggingface_hub._snapshot_download.HF_HUB_CACHE", "~/.cache", raising=False)
    with pytest.raises(CheckpointError, match=r"'people/talker' is not a folder here, and there is no home .*HF_HOME"):
        model_path("people/talker")
