"""The command line as a user meets it: real processes, real files, and everything that can be wrong with them."""

import gzip
import json
import os
import re
import resource
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import zstandard

Result = subprocess.CompletedProcess[str]
CHATS = [
    {"turns": [["A", "does money buy happiness?"], ["B", "depends how much money you spend on it"]]},
    {"turns": ["can you cook?", "yes, I make a good soup", "what is in it?", "onions and love"]},
    {"messages": [{"role": "user", "content": "صباح الخير"}, {"role": "assistant", "content": "صباح النور"}]},
]
LINES = "".join(json.dumps(chat, ensure_ascii=False) + "\n" for chat in CHATS).encode()
TINY = ["--n-layer", "1", "--n-head", "2", "--n-embd", "16", "--n-ctx", "96", "--warmup", "0", "--device", "cpu",
        "--precision", "fp32"]  # fmt: skip
ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1"}


def dialogpt(*arguments: object, cwd: Path | None = None, stdin: str = "", **settings: Any) -> Result:
    command = [sys.executable, "-m", "dialogpt", *map(str, arguments)]
    return subprocess.run(
        command, cwd=cwd, input=stdin, env=ENVIRONMENT, capture_output=True, encoding="utf-8", errors="replace",
        check=False, **settings,
    )  # fmt: skip


def assert_fails(result: Result, code: int, message: str, hint: str = "") -> None:
    """One `error:` line and one `hint:` line on stderr, no traceback, nothing on stdout."""
    assert (result.returncode, result.stdout) == (code, ""), result.stderr
    lines = result.stderr.splitlines()
    assert sum(line.startswith("error: ") for line in lines) == 1, result.stderr
    assert "Traceback" not in result.stderr
    error, hinted = (next((line for line in lines if line.startswith(kind)), "") for kind in ("error: ", "hint: "))
    assert re.search(message, error), error
    assert hinted, "an error names the way out"
    assert re.search(hint, hinted), hinted


