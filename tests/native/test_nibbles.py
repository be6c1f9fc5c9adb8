"""Weights of 4 bits: what a packed file says of them, read as csrc/layout.h has it, and what the engine makes of it."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from dialogpt.model.engine import TorchEngine
from dialogpt.native.engine import open_native
from dialogpt.native.packed import HEADER, NAMES

LAYER = (("ln_1", 0), ("attn.c_attn", 3), ("attn.c_proj", 1), ("ln_2", 0), ("mlp.c_fc", 4), ("mlp.c_proj", 1))
SHAPES = [{"n_embd": 64, "n_head": 2}, {"n_embd": 80, "n_head": 5}, {"n_embd": 24, "n_head": 1}]


class Reader:
    """The arrays of a packed file, one after another."""

    def __init__(self, file: Path) -> None:
        self.bytes, self.at = file.read_bytes(), HEADER

    def take(self, count: int, dtype: str) -> NDArray[Any]:
        found = np.frombuffer(self.bytes, dtype, count, self.at)
        self.at += -(-found.nbytes // 64) * 64
        return found

    def four_bits(self, outputs: int, inputs: int) -> NDArray[np.float32]:
        """(outputs, inputs) of a linear layer."""
        blocks, depth = -(-outputs // 16), -(-inputs // 16) * 16
        groups = -(-depth // 32)
        stored = self.take(blocks * depth * 8, "u1").reshape(blocks, depth // 8, 16, 4)
        nibbles = np.stack([stored & 15, stored >> 4], 2)  # block, of 8 inputs, which 4, output, input
        places = nibbles.transpose(0, 3, 1, 2, 4).reshape(blocks * 16, depth).astype(int)
        grids = self.take(blocks * groups * 16, "u1").reshape(blocks, groups, 16).transpose(0, 2, 1)
        each = grids.reshape(blocks * 16, groups).repeat(32, 1)[:, :depth].astype(int)
        integers = (places - (each >> 4)) * (each & 15)
        assert np.abs(integers).max() <= 127
        scales, _, offsets = (self.take(blocks * 16, dtype) for dtype in ("f4", "f4", "i4"))
        assert np.array_equal(offsets, -128 * integers.sum(1))
        return np.float32(integers * scales[:, None])[:outputs, :inputs]


def of_file(folder: Path, config: Any) -> dict[str, NDArray[np.float32]]:
    """The linear layers of a packed file, by their names and as a checkpoint has them."""
    reader = Reader(folder / NAMES[4])
    embd, width = config.n_embd, -(-config.n_embd // 16) * 16
    rows = -(-config.vocab_size // 16) * 16
    for count, dtype in ((rows * width, "i1"), (rows, "f4"), (rows, "f4"), (rows, "i4"), (config.n_ctx * width, "f4")):
        reader.take(count, dtype)
    found = {}
    for layer in range(config.n_layer):
        for name, times in LAYER:
            if times:
                inputs = 4 * embd if name == "mlp.c_proj" else embd
                found[f"transformer.h.{layer}.{name}.weight"] = reader.four_bits(times * embd, inputs)
            else:
                reader.take(width, "f4"), reader.take(width, "f4")
    reader.take(width, "f4"), reader.take(width, "f4")
    assert reader.at == len(reader.bytes)
    return found


def weights_of(model: Any) -> dict[str, torch.Tensor]:
    """The same layers of a model, (outputs, inputs)."""
    return {name: weight for name, weight in model.named_parameters() if name.endswith(".weight") and ".c_" in name}


@pytest.mark.parametrize("shape", SHAPES, ids=str)
def test_a_file_holds_the_weights_to_a_twelfth(
    make_model: Callable[..., Any], save: Callable[[Any], Path], shape: dict[str, int]
) -> None:
    model = make_model(seed=7, **shape)
    folder = save(model)
    assert open_native(folder, 4) is not None
    for name, found in of_file(folder, model.config).items():
        expected = weights_of(model)[name].detach().numpy()
        assert np.linalg.norm(found - expected) < np.linalg.norm(expected) / 12, name


def on_grids(rng: np.random.Generator, outputs: int, inputs: int) -> NDArray[np.float32]:
    """Weights that 4 bits hold as they are: a scale an output, a step and a zero for 32 inputs, all places in use."""
    groups = -(-inputs // 32)
    step = rng.integers(1, 9, (outputs, groups, 1))
    step[:, 0] = 8
    zero = np.where(step == 8, 0, rng.integers(0, 16, step.shape))
    places = rng.permuted(np.broadcast_to(np.arange(32) % 16, (outputs, groups, 32)), axis=2)
    integers = ((places - zero) * step).reshape(outputs, -1)[:, :inputs]
    return np.float32(integers * rng.uniform(1e-4, 1e-3, (outputs, 1)))


@pytest.mark.parametrize("shape", [{"n_embd": 64, "n_head": 2}, {"n_embd": 96, "n_head": 3}], ids=str)
def test_weights_on_grids_are_kept_as_they_are(
    kernels: str, make_model: Callable[..., Any], save: Callable[[Any], Path], shape: dict[str, int]
) -> None:
    rng, model = np.random.default_rng(0), make_model(seed=7, **shape)
    with torch.no_grad():
        for weight in weights_of(model).values():
            weight.copy_(torch.from_numpy(on_grids(rng, *weight.shape)))
    folder = save(model)
    engine = open_native(folder, 4)
    assert engine is not None
    for name, found in of_file(folder, model.config).items():
        np.testing.assert_allclose(found, weights_of(model)[name].detach().numpy(), rtol=1e-5, atol=1e-9)
    contexts = [rng.integers(0, 360, length).tolist() for length in (1, 2, 3, 7, 30, 60)]
    logits, reference = engine.prefill(contexts, 0)[0].array(), TorchEngine(model).prefill(contexts, 0)[0].array()
    about = reference - reference.mean(-1, keepdims=True)
    assert np.linalg.norm(logits - reference) < 0.05 * np.linalg.norm(about)  # as 8 bits: activations have those
