"""Fixtures that several test modules use."""

import os
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from fsspec.implementations.memory import MemoryFileSystem
from hypothesis import settings

from dialogpt.engine import Candidates, Kept

signal.signal(signal.SIGINT, signal.default_int_handler)  # a background shell ignores it, and so would our processes
settings.register_profile("shared machine", deadline=None)  # a slow moment is no failure
settings.load_profile("shared machine")

ROOT = Path(__file__).parents[1]
SENTENCES = [
    "does money buy happiness?",
    "depends how much money you spend on it",
    "what is the best way to buy happiness?",
    "صباح الخير، كيف حالك اليوم؟",
    "الحمد لله بخير وأنت؟",
    "that is great 😀👍🏽 see you at 10:30, won't you?",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Recipes run last, the smoke recipe at the very end."""
    items.sort(key=lambda item: ("recipe" in item.keywords) + ("smoke" in item.nodeid and "recipe" in item.keywords))


@pytest.fixture(scope="session", autouse=True)
def _one_torch_thread() -> None:
    """These models are too small to be worth a second thread, and on a busy machine threads wait for each other."""
    if "torch" in sys.modules:
        sys.modules["torch"].set_num_threads(1)


@pytest.fixture
def homeless(monkeypatch: pytest.MonkeyPatch) -> None:
    """A user whom the system knows by number alone, as in a container."""
    pwd = pytest.importorskip("pwd")

    def unknown(uid: int) -> None:
        raise KeyError(f"getpwuid(): uid not found: {uid}")

    for name in ("HOME", "XDG_CACHE_HOME", "XDG_DATA_HOME"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(pwd, "getpwuid", unknown)


@pytest.fixture
def memory() -> Iterator[str]:
    """The URL of a folder in memory, which is empty again after the test."""
    yield "memory://bucket/data"
    MemoryFileSystem.store.clear()
    MemoryFileSystem.pseudo_dirs[:] = [""]


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder with real data, beside the repository or named in DIALOGPT_SHARED; skips where there is none."""
    folder = Path(os.environ.get("DIALOGPT_SHARED") or ROOT.parent / "shared")
    if not folder.is_dir():
        pytest.skip(f"no real data: {folder} does not exist (set DIALOGPT_SHARED)")
    return folder


@pytest.fixture(scope="session")
def tiny_tokenizer() -> Any:
    """A byte-level tokenizer trained on a few sentences in English, Arabic and emoji."""
    from dialogpt.tokens.bpe import Tokenizer

    return Tokenizer.train(SENTENCES * 3, 360)


@pytest.fixture(scope="session")
def make_model(tiny_tokenizer: Any) -> Callable[..., Any]:
    """A random GPT in evaluation mode, with biases and layer norms that are not trivial.

    `end_logit` is added to the end token's logit, so that replies end.
    """
    import torch

    from dialogpt.model import GPTConfig
    from dialogpt.model.gpt import GPT

    def make(seed: int = 0, end_logit: float = 0.0, **shape: Any) -> GPT:
        defaults = {"vocab_size": tiny_tokenizer.vocab_size, "n_ctx": 64, "n_layer": 2, "n_head": 2, "n_embd": 32}
        model = GPT(GPTConfig(**{**defaults, **shape})).eval()
        generator = torch.Generator().manual_seed(seed)
        with torch.no_grad():
            for name, parameter in model.named_parameters():
                parameter.normal_(std=0.2, generator=generator)
                if ".ln_" in name and name.endswith("weight"):
                    parameter += 1
            if end_logit:
                end = model.transformer.wte.weight[tiny_tokenizer.end_id]
                model.transformer.ln_f.bias += end_logit * end / end.dot(end)
        return model

    return make


@pytest.fixture(scope="session")
def tiny_model(make_model: Callable[..., Any], tiny_tokenizer: Any) -> tuple[Any, Any]:
    """A small random GPT and its tokenizer; nobody may change them."""
    return make_model(seed=1, end_logit=2.0), tiny_tokenizer


@pytest.fixture(scope="session")
def tiny_checkpoint(tiny_model: tuple[Any, Any], tmp_path_factory: pytest.TempPathFactory) -> Path:
    """`tiny_model` as a checkpoint folder; tests that change files copy it first."""
    from dialogpt.artifact import make_manifest
    from dialogpt.model import checkpoint

    folder = tmp_path_factory.mktemp("checkpoint") / "tiny"
    checkpoint.save(*tiny_model, folder, make_manifest("checkpoint"))
    return folder


@pytest.fixture(scope="session")
def tiny_ranker(make_model: Callable[..., Any], tiny_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A random model of DialogRPT's kind, as transformers saves it; tests that change files copy it first."""
    import torch
    from transformers import GPT2ForSequenceClassification

    from dialogpt.artifact import make_manifest
    from dialogpt.model import checkpoint

    folder = tmp_path_factory.mktemp("ranker")
    checkpoint.save(make_model(seed=3, n_embd=64), tiny_tokenizer, folder / "model", make_manifest("checkpoint"))
    ranker = GPT2ForSequenceClassification.from_pretrained(folder / "model", num_labels=1)
    with torch.no_grad():
        ranker.score.weight.normal_(std=0.3, generator=torch.Generator().manual_seed(1))
    ranker.save_pretrained(folder / "ranker")
    tiny_tokenizer.save(folder / "ranker")
    return folder / "ranker"


class ArrayLogits:
    """Logits by plain numpy, a reference for those of engines; see `dialogpt.engine.Logits`."""

    def __init__(self, values: Any) -> None:
        self.values = np.array(values, np.float32)

    @property
    def rows(self) -> int:
        return len(self.values)

    @property
    def vocabulary(self) -> int:
        return self.values.shape[1]

    def logsumexp(self) -> Any:
        return self.values.max(-1) + np.log(self.mass(np.ones(self.rows, np.float32)))

    def mass(self, temperatures: Any) -> Any:
        cooled = (self.values - self.values.max(-1, keepdims=True)) / temperatures[:, None]
        return np.exp(cooled, dtype=np.float64).sum(-1)

    def argmax(self) -> Any:
        return self.values.argmax(-1)

    def likeliest(self, k: int) -> Candidates:
        tokens = np.argsort(-self.values, axis=-1, kind="stable")[:, :k]
        return Candidates(np.take_along_axis(self.values, tokens, -1), tokens)

    def get(self, rows: Any, tokens: Any) -> Any:
        return self.values[rows, tokens]

    def set(self, rows: Any, tokens: Any, values: Any) -> None:
        self.values[rows, tokens] = values

    def select(self, rows: Any) -> "ArrayLogits":
        return ArrayLogits(self.values[rows])

    def join(self, places: Sequence[int], other: "ArrayLogits") -> None:
        new = max(*places, self.rows - 1) + 1 - self.rows
        self.values = np.pad(self.values, ((0, new), (0, 0)))
        self.values[places] = other.values

    def array(self) -> Any:
        return self.values


@pytest.fixture(scope="session")
def array_logits() -> type[ArrayLogits]:
    return ArrayLogits


@dataclass
class ScriptedCache:
    """Which script each place plays, and how far it is; rows that have ended go on with their last token."""

    scripts: list[int]
    step: int = 0
    size_bytes: int = 0

    @property
    def rows(self) -> int:
        return len(self.scripts)

    def tokens_read(self, row: int = 0) -> int:
        return 0

    def rearrange(self, rows: Sequence[int], differ: int | None = None) -> None:
        self.scripts = [self.scripts[place] for place in rows]

    def join(self, places: Sequence[int], other: "ScriptedCache") -> None:
        raise AssertionError("scripts begin together")

    def branch(self, rows: int, room: int) -> "ScriptedCache":
        return replace(self, scripts=self.scripts * rows)

    def prefix(self, row: int, length: int, room: int = 0) -> "ScriptedCache":
        return ScriptedCache([self.scripts[row]])

    def drop(self, row: int) -> None:
        pass


class ScriptedEngine:
    """Plays the engine's calls: row r's reply is `scripts[r]`, whatever it is asked; `contexts` are those seen."""

    def __init__(self, scripts: Sequence[Sequence[int]], vocab_size: int, n_ctx: int = 256) -> None:
        self.scripts, self.vocabulary, self.n_ctx = scripts, vocab_size, n_ctx
        self.contexts: list[list[int]] = []
        self.decoded_rows: list[list[int]] = []

    def _logits(self, cache: ScriptedCache) -> ArrayLogits:
        logits = np.zeros((cache.rows, self.vocabulary))
        for place, row in enumerate(cache.scripts):
            logits[place, self._token(row, cache.step)] = 100.0
        return ArrayLogits(logits)

    def _token(self, row: int, step: int) -> int:
        return self.scripts[row][min(step, len(self.scripts[row]) - 1)]

    def prefill(
        self, contexts: Sequence[Sequence[int]], room: int, begun: Sequence[Any] = ()
    ) -> tuple[ArrayLogits, ScriptedCache]:
        self.contexts += [list(context) for context in contexts]
        cache = ScriptedCache(list(range(len(contexts))))
        return self._logits(cache), cache

    def resume(self, context: Sequence[int], kept: Kept | None) -> tuple[ArrayLogits, Kept]:
        logits, cache = self.prefill([context], 0)
        return logits, Kept(list(context), cache)

    def decode(self, tokens: Sequence[int], cache: ScriptedCache, joining: Sequence[Any] = ()) -> ArrayLogits:
        assert not joining, "scripts are of rows that begin together"
        assert list(tokens) == [self._token(row, cache.step) for row in cache.scripts]
        self.decoded_rows.append(cache.scripts)
        cache.step += 1
        return self._logits(cache)

    def nats(self, pairs: Sequence[tuple[Sequence[int], Sequence[int]]]) -> list[float]:
        return [float(len(target)) for _, target in pairs]


@pytest.fixture(scope="session")
def scripted_engine() -> Callable[..., ScriptedEngine]:
    return ScriptedEngine
