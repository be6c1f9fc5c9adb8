"""What `generate` has done is kept until all is: a real process is killed, and goes on."""

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from dialogpt.decoding import GenerateConfig, Reply
from dialogpt.decoding.generate import generate, read_contexts
from dialogpt.decoding.journal import Journal
from dialogpt.errors import UsageError

TEXTS = [f"{i} does money buy happiness? صباح الخير" for i in range(60)]
SETTINGS = ("--seed", "3", "--max-new-tokens", "12", "--device", "cpu", "--batch-size", "2", "--format", "jsonl")


@pytest.fixture
def contexts(tmp_path: Path) -> Path:
    path = tmp_path / "contexts.txt"
    path.write_text("".join(f"{text}\n" for text in TEXTS), encoding="utf-8")
    return path


def start(model: Path, contexts: Path, out: Path) -> "subprocess.Popen[bytes]":
    command = [sys.executable, "-m", "dialogpt", "generate", str(contexts), "--model", str(model), "--out", str(out)]
    return subprocess.Popen([*command, *SETTINGS], env={**os.environ, "OMP_NUM_THREADS": "1"}, stderr=subprocess.PIPE)


def whole(model: Path, contexts: Path, out: Path, *, overwrite: bool = False) -> str:
    config = GenerateConfig(
        contexts=contexts,
        model=str(model),
        out=out,
        seed=3,
        max_new_tokens=12,
        device="cpu",
        batch_size=5,
        format="jsonl",
        overwrite=overwrite,
    )
    generate(config)
    return out.read_text(encoding="utf-8")


def replies(text: str) -> list[tuple[str, str]]:
    return [(record["id"], record["hypothesis"]) for record in map(json.loads, text.splitlines())]


def test_a_killed_process_goes_on_and_comes_to_the_same_file(
    tiny_checkpoint: Path, contexts: Path, tmp_path: Path
) -> None:
    expected = whole(tiny_checkpoint, contexts, tmp_path / "expected.jsonl")
    out, part = tmp_path / "out.jsonl", tmp_path / ".out.jsonl.part"
    process = start(tiny_checkpoint, contexts, out)
    deadline = time.monotonic() + 120
    while not (part.is_file() and part.read_bytes().count(b"\n") > 2):
        assert process.poll() is None
        assert time.monotonic() < deadline
        time.sleep(0.001)
    process.send_signal(signal.SIGKILL)
    process.communicate(timeout=60)
    assert not out.exists()
    done = part.read_bytes()
    part.write_bytes(done[: done.rindex(b"\n") + 1] + b'{"3":{"text":"cut sho')  # killed within a write
    again = start(tiny_checkpoint, contexts, out)
    _, said = again.communicate(timeout=120)
    assert again.returncode == 0, said
    assert b"going on: " in said
    assert replies(out.read_text(encoding="utf-8")) == replies(expected)
    assert not part.exists()


def test_other_settings_or_contexts_begin_anew(tiny_checkpoint: Path, contexts: Path, tmp_path: Path) -> None:
    expected = whole(tiny_checkpoint, contexts, tmp_path / "expected.jsonl")
    part = tmp_path / ".out.jsonl.part"
    for header in (b'["another",3]\n', b"nonsense\n", b""):
        part.write_bytes(header + b'{"0":{"text":"not of here","hypotheses":[]}}\n')
        assert whole(tiny_checkpoint, contexts, tmp_path / "out.jsonl") == expected
        assert not part.exists()
        part.write_bytes(header)
        with pytest.raises(UsageError, match=r"out\.jsonl exists"):
            whole(tiny_checkpoint, contexts, tmp_path / "out.jsonl")
        assert part.read_bytes() == header
        (tmp_path / "out.jsonl").unlink()


