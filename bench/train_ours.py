"""How `bench/train.py` times `dialogpt train`: through its settings and its metrics.jsonl, and nothing else.

The loop's own rates are not used. A thread notes when the lines of the warm-up's and of the last step are written,
which say how many targets were seen; the sessions behind them follow from the plan of batches. A second run, not timed,
counts the positions that the model goes through.
"""

import json
import math
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from itertools import count
from pathlib import Path
from typing import Any, NamedTuple, NoReturn

import msgspec
from train_peers import Measured, Row, Work, peak_bytes

from dialogpt.tokens.batches import plan
from dialogpt.tokens.shards import TokenShards
from dialogpt.train import TrainConfig

POLL_S = 0.005
SETTINGS = TrainConfig.__dataclass_fields__


def answer(measured: Measured) -> NoReturn:
    """Print what was measured as the last line, and end this process, whatever its other threads do."""
    print("\n" + msgspec.json.encode(measured).decode(), end="", flush=True)  # `Trainer` prints lines of its own
    os._exit(0)


class Line(NamedTuple):
    """A line of metrics.jsonl: when it was seen (seconds, of clock and processor), what it says, and the peak then."""

    time: float
    cpu_s: float
    targets_seen: int
    peak_bytes: int


class Watch(threading.Thread):
    """Notes when each line of a metrics.jsonl is written, and calls `then` at the line of step `last`."""

    def __init__(self, file: Path, device: str, last: int, then: Callable[[dict[int, Line]], NoReturn]) -> None:
        super().__init__(daemon=True)
        self.file, self.device, self.last, self.then = file, device, last, then
        self.lines: dict[int, Line] = {}

    def run(self) -> None:
        size = 0
        while self.last not in self.lines:
            time.sleep(POLL_S)
            grown = self.file.stat().st_size if self.file.exists() else 0
            if grown > size:
                size = grown
                self._note(time.perf_counter(), time.process_time())
        self.then(self.lines)

    def _note(self, now: float, cpu_s: float) -> None:
        peak = peak_bytes(self.device)
        for line in logged(self.file):
            self.lines.setdefault(line["step"], Line(now, cpu_s, line["targets_seen"], peak))


def logged(file: Path) -> list[dict[str, Any]]:
    """The whole lines of a metrics.jsonl so far."""
    text = file.read_text(encoding="utf-8") if file.exists() else ""
    return [json.loads(line) for line in text.split("\n")[:-1]]


def train_config(work: Work, **settings: Any) -> TrainConfig:
    """Ours as it is by default, on the shards without what is held out (no validation is timed)."""
    shards = work.folder / "shards"
    shards.mkdir()
    for file in work.shards.resolve().iterdir():
        if file.is_file():
            (shards / file.name).symlink_to(file)
    shape = {name: value for name, value in work.shape.items() if name in SETTINGS}
    return TrainConfig(
        shards=shards, out=work.folder / "run", device=work.device, seed=work.seed, batch_tokens=work.batch_tokens,
        micro_batch_tokens=work.micro_batch_tokens, save_every=10**9, **shape, **settings,
    )  # fmt: skip


def ours(work: Work) -> Measured:
    """Time `train` from outside, by the lines of its metrics; the last ends the process, before anything is saved."""
    from dialogpt.train.loop import train

    def report(lines: dict[int, Line]) -> NoReturn:
        start, end = lines[work.warmup], lines[work.updates]
        first, last = learned(config, [start.targets_seen, end.targets_seen])
        answer(
            Measured(
                seconds=end.time - start.time, cpu_s=end.cpu_s - start.cpu_s, tokens=last.tokens - first.tokens,
                targets=end.targets_seen - start.targets_seen, updates=work.steps, peak_bytes=end.peak_bytes,
                exact=first.exact and last.exact,
            )
        )  # fmt: skip

    config = train_config(work, steps=work.updates, log_every=math.gcd(work.warmup, work.steps))
    watch = Watch(config.out / "metrics.jsonl", work.device, work.updates, report)
    watch.start()
    train(config)
    watch.join(60)
    sys.exit(f"metrics.jsonl has no line of step {work.updates}")


class _Counted(Exception):
    pass


def count_positions(work: Work) -> Measured:
    """`filled` of ours, not timed: the positions whose token is looked up in the embedding, padding or not."""
    import torch
    from torch.utils._python_dispatch import TorchDispatchMode

    from dialogpt.train.loop import train

    config = train_config(work, steps=work.steps + 1, log_every=1)
    metrics = config.out / "metrics.jsonl"

    class Count(TorchDispatchMode):  # type: ignore[no-untyped-call]
        positions = 0

        def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
            if func is torch.ops.aten.embedding.default and len(args[0]) >= work.config.vocab_size:
                if len(logged(metrics)) >= work.steps:
                    raise _Counted
                self.positions += args[1].numel()
            return func(*args, **(kwargs or {}))

    counted = Count()  # type: ignore[no-untyped-call]
    try:
        with counted:
            train(config)
    except _Counted:
        pass
    targets = logged(metrics)[work.steps - 1]["targets_seen"]
    (seen,) = learned(config, [targets])
    filled = (seen.tokens - seen.sessions) / counted.positions if counted.positions else None
    return Measured(tokens=seen.tokens, targets=targets, updates=work.steps, filled=filled, exact=seen.exact)


class Learned(NamedTuple):
    """What a run has learned from after some number of targets: all tokens of the sessions."""

    tokens: float
    sessions: float
    exact: bool = True


def learned(config: TrainConfig, targets: Sequence[int]) -> list[Learned]:
    """The sessions behind each number of targets seen, as `plan` orders them.

    A number at which no batch of the plan ends is not of that order: then its share of the tokens is taken.
    """
    ends = {0: Learned(0, 0)}
    for seen, tokens, sessions in _plan_ends(config):
        ends[seen] = Learned(tokens, sessions)
        if seen >= max(targets):
            break
    estimates = [Learned(tokens * number / seen, sessions * number / seen, False) for number in targets]
    return [ends.get(number, estimate) for number, estimate in zip(targets, estimates, strict=True)]


def _plan_ends(config: TrainConfig) -> Iterator[tuple[int, int, int]]:
    """Targets, tokens and sessions up to the end of each batch of the plan, epoch after epoch."""
    shards = TokenShards(config.shards)
    targets = tokens = sessions = 0
    for epoch in count():
        for members in plan(shards.lengths, config.micro_batch_tokens, config.seed, epoch):
            targets += sum(Row.of(shards[int(i)]).target_count for i in members)
            tokens += int(shards.lengths[members].sum())
            sessions += len(members)
            yield targets, tokens, sessions
