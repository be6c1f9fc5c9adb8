"""Token shards of a handful of sessions, and settings of a model so small that a step takes milliseconds."""

import os
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import pytest
import torch

from dialogpt.session import Session, Turn
from dialogpt.tokens import TokenizeConfig
from dialogpt.tokens.bpe import Tokenizer
from dialogpt.tokens.shards import tokenize
from dialogpt.train import TrainConfig

collect_ignore = [] if torch.cuda.is_available() else ["test_cuda.py"]

SESSIONS = [
    Session(tuple(map(Turn, turns)), id=str(number))
    for number, turns in enumerate([
        ("does money buy happiness?", "depends how much money you spend on it"),
        ("what is the best way to buy it?", "you just have to be a millionaire", "this is so sad"),
        ("where do you live?", "in a small town near the sea", "is it cold there?", "only in winter"),
        ("who won the game?", "nobody, it rained"),
        ("can you cook?", "yes, I make a good soup", "what is in it?", "onions and love"),
        ("good morning", "good morning to you too"),
    ])
]  # fmt: skip
Make = Callable[..., TrainConfig]


@pytest.fixture(scope="session", autouse=True)
def _one_thread() -> Iterator[None]:
    """These models are too small to be worth a second thread; with one, sums come in one order."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def make_shards(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Tokenize sessions into a new shards folder."""

    def make(sessions: Sequence[Session] = SESSIONS, **settings: Any) -> Path:
        folder = tmp_path_factory.mktemp("shards")
        file = folder / "sessions.jsonl"
        file.write_bytes(b"\n".join(map(msgspec.json.encode, sessions)))
        Tokenizer.train((turn.text for s in SESSIONS for turn in s.turns), 300).save(folder)
        tokenize(TokenizeConfig(sessions=(file,), out=folder / "shards", tokenizer=str(folder), **settings))
        return folder / "shards"

    return make


@pytest.fixture(scope="session")
def shards(make_shards: Callable[..., Path]) -> Path:
    return make_shards()


@pytest.fixture
def make_config(shards: Path, tmp_path: Path) -> Make:
    """Settings of a tiny run on the CPU; what is named replaces the default."""

    def make(**settings: Any) -> TrainConfig:
        values: dict[str, Any] = {
            "shards": shards, "out": tmp_path / "run", "device": "cpu", "precision": "fp32", "n_layer": 2, "n_head": 2,
            "n_embd": 32, "n_ctx": 64, "dropout": 0.0, "steps": 3, "warmup": 0, "log_every": 1, "batch_tokens": 256,
            "micro_batch_tokens": 128, **settings,
        }  # fmt: skip
        return TrainConfig(**values)

    return make


@pytest.fixture
def command_line() -> Callable[[TrainConfig], list[str]]:
    """The arguments of `dialogpt` that say the same as the settings."""

    def arguments(config: TrainConfig) -> list[str]:
        given = ["train", str(config.shards)]
        for name in config.__dataclass_fields__:
            value = getattr(config, name)
            flag = "--" + name.replace("_", "-")
            if isinstance(value, bool):
                given += [flag] if value else []
            elif name != "shards" and value != "":
                given += [flag, str(value)]
        return given

    return arguments


@pytest.fixture
def environment() -> dict[str, str]:
    """The environment of a subprocess that computes as this one does."""
    return {**os.environ, "OMP_NUM_THREADS": "1", "PYTHONIOENCODING": "utf-8"}
