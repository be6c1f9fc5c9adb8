"""8-bit weights: near the float product, each row by itself, and next to no perplexity lost."""

import math
from collections.abc import Callable

import pytest
import torch

from dialogpt import GPT, Session, Turn
from dialogpt.errors import UsageError
from dialogpt.model.engine import TorchEngine
from dialogpt.model.opening import open_engine
from dialogpt.model.quantize import Int8Linear, quantize

pytestmark = [
    pytest.mark.skipif("fbgemm" not in torch.backends.quantized.supported_engines, reason="torch has no FBGEMM here"),
    pytest.mark.filterwarnings("ignore:.*quantize_per_channel.*:UserWarning"),
]

SESSIONS = [
    ["Hello, how are you?", "I am good, how are you?", "I am doing well. Do you like movies?"],
    ["Did you watch the game last night?", "No, I missed it. Who won?", "The Patriots did."],
    ["What is your favorite movie?", "I really like Star Wars.", "Me too, it is a great movie."],
]


@pytest.fixture(autouse=True)
def _engine() -> None:
    torch.backends.quantized.engine = "fbgemm"


def relative_error(found: torch.Tensor, expected: torch.Tensor) -> float:
    return float((found - expected).norm() / expected.norm())


@pytest.mark.parametrize("rows", [1, 7, 100])
def test_a_product_is_near_the_float_one(rows: int) -> None:
    generator = torch.Generator().manual_seed(rows)
    weight, bias = torch.randn(96, 64, generator=generator), torch.randn(96, generator=generator)
    x = torch.randn(2, rows, 64, generator=generator) * torch.logspace(-3, 3, rows)[:, None]
    with torch.inference_mode():
        found = Int8Linear(weight, bias)(x)
        expected = torch.nn.functional.linear(x, weight, bias)
    assert found.shape == expected.shape
    for row, wanted in zip(found.flatten(0, 1), expected.flatten(0, 1), strict=True):
        assert relative_error(row, wanted) < 0.02


def test_a_row_does_not_depend_on_the_others() -> None:
    layer = Int8Linear(torch.randn(48, 32), None)
    x = torch.randn(9, 32) * torch.logspace(-4, 4, 9)[:, None]
    with torch.inference_mode():
        together = layer(x)
        for i in range(9):
            assert torch.equal(layer(x[i : i + 1])[0], together[i])
        assert torch.equal(layer(torch.zeros(1, 32)), torch.zeros(1, 48))


def test_logits_of_a_whole_model(make_model: Callable[..., GPT]) -> None:
    tokens = torch.randint(0, 360, (3, 20), generator=torch.Generator().manual_seed(0))
    with torch.inference_mode():
        expected = make_model(3)(tokens)
        found = quantize(make_model(3))(tokens)
    assert 0 < relative_error(found, expected) < 0.05


def test_the_bundled_models_perplexity_stays_within_one_percent() -> None:
    def perplexity(precision: str) -> float:
        engine, tokenizer = open_engine(None, "cpu", precision)
        pairs = []
        for texts in SESSIONS:
            turns = tokenizer.encode_turns(Session(tuple(map(Turn, texts))).turns)
            pairs.append((turns[0], [token for turn in turns[1:] for token in turn]))
        return math.exp(sum(engine.nats(pairs)) / sum(len(target) for _, target in pairs))

    assert perplexity("int8") == pytest.approx(perplexity("fp32"), rel=0.01)


def test_replies_of_a_batch_are_those_alone(make_model: Callable[..., GPT]) -> None:
    engine = TorchEngine(quantize(make_model(5)))
    contexts = [[5, 6, 0], [7, 8, 9, 10, 0], [1, 0]]
    together, _ = engine.prefill(contexts, 4)
    for row, context in zip(together.array(), contexts, strict=True):
        alone, _ = engine.prefill([context], 4)
        assert relative_error(torch.tensor(row), torch.tensor(alone.array()[0])) < 1e-3


def test_8_bits_are_for_a_cpu(monkeypatch: pytest.MonkeyPatch, make_model: Callable[..., GPT]) -> None:
    monkeypatch.setattr("dialogpt.model.opening.choose_device", lambda name: torch.device("meta"))
    with pytest.raises(UsageError, match="--precision int8 is for a CPU"):
        open_engine(None, "auto", "int8")
