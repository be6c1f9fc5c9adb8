"""Learning-rate schedules and the optimizer's groups."""

from collections.abc import Callable

import pytest

from dialogpt.model import GPTConfig
from dialogpt.model.gpt import GPT
from dialogpt.train import TrainConfig
from dialogpt.train.optim import learning_rate, make_optimizer, noam

Make = Callable[..., TrainConfig]


@pytest.mark.parametrize("n_embd, peak", [(768, 2.85e-5), (1024, 2.47e-5), (1280, 2.21e-5)])
def test_noam_peaks_of_the_released_code(make_config: Make, n_embd: int, peak: float) -> None:
    """What the released training script's 1e-5 with 16,000 warm-up steps comes to, for the paper's three sizes."""
    rates = [noam(step, 1e-5, 16_000, n_embd) for step in range(1, 60_000)]
    assert max(rates) == pytest.approx(peak, rel=2e-3)
    assert rates.index(max(rates)) + 1 == 16_000
    config = make_config(schedule="noam", lr=1e-5, warmup=16_000)
    assert learning_rate(config, 16_000, 10**6, n_embd) == max(rates)
    assert noam(64_000, 1e-5, 16_000, n_embd) == pytest.approx(max(rates) / 2)  # falls with the square root
    assert noam(8_000, 1e-5, 16_000, n_embd) == pytest.approx(max(rates) / 2)  # rises in a line


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant"])
def test_warm_up_is_a_line_to_the_peak(make_config: Make, schedule: str) -> None:
    config = make_config(schedule=schedule, lr=0.5, warmup=4)
    assert [learning_rate(config, step, 20, 32) for step in (1, 2, 3, 4)] == [0.125, 0.25, 0.375, 0.5]


def test_after_the_warm_up(make_config: Make) -> None:
    def rates(schedule: str) -> list[float]:
        config = make_config(schedule=schedule, lr=1.0, warmup=10)
        return [learning_rate(config, step, 109, 32) for step in (10, 60, 110, 500)]

    assert rates("linear") == pytest.approx([1, 0.5, 0, 0])
    assert rates("cosine") == pytest.approx([1, 0.5, 0, 0])
    assert rates("constant") == [1, 1, 1, 1]
    cosine = make_config(schedule="cosine", lr=1.0, warmup=10)
    assert learning_rate(cosine, 35, 109, 32) == pytest.approx(0.8536, abs=1e-4)  # (1 + cos 45 degrees) / 2


@pytest.mark.parametrize("schedule", ["linear", "cosine", "constant", "noam"])
@pytest.mark.parametrize("warmup, total", [(0, 1), (0, 5), (10, 5), (5, 5)])
def test_every_step_of_an_odd_length_has_a_rate(make_config: Make, schedule: str, warmup: int, total: int) -> None:
    config = make_config(schedule=schedule, lr=1e-3, warmup=warmup)
    rates = [learning_rate(config, step, total, 32) for step in range(1, total + 1)]
    assert all(0 < rate <= 2 for rate in rates)  # an update at 0 would learn nothing; a run may have one alone


def test_matrices_decay_and_vectors_do_not() -> None:
    model = GPT(GPTConfig(vocab_size=11, n_ctx=8, n_layer=1, n_head=1, n_embd=4))
    decayed, plain = make_optimizer(model, 0.1).param_groups
    assert (decayed["weight_decay"], plain["weight_decay"]) == (0.1, 0.0)
    names = {id(parameter): name for name, parameter in model.named_parameters()}
    assert {names[id(p)].split(".")[-1] for p in decayed["params"]} == {"weight"}
    assert all("ln_" in names[id(p)] or names[id(p)].endswith("bias") for p in plain["params"])
    assert len(decayed["params"]) + len(plain["params"]) == len(names)
