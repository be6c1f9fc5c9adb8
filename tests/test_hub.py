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

COMMIT = "0123456789abcdef0123456789abcdef01234567"
SCRIPT = """
import sys
from dialogpt import Chatbot
print(Chatbot.load(sys.argv[1]).reply("hello"), sorted({"torch", "transformers"} & set(sys.modules)))
"""


class Hub(BaseHTTPRequestHandler):
    """One model, `people/talker`, of the files in `folder`; what was fetched is in `fetched`."""

    folder: ClassVar[Path]
    fetched: ClassVar[list[str]]

    def do_HEAD(self) -> None:
        self.answer(with_body=False)

    def do_GET(self) -> None:
        self.answer(with_body=True)

    def answer(self, *, with_body: bool) -> None:
        path = self.path.partition("?")[0]
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


@pytest.mark.parametrize(
    "change, weights", [(as_old, "pytorch_model.bin"), (both, "model.safetensors")], ids=["old", "both"]
)
def test_a_model_of_the_hub_talks(
    served: tuple[type[Hub], str], tmp_path: Path, change: Callable[[Path], None], weights: str
) -> None:
    hub, endpoint = served
    change(hub.folder)
    environment = {**os.environ, "HF_ENDPOINT": endpoint, "HF_HOME": str(tmp_path / "cache"), "HF_HUB_OFFLINE": "0"}

    def reply(**more: str) -> str:
        command = [sys.executable, "-c", SCRIPT, "people/talker"]
        done = subprocess.run(command, env={**environment, **more}, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        return done.stdout

    assert reply().endswith(" []\n")  # the native engine read the weights
    assert {name for name in hub.fetched if "model" in Path(name).stem} == {weights}
    fetched = list(hub.fetched)
    assert reply(HF_HUB_OFFLINE="1").endswith(" []\n")
    assert hub.fetched == fetched


def test_who_has_no_home_is_told_what_to_name(homeless: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", "~/.cache")
    monkeypatch.setattr("huggingface_hub._snapshot_download.HF_HUB_CACHE", "~/.cache", raising=False)
    with pytest.raises(CheckpointError, match=r"'people/talker' is no folder here, and there is no home .*HF_HOME"):
        model_path("people/talker")
