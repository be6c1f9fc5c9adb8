"""The kernels for ARM, built by a cross compiler and run by an emulator: results are those of other processors."""

import os
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from dialogpt.model.config import load_config
from dialogpt.native.engine import open_native
from dialogpt.native.packed import NAMES

COMPILERS = ("aarch64-linux-gnu-g++", "clang++ --target=aarch64-linux-gnu")  # the second takes the first's headers
EMULATOR, LIBRARIES = "qemu-aarch64", "/usr/aarch64-linux-gnu"
DRIVER = Path(__file__).with_name("arm_driver.cpp")
SHAPES: list[dict[str, int]] = [
    {"vocab_size": 360, "n_ctx": 64, "n_layer": 2, "n_head": 2, "n_embd": 64},
    {"vocab_size": 367, "n_ctx": 33, "n_layer": 2, "n_head": 3, "n_embd": 30},
]


@pytest.fixture(scope="module", params=COMPILERS)
def driver(build: Any, tmp_path_factory: pytest.TempPathFactory, request: pytest.FixtureRequest) -> Path:
    """A program for ARM with the library for ARM beside it."""
    compiler = request.param.split()
    for program in (COMPILERS[0], compiler[0], EMULATOR):
        if shutil.which(program) is None:
            pytest.skip(f"{program} is not installed")
    folder = tmp_path_factory.mktemp("arm")
    with pytest.MonkeyPatch.context() as patched:
        patched.setenv("CXX", request.param)
        how = build.compile_library(build.SOURCES, folder / "libdialogpt.so", machine="aarch64")
    assert how == f"{request.param}, kernels for neon, armv8 and any processor"
    program = folder / "driver"
    command = [*compiler, "-std=c++17", str(DRIVER), "-L", str(folder), "-ldialogpt", "-Wl,-rpath,$ORIGIN", "-o"]
    subprocess.run([*command, str(program)], check=True)
    return program


def run(driver: Path, folder: Path, kernels: str, bits: int, rows: list[list[int]], cpu: str) -> Any:
    config = load_config(folder)
    numbers = (bits, config.vocab_size, config.n_ctx, config.n_layer, config.n_head, config.n_embd)
    command = [EMULATOR, "-cpu", cpu, "-L", LIBRARIES, str(driver), str(folder / NAMES[bits]), kernels]
    told = b"".join(np.array([len(row), *row], np.int32).tobytes() for row in rows)
    return subprocess.run(
        [*command, *map(str, numbers), str(config.layer_norm_eps)], input=told, capture_output=True, check=False,
        env={**os.environ, "LD_LIBRARY_PATH": ""},
    )  # fmt: skip


def difference(found: NDArray[np.float32], expected: NDArray[np.float32]) -> float:
    about = expected - expected.mean(-1, keepdims=True)
    return float(np.linalg.norm(found - expected) / np.linalg.norm(about))


@pytest.mark.parametrize("bits", [8, 4])
@pytest.mark.parametrize("shape", SHAPES, ids=str)
@pytest.mark.parametrize("kernels", ["neon", "armv8", "portable"])
def test_logits_are_those_of_this_processor(
    driver: Path, make_model: Callable[..., Any], save: Callable[[Any], Path], kernels: str, shape: dict[str, int],
    bits: int,
) -> None:  # fmt: skip
    folder, rng = save(make_model(seed=3, **shape)), np.random.default_rng(0)
    rows = [rng.integers(0, shape["vocab_size"], length).tolist() for length in (1, 2, 3, 7, 16, 17, shape["n_ctx"])]
    engine = open_native(folder, bits)
    assert engine is not None
    expected = engine.prefill(rows, 0)[0].array()
    done = run(driver, folder, kernels, bits, rows, "max")
    assert done.returncode == 0, done.stderr
    assert done.stderr == b"neon armv8 portable\n"
    together, alone = np.frombuffer(done.stdout, np.float32).reshape(2, len(rows), -1)
    assert np.array_equal(together, alone)
    assert difference(together[:, : shape["vocab_size"]], expected) < 0.01  # where rounding decides an activation


def test_a_processor_without_dot_products(driver: Path, make_model: Callable[..., Any], save: Any) -> None:
    folder = save(make_model(seed=3))
    assert open_native(folder) is not None
    done = run(driver, folder, "neon", 8, [[1, 2]], "cortex-a53")
    assert done.returncode == 1
    assert done.stderr == b"armv8 portable\nno kernels neon here, but armv8 portable\n"
