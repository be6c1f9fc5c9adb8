"""CUDA and MPS, without a GPU: no operation mixes devices, and a step waits for the device as often as meant."""

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

from dialogpt.errors import UsageError
from dialogpt.train.setup import check_recompute

HERE = Path(__file__).parent
TORCH = Path(torch.__file__).parent


@pytest.fixture(scope="module")
def pretence(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """fake_cuda.cpp as a library for this torch."""
    compiler = shutil.which(os.environ.get("CXX", "g++"))
    if compiler is None or sys.platform != "linux":
        pytest.skip("needs g++ on Linux")
    if torch.version.cuda is not None or torch.version.hip is not None:
        pytest.skip("this torch has a CUDA of its own")
    library = tmp_path_factory.mktemp("fake_cuda") / "fake_cuda.so"
    command = [
        compiler, "-std=c++20", "-O0", "-shared", "-fPIC", f"-I{TORCH}/include", str(HERE / "fake_cuda.cpp"), "-o",
        str(library), f"-L{TORCH}/lib", "-lc10", "-ltorch_cpu", f"-Wl,-rpath,{TORCH}/lib",
    ]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return library


def waits(pretence: Path, shards: Path, out: Path, job: str, **settings: Any) -> dict[str, int]:
    """Run a job of fake_cuda.py; how often it waited for the device, by the line that did."""
    command = [sys.executable, str(HERE / "fake_cuda.py"), str(shards), str(out), job, json.dumps(settings)]
    environment = {**os.environ, "LD_PRELOAD": str(pretence), "OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr[-5000:]
    found: dict[str, int] = json.loads(done.stdout.splitlines()[-1])
    return found


@pytest.mark.parametrize(
    "settings",
    [{}, {"precision": "fp16"}, {"recompute": True, "reverse": True}, {"precision": "fp32", "clip": 0.0, "chain": 2}],
    ids=str,
)
def test_a_run_mixes_no_devices_and_waits_for_validations_and_checkpoints_only(
    pretence: Path, make_shards: Any, tmp_path: Path, settings: dict[str, Any]
) -> None:
    """Eight steps, a validation and a checkpoint: a step's figures are read once they are here."""
    found = waits(pretence, make_shards(validation=0.4), tmp_path / "run", "train", **settings)
    finite = [line for line in found if "norms.isfinite()" in line]
    assert [found.pop(line) for line in finite] == [1]  # before the checkpoint
    assert sum(found.values()) <= 6, found  # one for each batch of the validation
    assert all("self.world.sum(math.fsum(map(float, found))" in line for line in found)


@pytest.mark.parametrize("replays", [False, True])
def test_the_engine_mixes_no_devices(pretence: Path, shards: Path, tmp_path: Path, replays: bool) -> None:
    found = waits(pretence, shards, tmp_path, "engine", replays=replays)
    if replays:  # three replies of six tokens: the logits of one row leave the device, and nothing else
        assert list(found.values()) == [18], found


def test_dropout_is_not_drawn_anew_on_mps(make_model: Any) -> None:
    """torch's checkpointing restores the generators of CPUs and CUDA alone."""
    model = make_model(1)
    model.recompute = True
    model.set_dropout(0.0)
    check_recompute(model, torch.device("mps"))
    model.set_dropout(0.1)
    check_recompute(model, torch.device("cuda"))
    with pytest.raises(UsageError, match="--recompute on MPS cannot repeat what dropout drew"):
        check_recompute(model, torch.device("mps"))


def test_a_compiler_that_is_not_there_is_no_traceback(
    make_config: Any, tmp_path: Path, command_line: Any, environment: dict[str, str]
) -> None:
    command = [sys.executable, "-m", "dialogpt", *command_line(make_config(n_layer=1, compile="on"))]
    lacking = {**environment, "CXX": "none", "TORCHINDUCTOR_CACHE_DIR": str(tmp_path / "cache")}
    done = subprocess.run(command, env=lacking, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert "Traceback" not in done.stderr
    assert re.search(r"error: passes cannot be compiled: .*C\+\+ compiler.*\nhint: add --compile off\n", done.stderr)
