"""The `generate` command's function: a file of contexts -> a file of hypotheses."""

import io
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file

from dialogpt import Session, Tokenizer, Turn
from dialogpt.decoding import GenerateConfig
from dialogpt.decoding.generate import generate, read_contexts
from dialogpt.errors import DataError, UsageError

TEXTS = ["does money buy happiness?", "صباح الخير", "hi\tgood morning 😀\tis it?", "a" * 40, "x", "what is\tthe best"]


@pytest.fixture
def run(tiny_checkpoint: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> Callable[..., list[str]]:
    """Write lines to a file, generate from it and return the lines of the output."""

    def run(lines: list[str], **settings: Any) -> list[str]:
        contexts = tmp_path / "contexts"
        contexts.write_bytes("".join(f"{line}\n" for line in lines).encode())
        values = {"model": str(tiny_checkpoint), "seed": 7, "max_new_tokens": 12, "device": "cpu", "overwrite": True}
        path = generate(GenerateConfig(contexts=contexts, **{**values, **settings}))
        assert path == settings.get("out")
        text = capsys.readouterr().out if path is None else path.read_text(encoding="utf-8")
        assert text.endswith("\n")
        return text[:-1].split("\n")

    return run


def turns(path: Path) -> list[tuple[str, ...]]:
    return [tuple(turn.text for turn in item.context) for item in read_contexts(path)]


def test_lines_in_every_form(tmp_path: Path) -> None:
    path = tmp_path / "contexts"
    path.write_text(
        "plain\n"
        "one\ttwo\t three\r\n"
        '{"context": ["Hi", "صباح"], "id": "a"}\n'
        '  {"turns": [{"text": "Hi", "speaker": "A"}, {"text": "Ho", "learn": false}], "id": 9, "source": "s"}\n'
        '{"turns": [["A", "Hi"], [2, "Ho"]]}\n'
        '{"context": [], "turns": ["Hi"]}\n'
        "last",
        encoding="utf-8",
    )
    items = list(read_contexts(path))
    assert [item.id for item in items] == ["1", "2", "a", "9", "5", "6", "7"]
    assert [item.context for item in items] == [
        (Turn("plain"),), (Turn("one"), Turn("two"), Turn(" three")), (Turn("Hi"), Turn("صباح")),
        (Turn("Hi", "A"), Turn("Ho", learn=False)), (Turn("Hi", "A"), Turn("Ho", "2")), (Turn("Hi"),), (Turn("last"),),
    ]  # fmt: skip


def test_sessions_as_the_project_writes_them(tmp_path: Path) -> None:
    from contextlib import closing

    from dialogpt.data.writers import SessionWriter

    with closing(SessionWriter(tmp_path)) as writer:
        writer.write(Session((Turn("Hi", "A"), Turn("Ho", "B", learn=False)), id="x"))
    (item,) = read_contexts(tmp_path / "sessions-00000.jsonl.zst")
    assert (item.context, item.id) == ((Turn("Hi", "A"), Turn("Ho", "B", learn=False)), "x")


@pytest.mark.parametrize(
    "line",
    [
        '{"context": ["Hi"]', '{"contexts": ["Hi"]}', '{"context": "Hi"}', '{"context": {"text": "Hi"}}',
        '{"context": [3]}', '{"context": [["A", "b", "c"]]}', '{"context": [["A", 3]]}', '{"context": [null]}',
        '{"context": [{"speaker": "A"}]}', '{"context": []}', '{"turns": []}', '{"context": 3}', "\t", "", "{}",
        '{"context": ' + "[" * 100_000, '{"context": ["\\ud800"]}',
    ],
    ids=lambda line: line[:40],
)  # fmt: skip
def test_bad_lines_are_named(tmp_path: Path, line: str) -> None:
    path = tmp_path / "contexts.jsonl"
    path.write_text(f'{{"context": ["fine"]}}\n{line}\n')
    with pytest.raises(DataError) as caught:
        list(read_contexts(path))
    assert caught.value.message.startswith(f"{path}:2: ")


def test_what_a_line_lacks_is_said(tmp_path: Path) -> None:
    (tmp_path / "c.jsonl").write_text('{"contxt": ["Hi"]}\n')
    with pytest.raises(DataError) as caught:
        list(read_contexts(tmp_path / "c.jsonl"))
    assert caught.value.message == f"{tmp_path}/c.jsonl:1: not a context: no `context` or `turns`"


def test_another_encoding_is_named(tmp_path: Path) -> None:
    path = tmp_path / "contexts.txt"
    path.write_bytes(b"fine\n" + "صباح".encode("cp1256") + b"\n")
    with pytest.raises(DataError, match=r"contexts.txt:2: not UTF-8"):
        list(read_contexts(path))


def test_a_byte_order_mark_is_no_text(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(b'\xef\xbb\xbf{"context": ["Hi"]}\n')
    assert turns(tmp_path / "c") == [("Hi",)]


def test_an_empty_file_is_an_error(tmp_path: Path, tiny_checkpoint: Path) -> None:
    (tmp_path / "none").touch()
    with pytest.raises(DataError, match="none holds no context"):
        generate(GenerateConfig(contexts=tmp_path / "none", model=str(tiny_checkpoint), device="cpu"))


def test_hypotheses_come_in_the_order_of_the_contexts(run: Callable[..., list[str]]) -> None:
    made = [json.loads(line) for line in run(TEXTS, format="jsonl")]
    assert [record["id"] for record in made] == ["1", "2", "3", "4", "5", "6"]
    assert [record["context"] for record in made] == [text.split("\t") for text in TEXTS]
    assert all(set(record) == {"id", "context", "hypothesis", "logprob", "ended"} for record in made)
    assert all(record["logprob"] < 0 for record in made)
    assert run(TEXTS) == [" ".join(record["hypothesis"].split()) for record in made]


@pytest.mark.parametrize("batch_size", [1, 2, 5])
def test_the_batch_size_changes_nothing(run: Callable[..., list[str]], batch_size: int) -> None:
    for settings in ({}, {"max_new_tokens": 60}):
        expected = [json.loads(line) for line in run(TEXTS, format="jsonl", **settings)]
        made = [json.loads(line) for line in run(TEXTS, format="jsonl", batch_size=batch_size, **settings)]
        for a, b in zip(made, expected, strict=True):
            assert a.pop("logprob") == pytest.approx(b.pop("logprob"), abs=1e-3)
            assert a == b


def test_the_same_line_twice_is_answered_twice(run: Callable[..., list[str]]) -> None:
    assert len(set(run(["hello"] * 4))) == 4
    assert len(set(run(["hello"] * 4, temperature=0))) == 1
    assert run(["hello"] * 4) == run(["hello"] * 4)
    assert run(["hello"] * 4) != run(["hello"] * 4, seed=None)


def test_seeds_share_no_draws(run: Callable[..., list[str]]) -> None:
    made = [run(["hello"] * 4, seed=seed, max_new_tokens=30) for seed in range(4)]
    assert len({reply for replies in made for reply in replies}) == 16


def test_a_file_that_is_there_is_kept(run: Callable[..., list[str]], tmp_path: Path) -> None:
    out = tmp_path / "out.txt"
    first = run(TEXTS, out=out)
    for settings in ({}, {"seed": 8}):
        with pytest.raises(UsageError, match=r"out.txt exists") as caught:
            run(TEXTS, out=out, overwrite=False, **settings)
        assert "--overwrite" in caught.value.hint
    assert out.read_text(encoding="utf-8").splitlines() == first
    assert run(TEXTS, out=out, seed=8) != first
    assert not (tmp_path / ".out.txt.part").exists()


@pytest.mark.parametrize("name", ["-", "/dev/stdin"])
def test_contexts_from_standard_input(
    run: Callable[..., list[str]], tiny_checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    expected = run(TEXTS)
    monkeypatch.setattr("sys.stdin", io.TextIOWrapper(io.BytesIO("\r\n".join(TEXTS).encode())))
    out = tmp_path / "new" / "out.txt"
    settings: dict[str, Any] = {"model": str(tiny_checkpoint), "seed": 7, "max_new_tokens": 12, "device": "cpu"}
    generate(GenerateConfig(contexts=Path(name), out=out, **settings))
    assert out.read_text(encoding="utf-8").splitlines() == expected


def test_from_standard_input_to_standard_output(tiny_checkpoint: Path, tmp_path: Path) -> None:
    """`-` and `-` are not one file."""
    command = [sys.executable, "-m", "dialogpt", "generate", "-", "--model", str(tiny_checkpoint), "--seed", "7"]
    command += ["--device", "cpu", "--max-new-tokens", "12", "--out"]
    both = [
        subprocess.run([*command, out], input=TEXTS[0].encode(), cwd=tmp_path, capture_output=True, check=True).stdout
        for out in ("-", "out.txt")
    ]
    assert both == [(tmp_path / "out.txt").read_bytes(), b"out.txt\n"]


def test_a_file_is_written_whole_or_not_at_all(
    run: Callable[..., list[str]], tiny_checkpoint: Path, tiny_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    out = tmp_path / "out"
    out.mkdir()
    first = run(TEXTS, out=out / "replies.txt")
    assert len(first) == len(TEXTS)
    with pytest.raises(DataError):
        run(["fine", '{"context": 3}'], out=out / "replies.txt")
    shutil.copytree(tiny_checkpoint, tmp_path / "nan")
    weights = load_file(tmp_path / "nan/model.safetensors")
    save_file({n: w * torch.nan for n, w in weights.items()}, tmp_path / "nan/model.safetensors")
    with pytest.raises(DataError, match="logits are not finite"):
        run(TEXTS, out=out / "replies.txt", model=str(tmp_path / "nan"))
    assert [path.name for path in out.iterdir()] == ["replies.txt"]
    assert (out / "replies.txt").read_text(encoding="utf-8").split("\n")[:-1] == first


def test_a_batch_size_below_one(run: Callable[..., list[str]]) -> None:
    with pytest.raises(UsageError, match="--batch-size 0"):
        run(TEXTS, batch_size=0)


def test_a_pipe_is_written_to_and_stays_one(
    run: Callable[..., list[str]], tiny_checkpoint: Path, tmp_path: Path
) -> None:
    """Nothing is kept beside it: in /dev that would be litter, and what was said cannot be taken back."""
    folder = tmp_path / "out"
    folder.mkdir()
    os.mkfifo(folder / "pipe")
    expected = run(TEXTS)
    with ThreadPoolExecutor(1) as reader:
        read = reader.submit((folder / "pipe").read_text, encoding="utf-8")
        config = GenerateConfig(
            contexts=tmp_path / "contexts", model=str(tiny_checkpoint), seed=7, max_new_tokens=12, device="cpu",
            out=folder / "pipe",
        )  # fmt: skip
        assert generate(config) is None
        assert read.result().splitlines() == expected
    assert [path.name for path in folder.iterdir()] == ["pipe"]
    assert (folder / "pipe").is_fifo()