def listing(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


class Made(NamedTuple):
    folder: Path
    sessions: Path
    tokenizer: Path
    shards: Path
    run: Path


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Made:
    """The whole way from a chat file to a trained model, each step by its command."""
    folder = tmp_path_factory.mktemp("made")
    paths = Made(folder, *(folder / name for name in ("sessions", "tokenizer", "shards", "run")))
    (folder / "chats.jsonl").write_bytes(LINES)
    for command in (
        ["import", "chats.jsonl", "--out", "sessions"],
        ["tokenizer", "sessions", "--out", "tokenizer", "--vocab-size", "270"],
        ["tokenize", "sessions", "--tokenizer", "tokenizer", "--out", "shards"],
        ["train", "shards", "--out", "run", "--steps", "3", *TINY],
    ):
        result = dialogpt(*command, cwd=folder)
        assert result.returncode == 0, result.stderr
        assert result.stdout
    return paths


def test_from_a_chat_file_to_a_reply(made: Made, tmp_path: Path) -> None:
    (tmp_path / "contexts.txt").write_text("hi\ncan you cook?\tyes\nصباح الخير\n", encoding="utf-8")
    few = ["--max-new-tokens", "6", "--seed", "1"]
    replies = dialogpt("generate", tmp_path / "contexts.txt", "--model", made.run, "--format", "jsonl", *few)
    assert replies.returncode == 0, replies.stderr
    records = [json.loads(line) for line in replies.stdout.splitlines()]
    assert [record["context"] for record in records] == [["hi"], ["can you cook?", "yes"], ["صباح الخير"]]
    assert all(record["logprob"] < 0 for record in records)
    file = dialogpt("generate", tmp_path / "contexts.txt", "--model", made.run, "--out", tmp_path / "replies.txt", *few)
    assert file.stdout == f"{tmp_path / 'replies.txt'}\n"
    assert len((tmp_path / "replies.txt").read_text(encoding="utf-8").splitlines()) == 3

    exported = dialogpt("export", made.run, "--out", tmp_path / "exported", "--dtype", "fp32")
    assert (exported.returncode, exported.stdout) == (0, f"{tmp_path / 'exported'}\n")
    talks = [dialogpt("chat", model, *few, stdin="hi\n\nwhy?\n") for model in (made.run, tmp_path / "exported")]
    for talk in talks:
        assert talk.returncode == 0, talk.stderr
        assert [bool(line) for line in talk.stdout.splitlines()] == [True, False, True]  # a line for each line
    assert talks[0].stdout == talks[1].stdout

    expected = {
        made.folder / "chats.jsonl": "chats .turns. +2",
        made.sessions: "sessions +3",
        made.tokenizer: "tokens +270",
        made.shards: "turns +8",
        made.run: "training run",
        tmp_path / "exported": "checkpoint: model_type gpt2, n_layer 1, n_head 2, n_embd 16, n_positions 96",
    }
    for path, text in expected.items():
        told = dialogpt("info", path)
        assert (told.returncode, told.stderr) == (0, "")
        assert re.search(text, told.stdout), told.stdout


def test_results_go_to_stdout_and_the_rest_to_stderr(made: Made, tmp_path: Path) -> None:
    loud = dialogpt("import", made.folder / "chats.jsonl", "--out", tmp_path / "loud")
    assert loud.stdout.startswith("sessions, made ")
    assert loud.stderr.startswith("import ")
    quiet = dialogpt("--quiet", "import", made.folder / "chats.jsonl", "--out", tmp_path / "quiet")
    assert quiet.stderr == ""
    assert dialogpt("--version").stdout.startswith("dialogpt ")


@pytest.mark.parametrize(
    "arguments, message, hint",
    [
        (["trian"], "no command 'trian'", "did you mean 'train'"),
        (["frobnicate"], "no command 'frobnicate'", "the commands are extract"),
        (["import", "x", "--ouut", "y"], "--ouut.*--out", "import --help"),
        (["import", "x"], "--out is missing", "import --help"),
        (["import", "--out", "y"], "FILES is missing", "import --help"),
        (["import", "x", "--out"], "--out.* requires an argument", "import --help"),
        (["tokenize", "x", "--out", "y"], "--tokenizer is missing", ""),
        (["train", "x", "--out", "y", "--steps", "many"], "'many' is not a valid int", ""),
        (["train", "x", "--out", "y", "--schedule", "moon"], "'moon' is not one of 'linear'", ""),
        (["train", "x", "y", "--out", "z"], "unexpected extra argument", ""),
        (["tokenizer", "--out", "y"], "from sessions or from --gpt2", ""),
        (["info"], "PATH is missing", ""),
    ],
)
def test_wrong_usage_is_exit_code_2(tmp_path: Path, arguments: list[str], message: str, hint: str) -> None:
    assert_fails(dialogpt(*arguments, cwd=tmp_path), 2, message, hint)
    assert listing(tmp_path) == []


def test_debug_shows_the_traceback(tmp_path: Path) -> None:
    plain = dialogpt("info", "missing.jsonl", cwd=tmp_path)
    assert_fails(plain, 1, "missing.jsonl does not exist", "path")
    debug = dialogpt("--debug", "info", "missing.jsonl", cwd=tmp_path)
    assert debug.returncode == 1
    assert "Traceback" in debug.stderr
    assert "DataError" in debug.stderr


def test_a_flag_goes_before_the_file_and_the_file_before_the_default(made: Made, tmp_path: Path) -> None:
    (tmp_path / "import.toml").write_text(
        f'files = ["{(made.folder / "chats.jsonl").as_posix()}"]\nhead = 3\nmerge = true\nout = "from-file"\n',
        encoding="utf-8",
    )

    def settings(*flags: str) -> dict[str, Any]:
        result = dialogpt("import", "--config", "import.toml", "--overwrite", *flags, cwd=tmp_path)
        assert result.returncode == 0, result.stderr
        (manifest,) = tmp_path.glob("*/manifest.json")
        config: dict[str, Any] = json.loads(manifest.read_text(encoding="utf-8"))["config"]
        return config

    first = settings()
    assert (first["head"], first["merge"], first["max_words"], first["out"]) == (3, True, 0, "from-file")
    assert first["files"] == [(made.folder / "chats.jsonl").as_posix()]
    second = settings("--head", "2", "--no-merge")
    assert (second["head"], second["merge"]) == (2, False)


@pytest.mark.parametrize(
    "content, message, hint",
    [
        (b"haed = 2\n", "unknown setting 'haed'", "did you mean 'head'"),
        (b"frobnicate = 2\n", "unknown setting 'frobnicate'", "known: files, out, from, "),
        (b"head = \n", "set.toml does not load", "name = value"),
        (b'out = "\xff\xfe"\n', "set.toml does not load", "name = value"),
        (b'head = "two"\n', "head = 'two' .*`int`", "quotes"),
        (b"head = 1.5\n", "head = 1.5 .*`int`", ""),
        (b"head = true\n", "head = True .*`int`", ""),
        (b"merge = 1\n", "merge = 1 .*`bool`", ""),
        (b"speaker = [1]\n", "speaker = .1. .*`str`", ""),
        (b'files = "one.jsonl"\n', "files = 'one.jsonl' .*`array`", ""),
        (b"files = [3]\n", "files = .3. ", ""),
    ],
    ids=lambda value: value.decode("latin-1").strip() if isinstance(value, bytes) else None,
)
def test_a_settings_file_that_is_wrong(tmp_path: Path, content: bytes, message: str, hint: str) -> None:
    (tmp_path / "set.toml").write_bytes(content)
    (tmp_path / "chats.jsonl").write_bytes(LINES)
    arguments = ["chats.jsonl"] if b"files" not in content else []
    assert_fails(dialogpt("import", *arguments, "--out", "o", "--config", "set.toml", cwd=tmp_path), 2, message, hint)
    assert not (tmp_path / "o").exists()


def test_a_settings_file_of_windows(made: Made, tmp_path: Path) -> None:
    (tmp_path / "set.toml").write_bytes(b"\xef\xbb\xbfhead = 2\r\n")
    result = dialogpt("import", made.folder / "chats.jsonl", "--config", "set.toml", "--out", "o", cwd=tmp_path)
    assert result.returncode == 0, result.stderr
    assert json.loads((tmp_path / "o" / "manifest.json").read_text(encoding="utf-8"))["config"]["head"] == 2


@pytest.mark.skipif(os.name == "nt", reason="a shell closes the streams")
@pytest.mark.parametrize("closed", ["<&-", ">&- 2>&-", "<&- >&- 2>&-"])
def test_who_closes_the_streams_is_served(made: Made, closed: str) -> None:
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", sys.executable, "-m", "dialogpt", "chat", str(made.run)]
    done = subprocess.run(command, input=b"hi\n", env=ENVIRONMENT, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")


def test_a_missing_settings_file(tmp_path: Path) -> None:
    assert_fails(dialogpt("import", "x", "--out", "y", "--config", "no.toml", cwd=tmp_path), 2, "no.toml cannot be")


BAD_CHATS: dict[str, tuple[Callable[[Path], object], str, str]] = {
    "missing": (lambda path: None, "bad.jsonl does not exist", "path"),
    "empty": (lambda path: path.write_bytes(b""), "no session of two turns", "empty"),
    "blank lines": (lambda path: path.write_bytes(b"\n \n"), "no session of two turns", ""),
    "truncated zstd": (lambda p: p.write_bytes(zstandard.compress(LINES * 99)[:-9]), "zstd archive ends early", ""),
    "truncated gzip": (lambda p: p.write_bytes(gzip.compress(LINES * 99)[:-9]), "gzip archive ends early", "again"),
    "damaged gzip": (lambda p: p.write_bytes(b"\x1f\x8b" + b"no" * 40), "damaged gzip data", "again"),
    "no JSON": (lambda path: path.write_bytes(LINES + b"hello\n"), "bad.jsonl:4: not a conversation", "turns"),
    "other JSON": (lambda path: path.write_bytes(b'{"text": "hi"}\n'), "bad.jsonl:1: .*neither 'turns' nor", "turns"),
    "cp1256": (lambda p: p.write_bytes(LINES.decode().encode("cp1256")), "bad.jsonl:3: not UTF-8", "WINDOWS-1256"),
    "UTF-16 unmarked": (lambda p: p.write_bytes(LINES.decode().encode("utf-16-le")), "bad.jsonl:1: .*UTF-16", "utf-16"),
    "folder": (lambda path: path.mkdir(), "no file in the folder bad.jsonl is called", "files of chats in it"),
    "folder with a file": (lambda p: (p / "a.csv").mkdir(parents=True), "no file in the folder", "bad.jsonl/a.csv"),
}


@pytest.mark.parametrize("kind", BAD_CHATS)
def test_a_bad_file_is_an_error_and_leaves_nothing(tmp_path: Path, kind: str) -> None:
    write, message, hint = BAD_CHATS[kind]
    write(tmp_path / "bad.jsonl")
    before = listing(tmp_path)
    assert_fails(dialogpt("import", "bad.jsonl", "--out", "out", cwd=tmp_path), 1, message, hint)
    assert listing(tmp_path) == before


BAD_COMMANDS: dict[str, tuple[list[str], int, str, str]] = {
    "tokenize a chat file": (["tokenize", "CHATS", "--tokenizer", "TOKENIZER"], 1, "chats.jsonl:1: not a session", ""),
    "tokenize with a file": (["tokenize", "SESSIONS", "--tokenizer", "CHATS"], 1, "chats.jsonl", "dialogpt"),
    "tokenize with nothing": (["tokenize", "SESSIONS", "--tokenizer", "./no"], 1, "no", ""),
    "tokenizer of nothing": (["tokenizer", "TOKENIZER"], 1, "holds no sessions", "import"),
    "vocabulary too small": (["tokenizer", "SESSIONS", "--vocab-size", "-1"], 2, "--vocab-size -1", "257"),
    "negative head": (["import", "CHATS", "--head", "-1"], 2, "--head -1", ""),
    "negative words": (["import", "CHATS", "--max-words", "-1"], 2, "--max-words -1", ""),
    "negative tokens": (["tokenize", "SESSIONS", "--tokenizer", "TOKENIZER", "--max-tokens", "-9"], 2, "-9", ""),
    "train on a file": (["train", "CHATS"], 1, "holds no token shards", "tokenize"),
    "train on sessions": (["train", "SESSIONS"], 1, "holds no token shards", "tokenize"),
    "heads": (["train", "SHARDS", "--n-embd", "30", "--n-head", "4"], 2, "30 is not a multiple of --n-head 4", ""),
    "negative steps": (["train", "SHARDS", "--steps", "-3"], 2, "--steps -3", ""),
    "negative seed": (["train", "SHARDS", "--seed", "-3"], 2, "--seed -3", ""),
    "long session": (["train", "SHARDS", "--n-ctx", "16"], 1, "longer than the model's n_ctx of 16", "--max-tokens 16"),
    "out below a file": (["train", "SHARDS", "--out", "CHATS/run"], 1, "Not a directory", ""),
    "negative reply": (["generate", "CHATS", "--max-new-tokens", "-1"], 2, "--max-new-tokens -1", "at least 1"),
    "negative batch": (["generate", "CHATS", "--model", "RUN", "--batch-size", "-1"], 2, "--batch-size -1", ""),
    "negative reply seed": (["generate", "CHATS", "--model", "RUN", "--seed", "-1"], 2, "--seed -1", ""),
    "export of sessions": (["export", "SESSIONS"], 1, "not a checkpoint folder", "train"),
    "card": (["export", "RUN", "--card", "no.md"], 2, "--card no.md", ""),
    "overwrite": (["import", "CHATS", "--out", "RUN"], 2, "exists and is not empty", "--overwrite"),
    "out is a file": (["import", "CHATS", "--out", "CHATS"], 2, "is a file", "--out"),
}


@pytest.mark.parametrize("kind", BAD_COMMANDS)
def test_a_command_that_cannot_work_leaves_nothing(made: Made, tmp_path: Path, kind: str) -> None:
    arguments, code, message, hint = BAD_COMMANDS[kind]
    names = {"CHATS": made.folder / "chats.jsonl"} | {name.upper(): path for name, path in made._asdict().items()}
    given = ["/".join(str(names.get(part, part)) for part in argument.split("/")) for argument in arguments]
    if "--out" not in given:
        given += ["--out", "out"]
    before = listing(made.folder)
    assert_fails(dialogpt(*given, cwd=tmp_path), code, message, hint)
    assert listing(tmp_path) == []
    assert listing(made.folder) == before


def test_a_checkpoint_of_another_vocabulary_is_refused(made: Made, tmp_path: Path) -> None:
    for command in (
        ["tokenizer", made.sessions, "--out", "tokenizer", "--vocab-size", "290"],
        ["tokenize", made.sessions, "--tokenizer", "tokenizer", "--out", "shards"],
    ):
        assert dialogpt(*command, cwd=tmp_path).returncode == 0
    result = dialogpt("train", "shards", "--out", "run", "--init", made.run, cwd=tmp_path)
    assert_fails(result, 2, r"another vocabulary \(290 tokens\) than .* \(270\)", f"--tokenizer {made.run}")
    assert not (tmp_path / "run").exists()


FULL_DISK: dict[str, tuple[int, list[str]]] = {
    "import": (1_000, ["import", "LONG"]),
    "tokenizer": (2_000, ["tokenizer", "SESSIONS", "--vocab-size", "270"]),
    "tokenize": (8_000, ["tokenize", "LONG", "--tokenizer", "TOKENIZER"]),
    "generate": (
        9_000,
        ["generate", "CONTEXTS", "--model", "RUN", "--max-new-tokens", "8", "--batch-size", "8", "--seed", "1"],
    ),
    "train": (20_000, ["train", "SHARDS", "--steps", "1", *TINY]),
    "train, later": (50_000, ["train", "SHARDS", "--steps", "1", *TINY]),
    "export": (8_000, ["export", "RUN"]),
}


@pytest.mark.parametrize("kind", FULL_DISK)
def test_a_full_disk_leaves_nothing_half_written(made: Made, tmp_path: Path, kind: str) -> None:
    """No file may grow beyond a limit: to a program that is a full disk."""
    limit, arguments = FULL_DISK[kind]
    sessions = ({"turns": [{"text": f"{i * 7919 % 10007} what?"}, {"text": str(i**5)}]} for i in range(2000))
    (tmp_path / "long.jsonl").write_text("".join(json.dumps(s) + "\n" for s in sessions), encoding="utf-8")
    (tmp_path / "contexts.txt").write_text("hi\n" * 300, encoding="utf-8")
    names = {"LONG": tmp_path / "long.jsonl", "CONTEXTS": tmp_path / "contexts.txt", "SESSIONS": made.sessions,
             "TOKENIZER": made.tokenizer, "SHARDS": made.shards, "RUN": made.run}  # fmt: skip
    given = [names.get(argument, argument) for argument in arguments]

    def limited() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))

    out = tmp_path / "out"
    assert_fails(dialogpt(*given, "--out", out, preexec_fn=limited), 1, str(tmp_path / ".?out"), "space")
    left = set(listing(tmp_path)) - {"long.jsonl", "contexts.txt"}
    if kind == "generate":  # what was done is kept
        assert left == {".out.part"}
        assert dialogpt(*given, "--out", out).returncode == 0
        assert set(listing(tmp_path)) == {"long.jsonl", "contexts.txt", "out"}
        assert len(out.read_text("utf-8").splitlines()) == 300
    else:
        assert left == set()


@pytest.mark.parametrize("command", ["info SESSIONS", "--help", "generate CHATS --model RUN --max-new-tokens 3"])
def test_a_reader_that_goes_away_makes_no_noise(made: Made, tmp_path: Path, command: str) -> None:
    (tmp_path / "contexts.txt").write_text("hi\n", encoding="utf-8")
    names = {"SESSIONS": str(made.sessions), "CHATS": str(tmp_path / "contexts.txt"), "RUN": str(made.run)}
    given = [names.get(word, word) for word in command.split()]
    process = subprocess.Popen(
        [sys.executable, "-m", "dialogpt", "--quiet", *given],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=ENVIRONMENT,
    )
    assert process.stdout is not None
    assert process.stderr is not None
    process.stdout.close()  # as `| head -1` does once it has its line
    stderr = process.stderr.read().decode()
    process.stderr.close()
    assert process.wait(timeout=240) in (0, 1)
    assert stderr == ""
