"""Numbers that grow beyond all bounds end a run, and are not saved."""

from collections.abc import Callable
from pathlib import Path

import pytest

from dialogpt.errors import DataError
from dialogpt.model import checkpoint
from dialogpt.train import TrainConfig
from dialogpt.train.loop import train

Make = Callable[..., TrainConfig]


def test_a_loss_that_is_not_finite_is_an_error(make_config: Make) -> None:
    config = make_config(lr=1e9, steps=50, clip=0.0, schedule="constant", save_every=1, keep=100)
    with pytest.raises(DataError, match="not finite at step") as caught:
        train(config)
    assert "--lr" in caught.value.hint
    saved = sorted((config.out / "checkpoints").iterdir())
    assert saved, "the checkpoint before it is kept"
    assert all(weight.isfinite().all() for weight in checkpoint.load(saved[-1])[0].state_dict().values())
    assert f"--init {saved[0]} --out ANOTHER" in caught.value.hint  # this run's folder takes no other --lr


@pytest.mark.parametrize("lr", [1e30, 1e38, 1e300])
def test_weights_that_are_not_finite_are_not_saved(make_config: Make, lr: float) -> None:
    config = make_config(lr=lr, steps=1, warmup=0, schedule="constant", clip=0.0)
    with pytest.raises(DataError, match="weights are not finite after step 1") as caught:
        train(config)
    assert caught.value.hint.startswith("lower --lr")
    assert not list(config.out.glob("checkpoints/*"))
    assert not (config.out / "best").exists()


def test_a_model_whose_validation_loss_is_not_finite_is_not_the_best(
    make_config: Make, make_shards: Callable[..., Path]
) -> None:
    shards = make_shards(validation=0.4)
    config = make_config(shards=shards, lr=1e18, steps=2, validate_every=1, warmup=0, schedule="constant", clip=0.0)
    with pytest.raises(DataError, match="the validation loss is not finite after step 1"):
        train(config)
    assert not (config.out / "best").exists()