def test_a_journal_of_other_seeds_is_not_gone_on_with(tiny_checkpoint: Path, contexts: Path, tmp_path: Path) -> None:
    out, part = tmp_path / "out.jsonl", tmp_path / ".out.jsonl.part"
    expected = whole(tiny_checkpoint, contexts, out)
    config = GenerateConfig(
        contexts=contexts, model=str(tiny_checkpoint), out=out, seed=3, max_new_tokens=12, device="cpu", overwrite=True
    )
    with Journal(config, list(read_contexts(contexts))):
        key, seed, version = json.loads(part.read_bytes())
    assert (seed, version) == (3, 2)
    old = json.dumps([key, 3]).encode() + b'\n{"0":{"text":"of another seed","hypotheses":[]}}\n'
    part.write_bytes(old)
    for there in (True, False):
        with pytest.raises(UsageError, match=r"\.out\.jsonl\.part was begun by another version of dialogpt") as caught:
            whole(tiny_checkpoint, contexts, out)
        assert "--overwrite" in caught.value.hint
        assert part.read_bytes() == old
        assert out.exists() == there
        out.unlink(missing_ok=True)
    assert whole(tiny_checkpoint, contexts, out, overwrite=True) == expected


def test_what_was_to_be_overwritten_goes_on(tiny_checkpoint: Path, contexts: Path, tmp_path: Path) -> None:
    """Killed with --overwrite: the journal tells that the old file may go."""
    out = tmp_path / "out.jsonl"
    expected = whole(tiny_checkpoint, contexts, out)
    config = GenerateConfig(
        contexts=contexts, model=str(tiny_checkpoint), out=out, seed=3, max_new_tokens=12, device="cpu", overwrite=True
    )
    items = list(read_contexts(contexts))
    with Journal(config, items) as journal:
        journal.add({0: Reply(text="kept", hypotheses=())})
        kept = (tmp_path / ".out.jsonl.part").read_bytes()
    (tmp_path / ".out.jsonl.part").write_bytes(kept)  # as if killed
    said = [text for _, text in replies(whole(tiny_checkpoint, contexts, out))]
    assert said[0] == "kept"
    assert said[1:] == [text for _, text in replies(expected)][1:]


@pytest.mark.skipif(os.name == "nt", reason="files are not locked there")
def test_two_do_not_write_the_same_file(contexts: Path, tmp_path: Path) -> None:
    out, part = tmp_path / "out.jsonl", tmp_path / ".out.jsonl.part"
    config = GenerateConfig(contexts=contexts, out=out, seed=3)
    items = list(read_contexts(contexts))
    with Journal(config, items) as first:
        first.add({0: Reply(text="kept", hypotheses=())})
        kept = part.read_bytes()
        with (
            pytest.raises(UsageError, match=r"another process is working in [^ ]*/out\.jsonl "),
            Journal(config, items),
        ):
            pass
        assert part.read_bytes() == kept
    with Journal(config, items) as second:
        assert not second.replies


@pytest.mark.parametrize("damage", [b'{"3": {"text', b"\xff\xfe\n", b'["not", "replies"]\n', b"\n"])
def test_a_damaged_line_and_what_follows_are_done_again(
    tiny_checkpoint: Path, contexts: Path, tmp_path: Path, damage: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    config = GenerateConfig(
        contexts=contexts, model=str(tiny_checkpoint), out=tmp_path / "out.jsonl", seed=3, max_new_tokens=12,
        device="cpu", batch_size=5, format="jsonl",
    )  # fmt: skip
    items = list(read_contexts(contexts))
    reply = Reply(text="kept", hypotheses=())
    journal = Journal(config, items)
    with journal:
        journal.add({0: reply, 7: reply})
        kept = (tmp_path / ".out.jsonl.part").read_bytes()
    (tmp_path / ".out.jsonl.part").write_bytes(kept)  # as if killed
    part = tmp_path / ".out.jsonl.part"
    with part.open("ab") as file:
        file.write(damage + b'\n{"9": {"text": "after it", "hypotheses": []}}\n')
    with caplog.at_level("INFO"):
        generate(config)
    assert f"{part}:3 is damaged" in caplog.text
    assert "going on: 2 replies are there" in caplog.text
    said = [text for _, text in replies((tmp_path / "out.jsonl").read_text(encoding="utf-8"))]
    assert [number for number, text in enumerate(said) if text == "kept"] == [0, 7]
    assert "after it" not in said
    assert not part.exists()
