"""On a GPU, where there is one: training and decoding are those of the CPU, by the kernels that are meant."""

import json
import logging
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torch.nn.attention import SDPBackend, sdpa_kernel

from dialogpt.decoding import DecodingConfig
from dialogpt.decoding.hypotheses import make, make_from, stream_tokens
from dialogpt.engine import Kept
from dialogpt.model.engine import TorchEngine
from dialogpt.model.gpt import GPT
from dialogpt.tokens.shards import TokenShards
from dialogpt.train import TrainConfig
from dialogpt.train.feed import Feed
from dialogpt.train.loop import train
from dialogpt.train.parallel import Parallel
from dialogpt.train.world import World

pytestmark = [  # without a GPU conftest.py leaves this file out, unless it is named
    pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU"),
    pytest.mark.filterwarnings("ignore"),  # the compiler's advice depends on the card
]
CUDA = torch.device("cuda")


def losses(run: Path) -> list[float]:
    lines = map(json.loads, (run / "metrics.jsonl").read_text(encoding="utf-8").splitlines())
    return [line.get("loss", line.get("validation_loss")) for line in lines]


@pytest.mark.parametrize("settings", [{}, {"recompute": True}, {"compile": "on"}, {"compile": "on", "recompute": True}])
def test_a_run_is_that_of_the_cpu(
    make_config: Callable[..., TrainConfig], make_shards: Any, tmp_path: Path, settings: dict[str, Any]
) -> None:
    """In fp32, stopped and gone on with after three steps of six; then in 16 bits, which only have to learn."""
    config = make_config(
        shards=make_shards(validation=0.4), steps=6, save_every=3, validate_every=3, schedule="constant", compile="off"
    )
    train(config)
    on_gpu = replace(config, device=str(CUDA), out=tmp_path / "gpu", **settings)
    train(replace(on_gpu, steps=3))
    train(on_gpu)
    assert losses(on_gpu.out) == pytest.approx(losses(config.out), rel=2e-3)
    for precision in ("bf16", "fp16"):
        short = replace(on_gpu, out=tmp_path / precision, precision=precision, dropout=0.1, steps=40)
        train(short)
        assert losses(short.out)[-1] < losses(short.out)[0] - 0.3


def test_training_reaches_flash_attention(make_model: Callable[..., GPT], shards: Path) -> None:
    """No other kernel is allowed, and it has none for fp32 or with a mask."""
    model = make_model(1, n_embd=128, n_head=2).to(CUDA).train()
    parallel = Parallel(model, World(CUDA), torch.bfloat16, shard=False, compiled=False)
    batches = next(Feed(shards=TokenShards(shards), micro_batch_tokens=128).steps(0, 0)).batches
    with sdpa_kernel(SDPBackend.FLASH_ATTENTION):
        (nats,) = parallel.backward(batches, 1.0)
    assert nats.isfinite()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_replies_by_graphs_are_those_without(
    make_model: Callable[..., GPT], tiny_tokenizer: Any, dtype: torch.dtype, caplog: pytest.LogCaptureFixture
) -> None:
    """In fp32 also those of the CPU; two conversations by turns, over the lengths of three graphs."""
    greedy = DecodingConfig(temperature=0, max_new_tokens=100, min_new_tokens=100, no_repeat_ngram=0)

    def talk(engine: TorchEngine) -> list[list[int]]:
        said: list[list[int]] = [[5, 6], [7, 8, 9]]
        kept: list[Kept | None] = [None, None]
        for _ in range(3):
            for place in range(2):
                steps = [*stream_tokens(engine, 0, said[place], greedy, 0, kept[place])]
                said[place] = [*said[place], *(token for token, _ in steps), 11]
                kept[place] = steps[-1][1]
        return said

    model = make_model(3, n_ctx=512)
    expected = talk(TorchEngine(model))
    found = []
    for replays in (False, True):
        engine = TorchEngine(make_model(3, n_ctx=512).to(CUDA, dtype), replays=replays)
        with caplog.at_level(logging.WARNING):
            found.append(talk(engine))
        assert (engine._replay is not None) == replays
    assert not caplog.messages  # which tell that a graph could not be recorded
    if dtype == torch.float32:
        assert found == [expected, expected]
    assert [len(said) for said in found[1]] == [len(said) for said in expected]


def test_every_way_of_decoding_is_that_of_the_cpu(make_model: Callable[..., GPT], tiny_tokenizer: Any) -> None:
    """Draws take their numbers from numpy, so that they are the same on every device."""
    contexts = [[1, 2, 3], [4, 5, 6, 7, 8], [9]]
    here, there = TorchEngine(make_model(3)), TorchEngine(make_model(3).to(CUDA), replays=True)
    for settings in (
        {"temperature": 0}, {"top_k": 0, "repetition_penalty": 1.2, "no_repeat_context": 2}, {"top_k": 0, "top_p": 1},
        {"min_p": 0.1}, {"num_beams": 4, "temperature": 1},
    ):  # fmt: skip
        config = DecodingConfig(max_new_tokens=8, **settings)  # type: ignore[arg-type]
        made = [make(engine, tiny_tokenizer, contexts, config, [[0, 1]] * 3, 4) for engine in (here, there)]
        assert [[one.tokens for one in group] for group in made[0]] == [[one.tokens for one in g] for g in made[1]]
    drawn, _ = make_from(there, tiny_tokenizer, [5, 6, 7], DecodingConfig(), [0, 1, 2], None)
    expected, _ = make_from(here, tiny_tokenizer, [5, 6, 7], DecodingConfig(), [0, 1, 2], None)
    assert [one.tokens for one in drawn] == [one.tokens for one in expected]
    pairs = [([1, 2], [3]), ([4], [5, 6, 7])]
    assert there.nats(pairs) == pytest.approx(here.nats(pairs), rel=1e-4)
