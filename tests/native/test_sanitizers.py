"""The library built with the address and undefined-behaviour sanitizers, which end the process at the first fault.

Its tiles are emulated, so that their memory is looked at too.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "-O1", "-fsanitize=address,undefined", "-fno-sanitize-recover=all",
    "-fno-sanitize=null,alignment,object-size,vptr",  # a third of the compiler's time: the address sanitizer sees null
)  # fmt: skip
DRIVER = """
import itertools, os, sys
from pathlib import Path
from dialogpt.native import library
library.LIBRARY = Path(sys.argv[1])
from dialogpt.native.engine import open_native

for kernels in library.library().dialogpt_choices().decode().split():
    os.environ["DIALOGPT_CPU"] = kernels
    for folder, bits in itertools.product(map(Path, sys.argv[2:]), (8, 4)):
        (folder / f"model.int{bits}").unlink(missing_ok=True)
        engine = open_native(folder, bits)
        contexts = [[1] * length for length in (1, 7, 16, 17, engine.n_ctx)]
        logits, cache = engine.prefill(contexts, 0)
        cache.rearrange([0, 1, 1, 3, 2])
        logits = engine.decode([2, 3, 4, 5, 6], cache)
        cache.drop(1)
        logits = engine.decode([2, 3, 4, 5, 6], cache)
        cache.join([1, 5], engine.prefill(contexts[:2], 0)[1])
        branched = cache.prefix(3, 5).branch(3, 4)
        del cache
        engine.decode([1, 2, 3], branched)
        for k in (1, 50, logits.vocabulary):
            logits.likeliest(k)
        logits.logsumexp()
        engine.nats([(context[:-1] or [1], [2]) for context in contexts])
    print(kernels)
"""


def runtime(name: str) -> Path | None:
    """A sanitizer's own library, which comes first in a process whose program was built without it."""
    if shutil.which("g++") is None:
        return None
    found = Path(
        subprocess.run(["g++", f"-print-file-name={name}"], capture_output=True, text=True, check=True).stdout.strip()
    )
    return found if found.is_absolute() and found.exists() else None


def test_sanitizers_find_nothing(
    build: Any, emulated: tuple[Path, tuple[str, ...]], make_model: Callable[..., Any], save: Callable[[Any], Path],
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch,
) -> None:  # fmt: skip
    libraries = [runtime(name) for name in ("libasan.so", "libubsan.so")]
    if None in libraries:
        pytest.skip("g++ has no sanitizers here")
    monkeypatch.setenv("CXX", "g++")
    sources, flags = emulated
    build.compile_library(sources, tmp_path / "sanitized.so", (*FLAGS, *flags))
    folders = [
        save(make_model(vocab_size=361, n_ctx=40, n_layer=1, n_head=1, n_embd=8)),
        save(make_model(vocab_size=367, n_ctx=33, n_layer=2, n_head=3, n_embd=30)),
    ]
    environment = {
        **os.environ, "LD_PRELOAD": " ".join(map(str, libraries)), "DIALOGPT_THREADS": "2",
        "ASAN_OPTIONS": "detect_leaks=0",  # the interpreter's own
    }  # fmt: skip
    command = [sys.executable, "-c", DRIVER, str(tmp_path / "sanitized.so"), *map(str, folders)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment, timeout=300)
    assert done.returncode == 0, done.stderr[-3000:]
    assert done.stdout.splitlines()[-1] == "portable"
