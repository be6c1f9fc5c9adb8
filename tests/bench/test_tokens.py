"""The benchmark of `tokenize` runs on a small corpus and prints both rates and their ratio."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec

from dialogpt.session import Session, Turn

SCRIPT = Path(__file__).parents[2] / "bench" / "tokens.py"


def test_both_jobs_are_measured(tiny_tokenizer: Any, tmp_path: Path) -> None:
    tiny_tokenizer.save(tmp_path)
    texts = [f"does money buy happiness? سلام {i} 😀" for i in range(30)]
    session = Session(tuple(map(Turn, texts)))
    (tmp_path / "sessions.jsonl").write_bytes(msgspec.json.encode(session))
    command = [sys.executable, str(SCRIPT), str(tmp_path / "sessions.jsonl"), str(tmp_path), "--repeats", "1"]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    tokens = sum(len(tiny_tokenizer.encode(text)) for text in texts)
    assert f"{tokens:,} tokens in the turns; medians of 1 runs" in done.stdout
    assert re.search(r"^encoder +[\d,]+ ", done.stdout, re.MULTILINE)
    assert re.search(r"^tokenize +[\d,]+ ", done.stdout, re.MULTILINE)
    assert re.search(r"^rate of tokenize / encoder: \d+% ", done.stdout, re.MULTILINE)
