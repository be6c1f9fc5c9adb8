"""The kernels for AMX, by tiles that are emulated in C++: their results are those of AVX-512, bit for bit.

Where a processor has AMX, all other tests of kernels run the real ones too.
"""

import os
import platform
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dialogpt.native import library

BEGIN = """
import os, sys
from pathlib import Path
from dialogpt.native import library
library.LIBRARY = Path(sys.argv[1])
"""
COMPARE = """
import itertools
import numpy as np
from dialogpt.native.engine import open_native

def results(kernels, threads, folder, bits):
    os.environ.update(DIALOGPT_CPU=kernels, DIALOGPT_THREADS=str(threads))
    engine, rng, found = open_native(folder, bits), np.random.default_rng(0), []
    draw = lambda number: rng.integers(0, 360, number).tolist()
    for rows in (1, 2, 3, 4, 5, 15, 16, 17, 31, 32, 33, 48, 50):  # tokens of one row, and of as many
        logits, cache = engine.prefill([draw(rows % engine.n_ctx + 1)], 0)
        found.append(logits.array())
        logits, cache = engine.prefill([draw(1 + row % 3) for row in range(rows)], 0)
        found += [logits.array(), engine.decode(draw(rows), cache).array()]
    found.append(np.array(engine.nats([(draw(engine.n_ctx - 3), draw(3)) for _ in range(20)])))
    return found

for folder, bits in itertools.product(map(Path, sys.argv[2:]), (8, 4)):
    expected = results("avx512", 1, folder, bits)
    for threads in (1, 3):
        found = results("amx", threads, folder, bits)
        assert all(np.isfinite(a).all() for a in expected)
        assert all(np.array_equal(a, b) for a, b in zip(found, expected, strict=True)), (folder, threads)
    print(len(expected))
"""


@pytest.fixture(scope="module")
def emulation(build: Any, emulated: tuple[Path, tuple[str, ...]], tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("amx") / "emulated.so.1"
    try:
        how = build.compile_library(emulated[0], made, emulated[1])
    except build.BuildFailed as error:
        pytest.skip(str(error))
    if "amx" not in how:
        pytest.skip(how)
    if "avx512" in (refused := run(made, "print(library._refusal('avx512') and 'avx512')").stdout):
        pytest.skip(f"{refused.strip()} does not run here")
    return made


def run(built: Path, script: str, *arguments: Path, **environment: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-c", BEGIN + script, str(built), *map(str, arguments)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=300, env={**os.environ, **environment}
    )


def test_results_are_those_of_avx512(
    emulation: Path, make_model: Callable[..., Any], save: Callable[[Any], Path]
) -> None:
    """Inputs of 16 to 640, most of them no multiple of 64; more rows than are gone over together; a single block."""
    folders = [
        save(make_model(vocab_size=361, n_ctx=40, n_layer=1, n_head=1, n_embd=8)),
        save(make_model(vocab_size=367, n_ctx=60, n_layer=2, n_head=3, n_embd=30)),
        save(make_model(vocab_size=400, n_ctx=200, n_layer=1, n_head=2, n_embd=160)),
        save(make_model(vocab_size=360, n_ctx=64, n_layer=2, n_head=2, n_embd=64)),
    ]
    done = run(emulation, COMPARE, *folders)
    assert done.stdout.split() == ["40", "40"] * len(folders), done.stderr


def test_they_are_the_best_that_run(emulation: Path) -> None:
    done = run(emulation, "print(library.describe_cpu())", DIALOGPT_CPU="")
    assert done.stdout.startswith("native engine: amx, the best that this processor runs\n"), done.stderr
    assert "not amx" not in done.stdout


def test_tiles_that_are_wrong_are_refused(emulation: Path) -> None:
    why = "a product by AMX was not that of avx512"
    done = run(emulation, "print(library.describe_cpu())", DIALOGPT_CPU="", WRONG_TILES="1")
    assert done.stdout.startswith("native engine: avx512, "), done.stderr
    assert f"not amx: {why}\n" in done.stdout
    done = run(emulation, "library.kernels()", DIALOGPT_CPU="amx", WRONG_TILES="1")
    assert f"DIALOGPT_CPU=amx does not run here: {why}" in done.stderr


def test_tiles_are_used_by_the_library_that_is_installed(build: Any) -> None:
    """It has kernels for AMX where this one would, and says why when they do not run."""
    named = [names for names, _ in build._choices(platform.machine().lower())]
    if not named or "amx" not in named[0]:
        pytest.skip("no machine that has AMX")
    assert "amx" in library._here() or library._refusal("amx") not in ("", "it was not built")
