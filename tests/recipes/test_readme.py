"""Every command of README.md runs as written, and README.ar.md has the same ones.

The hub is played by its own cache: DialoGPT-medium is a tiny model there, found offline by the real loading code.
`git clone` and `make torch` are left out, and `make test`, which is what runs this.
"""

import gzip
import json
import os
import re
import shlex
import shutil
import signal
import subprocess
import sys
import urllib.request
from pathlib import Path

import pytest
import zstandard

ROOT = Path(__file__).parents[2]
RUN_ELSEWHERE = ("git clone ", "make torch", "make test", "recipes/smoke.sh", "dialogpt bot ")  # bots: tests/chat/bots
SERVING = ("dialogpt serve", "dialogpt judge study.db")  # until they are told to end
CHATS = [
    {"turns": [["Ann", "Hi!"], ["Bo", "Hello, Ann."], ["Ann", "How was your day?"], ["Bo", "Long. I baked bread."]]},
    {"messages": [{"role": "user", "content": "Do you bake?"}, {"role": "assistant", "content": "Every Sunday."}]},
    {"turns": [["Ann", "مرحبا"], ["Bo", "أهلا بك"], ["Ann", "كيف حالك؟"], ["Bo", "بخير، شكرا"]]},
]


def blocks(readme: str, language: str) -> list[str]:
    text = (ROOT / readme).read_text(encoding="utf-8")
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def test_the_arabic_readme_has_the_same_commands() -> None:
    for language in ("bash", "python"):
        assert blocks("README.ar.md", language) == blocks("README.md", language)


def test_signs_at_the_ends_of_code_keep_their_side_in_arabic() -> None:
    """From right to left, `--allow` would be shown as `allow--`, but for a mark beside it."""
    text = re.sub(r"^```.*?^```$", "", (ROOT / "README.ar.md").read_text(encoding="utf-8"), flags=re.M | re.S)
    spans = list(re.finditer(r"`([^`\n]+)`", text))
    assert len(spans) > 40
    for span in spans:
        assert span[1][0].isalnum() or text.endswith("&lrm;", 0, span.start()), span[1]
        assert span[1][-1].isalnum() or text.startswith("&lrm;", span.end()), span[1]


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder that holds the files README speaks of."""
    folder = tmp_path_factory.mktemp("readme")
    (folder / "chats.jsonl").write_text("".join(json.dumps(c) + "\n" for c in CHATS), encoding="utf-8")
    lines = ["name,line", *("Ann,Do you bake?", 'Bo,"Every Sunday, yes."', "Ann,What kind?", "Bo,Rye bread.") * 3]
    (folder / "script.csv").write_text("\n".join(lines), encoding="utf-8")
    chat = ["12/31/20, 9:15 PM - Ann: Happy new year!", "12/31/20, 9:16 PM - Bo: And to you", "with all the best"]
    (folder / "WhatsApp Chat with Ann.txt").write_text("\n".join(chat), encoding="utf-8")
    (folder / "contexts.txt").write_text("Hello\nHi\tHello, who is there?\n", encoding="utf-8")
    (folder / "references.txt").write_text("Hello, how are you?\nIt is me.\n", encoding="utf-8")
    subprocess.run([sys.executable, str(ROOT / "tests/data/mini_dump.py"), str(folder)], check=True)
    (folder / "RC_2015-01.bz2").rename(folder / "RC_2006-01.bz2")
    submissions = gzip.decompress((folder / "RS_2015-01.gz").read_bytes())
    (folder / "RS_2006-01.zst").write_bytes(zstandard.compress(submissions))
    (folder / "recipes").symlink_to(ROOT / "recipes")
    return folder


@pytest.fixture(scope="module")
def environment(folder: Path) -> dict[str, str]:
    """`dialogpt` on the path, make without an installation, and a hub cache with a small DialoGPT-medium."""
    cache = folder / "hub" / "models--microsoft--DialoGPT-medium"
    snapshot = cache / "snapshots" / "0123"
    shutil.copytree(ROOT / "src" / "dialogpt" / "bundled", snapshot)
    (cache / "refs").mkdir()
    (cache / "refs" / "main").write_text("0123")
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    return {**os.environ, "PATH": path, "HF_HUB_CACHE": str(folder / "hub"), "HF_HUB_OFFLINE": "1"}


def assert_serves(command: str, folder: Path, environment: dict[str, str]) -> None:
    """It says where its page is, answers there, and ends by Ctrl-C."""
    arguments = [*shlex.split(command), "--port", "0"]
    process = subprocess.Popen(
        arguments, cwd=folder, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
    )
    assert process.stdout is not None
    said = ""
    while not (found := re.search(r"http://[\d.]+:\d+", said)):
        line = process.stdout.readline()
        assert line, f"{command}\n{said}"
        said += line
    with urllib.request.urlopen(found[0], timeout=60) as page:
        assert b"<html" in page.read()
    process.send_signal(signal.SIGINT)
    rest, _ = process.communicate(timeout=60)
    assert process.returncode in (0, 130, -signal.SIGINT), f"{command}\n{said}{rest}"
    assert "Traceback" not in rest
    if "judge" in arguments:  # what the report, the next command, is about
        answer = ["dialogpt", "judge", "study.db", "--terminal", "Ann"]
        subprocess.run(
            answer, cwd=folder, env=environment, input="a\n" * 20, text=True, check=True, capture_output=True
        )


@pytest.mark.recipe
def test_every_command_of_the_readme_runs(folder: Path, environment: dict[str, str]) -> None:
    for block in blocks("README.md", "bash"):
        for command in block.replace("\\\n", " ").splitlines():
            if command.startswith(RUN_ELSEWHERE):
                continue
            if command == "make chat":
                command = f"make -C {ROOT} chat VENV={sys.prefix}"
                if not (Path(sys.prefix) / ".chat").is_file():
                    continue  # this environment was not made by make
            if command.startswith(SERVING):
                assert_serves(command, folder, environment)
                continue
            done = subprocess.run(
                ["bash", "-euo", "pipefail", "-c", command],
                cwd=folder, env=environment, input="Hello\n", capture_output=True, text=True, timeout=300, check=False,
            )  # fmt: skip
            assert done.returncode == 0, f"{command}\n{done.stderr}"
            if "chat" in command.split():
                assert done.stdout.strip(), f"{command}: no reply"
    replies = (folder / "hypotheses.txt").read_text(encoding="utf-8").splitlines()
    assert len(replies) == 2
    assert all(replies)


@pytest.mark.recipe
def test_the_python_of_the_readme_runs(environment: dict[str, str]) -> None:
    (code,) = blocks("README.md", "python")
    assert len(code.strip().splitlines()) < 10
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", code], env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    assert len(done.stdout.splitlines()) >= 2
