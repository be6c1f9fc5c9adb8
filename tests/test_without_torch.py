"""An installation without torch: what talks does so with another engine, and what needs torch says so in a sentence."""

import json
import os
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Sequence
from pathlib import Path
from urllib.request import Request, urlopen

import pytest

SAYS = "hello there"
# Importing torch raises, and an engine that always says the same serves.
SCRIPT = f"""
import os, sys
sys.modules["torch"] = None
os.environ["DIALOGPT_CPU"] = "off"
sys.path.insert(0, {str(Path(__file__).parent)!r})
from conftest import ScriptedEngine
from dialogpt.decoding import loading
from dialogpt.tokens.bpe import Tokenizer

def engine(source, bits=8, **kind):
    tokenizer = Tokenizer.load(source)
    return ScriptedEngine([[*tokenizer.encode({SAYS!r}), tokenizer.end_id]] * 32, tokenizer.vocab_size)

if "alone" not in sys.argv:
    loading.native_engine = engine
sys.argv[1:2] = []
"""


def script(end: str) -> str:
    return SCRIPT + textwrap.dedent(end)


MAIN = "from dialogpt.cli import main\nmain()\n"
RUN = script(MAIN)


def run(
    command: Sequence[str], *, served: bool = True, stdin: str = "", code: str = RUN
) -> subprocess.CompletedProcess[str]:
    arguments = [sys.executable, "-c", code, "served" if served else "alone", *command]
    return subprocess.run(arguments, input=stdin, capture_output=True, text=True, check=False, timeout=120)


def test_chat() -> None:
    done = run(["chat", "--no-log"], stdin="hi\nare you there?\n")
    assert (done.returncode, done.stdout) == (0, f"{SAYS}\n{SAYS}\n"), done.stderr


def test_chat_chooses_by_a_backward_model() -> None:
    done = run(["chat", "--mmi", "--num-hypotheses", "3", "--json", "--no-log"], stdin="hi\n")
    assert done.returncode == 0, done.stderr
    assert SAYS in json.loads(done.stdout).values()


@pytest.mark.parametrize("more", [[], ["--mmi", "--num-hypotheses", "2"]], ids=str)
def test_generate(tmp_path: Path, more: list[str]) -> None:
    contexts = tmp_path / "contexts.txt"
    contexts.write_text("hi\n")
    done = run(["generate", str(contexts), *more])
    assert (done.returncode, done.stdout) == (0, f"{SAYS}\n"), done.stderr


def test_a_chatbot_in_python() -> None:
    done = run([], code=script("from dialogpt import Chatbot\nprint(Chatbot.load().reply('hi'))"))
    assert (done.returncode, done.stdout) == (0, f"{SAYS}\n"), done.stderr


def test_serve() -> None:
    there = SCRIPT.replace("{", "{{").replace("}", "}}")  # the process that decodes is such an installation, too
    code = f"from dialogpt.chat.serving import process\nprocess.BEGIN = {there!r} + process.BEGIN\n"
    arguments = [sys.executable, "-c", script(code + MAIN), "served", "serve", "--port", "0"]
    process = subprocess.Popen(
        arguments, stderr=subprocess.PIPE, text=True, env={**os.environ, "PYTHONUNBUFFERED": "1"}
    )
    assert process.stderr is not None
    try:
        url = process.stderr.readline().split()[-1]
        body = json.dumps({"messages": [{"role": "user", "content": "hi"}]}).encode()
        asked = Request(f"{url}/v1/chat/completions", body, {"Content-Type": "application/json"})
        until = time.monotonic() + 60
        while True:
            try:
                with urlopen(asked) as answer:
                    told = json.load(answer)
                break
            except ConnectionError:
                assert time.monotonic() < until
                time.sleep(0.05)
        assert told["choices"][0]["message"]["content"] == SAYS
    finally:
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=60)


def test_info(tmp_path: Path) -> None:
    done = run(["info", str(Path(__file__).parents[1] / "src" / "dialogpt" / "bundled")])
    assert (done.returncode, "n_layer 6" in done.stdout) == (0, True), done.stderr


@pytest.mark.parametrize(
    "command, what",
    [
        (["train", "shards", "--out", "run"], "`dialogpt train`"),
        (["export", "bundled", "--out", "there"], "`dialogpt export`"),
        (["chat"], "the bundled model with --device auto and --precision auto"),
        (["chat", "--device", "cuda"], "the bundled model with --device cuda and --precision auto"),
        (["generate", "in.txt", "--precision", "fp32"], "the bundled model with --device auto and --precision fp32"),
        (["select", "refs.jsonl", "--distractors", "1"], "the bundled model with --device auto and --precision auto"),
    ],
    ids=str,
)  # fmt: skip
def test_what_needs_torch_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, command: list[str], what: str
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("in.txt").write_text("hi\n")
    Path("refs.jsonl").write_text(
        '{"context": ["hi"], "references": ["a"]}\n{"context": ["oh"], "references": ["b"]}\n'
    )
    done = run(command, served=False, stdin="hi\n")
    assert done.returncode == 2
    error, hint = done.stderr.splitlines()[-2:]
    assert error == f"error: {what} needs PyTorch, which is not installed"
    assert hint == 'hint: pip install "dialogpt[torch]"'
