"""A benchmark's script as a module, and for that of decoding a job: two small random checkpoints."""

import importlib
import importlib.util
import sys
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import Any

import pytest
import torch

from dialogpt.model import GPTConfig

BENCH = Path(__file__).parents[2] / "bench"
SHAPE = GPTConfig(vocab_size=360, n_ctx=1024, n_layer=2, n_head=2, n_embd=32)


@pytest.fixture(scope="module")
def bench(request: pytest.FixtureRequest) -> Iterator[Any]:
    """The script that the tests' module names in BENCHMARK, which imports its neighbours by their bare names."""
    name = f"bench_{request.module.BENCHMARK}"
    sys.path.insert(0, str(BENCH))
    try:
        spec = importlib.util.spec_from_file_location(name, BENCH / f"{request.module.BENCHMARK}.py")
        assert spec is not None
        assert spec.loader is not None
        module = importlib.util.module_from_spec(spec)
        sys.modules[name] = module  # where dataclasses look their module up
        spec.loader.exec_module(module)
        yield module
    finally:
        sys.path.remove(str(BENCH))


@pytest.fixture(scope="module")
def tasks(bench: Any) -> Any:
    return importlib.import_module("decode_tasks")


@pytest.fixture(scope="module")
def vocabulary(tiny_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("vocabulary")
    tiny_tokenizer.save(folder)
    return folder


@pytest.fixture(scope="module")
def work(
    bench: Any, tasks: Any, tiny_tokenizer: Any, vocabulary: Path, tmp_path_factory: pytest.TempPathFactory
) -> Any:
    """A job of two random checkpoints that are made."""
    folder = tmp_path_factory.mktemp("models")
    given = tasks.Work(
        engine="dialogpt", task="interactive", model=str(folder / "forward"), backward=str(folder / "backward"),
        tokenizer=str(vocabulary), shape=asdict(SHAPE), precision="fp32", threads=torch.get_num_threads(), batch=4,
        bulk_contexts=9, passes=2, vocab_size=tiny_tokenizer.vocab_size, end_id=tiny_tokenizer.end_id,
    )  # fmt: skip
    importlib.import_module("decode_ours").make_checkpoints(given)
    return given
