"""A run of `train` and the torch engine's calls on tensors that say they are on CUDA and hold no numbers.

    python fake_cuda.py SHARDS OUT train|engine SETTINGS     with fake_cuda.cpp preloaded; SETTINGS of TrainConfig, JSON

torch's fake tensors know their device, type and shape, so an operation that mixes devices, or that CUDA has for no such
type, fails as it would there. Prints, as JSON, how often this process waited for the device, by the line that did.
"""

import json
import sys
import traceback
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch._subclasses import FakeTensor, FakeTensorMode

from dialogpt.decoding import DecodingConfig
from dialogpt.decoding.hypotheses import make, make_from, stream_tokens
from dialogpt.engine import Joining, Kept
from dialogpt.model import GPTConfig
from dialogpt.model.engine import TorchEngine
from dialogpt.model.gpt import GPT
from dialogpt.model.logits import TorchLogits
from dialogpt.model.replay import Replay
from dialogpt.tokens.bpe import Tokenizer
from dialogpt.train import TrainConfig
from dialogpt.train.loop import train
from dialogpt.train.runs import Run

READS = (torch.ops.aten._local_scalar_dense.default, torch.ops.aten.nonzero.default)
CONTEXTS = [[1, 2, 3], [4, 5, 6, 7, 8], [9]]


class FakeCuda(FakeTensorMode):
    """Counts what waits for the device; every number that is read of it is 1."""

    avoid_device_init = True

    def __init__(self) -> None:
        super().__init__(allow_non_fake_inputs=True)
        self.waits: Counter[str] = Counter()

    def dispatch(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        kwargs = kwargs or {}
        away = func is torch.ops.aten._to_copy.default and torch.device(kwargs.get("device") or "cuda").type == "cpu"
        if (func in READS or (away and not kwargs.get("non_blocking"))) and args[0].device.type == "cuda":
            self.waits[_line()] += 1
        if func is torch.ops.aten._local_scalar_dense.default:
            return 1.0 if args[0].dtype.is_floating_point else 1
        out = super().dispatch(func, types, args, kwargs)
        if isinstance(out, FakeTensor):
            out.constant = None  # what is known of it would be computed on the device that is not there
        return out


def _line() -> str:
    ours = [frame for frame in traceback.extract_stack() if "/dialogpt/" in frame.filename]
    return f"{Path(ours[-1].filename).name}: {ours[-1].line}" if ours else "test"


class Event:
    def record(self, stream: object) -> None:
        pass

    def synchronize(self) -> None:
        pass


def pretend() -> None:
    """What asks for the card itself is answered here."""
    torch.cuda.is_available = lambda: True
    torch.cuda.is_bf16_supported = lambda including_emulation=True: True
    torch.cuda.max_memory_allocated = lambda device=None: 1
    torch.cuda.get_rng_state = lambda device=None: torch.zeros(16, dtype=torch.uint8)
    torch.cuda.set_rng_state = lambda state, device=None: None
    torch.cuda.Event = Event
    torch.cuda.current_stream = lambda device=None: None
    torch.Tensor.pin_memory = lambda self: self
    torch.Tensor.numpy = _numpy
    GPT.to = _moved
    Run.save = lambda self, *_: self.folder  # there are no numbers to be written
    Run.save_best = lambda self, *_: None


def _numpy(tensor: torch.Tensor) -> np.ndarray:
    """Falling logits, rising tokens."""
    assert tensor.device.type == "cpu", "numpy sees the CPU's memory only"
    row = np.arange(tensor.shape[-1])
    kind = {torch.float32: np.float32, torch.float64: np.float64, torch.int64: np.int64}[tensor.dtype]
    return np.array(np.broadcast_to((row + 5) % 290 if kind is np.int64 else -row, tuple(tensor.shape)), kind)


def _moved(model: GPT, device: torch.device, dtype: torch.dtype | None = None) -> GPT:
    """As `Module.to`, which cannot move fake parameters."""
    for module in model.modules():
        for name, parameter in module._parameters.items():
            if parameter is not None:
                module._parameters[name] = torch.nn.Parameter(parameter.detach().to(device, dtype))
    return model


def run_train(shards: Path, out: Path, settings: dict[str, Any]) -> None:
    train(TrainConfig(
        shards=shards, out=out, device="cuda", compile="off", n_layer=2, n_head=2, n_embd=32, n_ctx=64, steps=8,
        warmup=0, validate_every=100, batch_tokens=256, micro_batch_tokens=128, samples=0, **settings,
    ))  # fmt: skip


def run_engine(shards: Path, out: Path, settings: dict[str, Any]) -> None:
    """Every call of the engine and of its logits, by way of decoding and by themselves, in bf16."""
    tokenizer = Tokenizer.load(shards)
    shape = GPTConfig(vocab_size=tokenizer.vocab_size, n_layer=2, n_head=2, n_embd=32, n_ctx=64)
    engine = TorchEngine(GPT(shape).to("cuda", torch.bfloat16))
    engine.make_replay = partial(Replay, record=lambda step: step) if settings["replays"] else None
    config = partial(DecodingConfig, max_new_tokens=6, min_new_tokens=6)
    if settings["replays"]:
        _converse(engine, tokenizer.end_id, config(temperature=0))
        return
    for chosen in (
        config(temperature=0), config(top_k=0, repetition_penalty=1.2, no_repeat_context=2), config(top_k=0, top_p=1),
        config(min_p=0.1), config(num_beams=4, temperature=1),
    ):  # fmt: skip
        make(engine, tokenizer, CONTEXTS * 2, chosen, [[0, 1]] * 6, 5)
    kept = _converse(engine, tokenizer.end_id, config(temperature=0))
    context = [*kept.tokens, 7, 8]
    make_from(engine, tokenizer, context, config(), [0, 1, 2], kept)
    make_from(engine, tokenizer, [*context, 9], config(num_beams=3, temperature=1), [0, 1], kept)
    assert len(engine.nats([([1, 2], [3]), ([4], [5, 6, 7])])) == 2
    _, cache = engine.prefill(CONTEXTS, 4)
    engine.decode([1, 2, 3], cache, [Joining([1, 3], [4, 5, 6], cache.prefix(0, 2))])
    logits = TorchLogits(torch.zeros(3, 300, dtype=torch.bfloat16, device="cuda"))
    logits.join([1, 4], logits.select([0, 2]))  # few rows, which have left the device
    logits.mass(np.ones(5, np.float32))
    assert logits.array().shape == (5, 300)
    assert logits.argmax().shape == (5,)


def _converse(engine: TorchEngine, end_id: int, config: DecodingConfig) -> Kept:
    kept: Kept | None = None
    context = [1, 2]
    for _ in range(3):
        for token, keep in stream_tokens(engine, end_id, context, config, 0, kept):
            context, kept = [*context, token], keep
        context = [*context, 5]
    assert kept is not None
    return kept


def main() -> None:
    shards, out, job, settings = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3], json.loads(sys.argv[4])
    jobs: dict[str, Callable[[Path, Path, dict[str, Any]], None]] = {"train": run_train, "engine": run_engine}
    pretend()
    with FakeCuda() as mode:
        jobs[job](shards, out, settings)
    sys.stdout.write(json.dumps(mode.waits) + "\n")


if __name__ == "__main__":
    main()
