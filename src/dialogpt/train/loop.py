"""The training loop: micro-batches -> nats -> gradients -> update, with validation, checkpoints and resume.

A step's loss is the sum of nats of all its micro-batches divided by the number of target tokens of the whole step, so
that how a step is cut into micro-batches does not change it.
"""

import logging
import math
import signal
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import numpy as np
import torch

from dialogpt.errors import DataError, DialoGPTError
from dialogpt.model.device import autocast, choose_device, choose_precision
from dialogpt.model.loss import nats, perplexity
from dialogpt.progress import Progress
from dialogpt.tokens.batches import Batch, collate, plan
from dialogpt.tokens.bpe import Tokenizer
from dialogpt.tokens.shards import TokenShards
from dialogpt.train import TrainConfig
from dialogpt.train.optim import learning_rate, make_optimizer
from dialogpt.train.runs import Run
from dialogpt.train.setup import check_lengths, check_settings, check_targets, make_model

log = logging.getLogger(__name__)


class Interrupted(DialoGPTError):
    """Ctrl-C or SIGTERM arrived; the run was saved."""

    exit_code = 130


def train(config: TrainConfig) -> Path:
    """The `train` command: returns the folder of the best checkpoint (the last one when nothing is held out)."""
    return Trainer(config).run()


class Trainer:
    """Everything a run needs, made or read from its folder; `run` does the rest."""

    def __init__(self, config: TrainConfig) -> None:
        check_settings(config)
        self.config = config
        self.device = choose_device(config.device)
        self.precision = choose_precision(config.precision, self.device)
        self.shards = TokenShards(config.shards)
        held_out = config.shards / "validation"
        self.validation = TokenShards(held_out) if held_out.is_dir() else None
        torch.manual_seed(config.seed)
        self.tokenizer = Tokenizer.load(config.shards)
        self.model = make_model(config, self.tokenizer).to(self.device)
        for shards in filter(None, (self.shards, self.validation)):
            check_lengths(shards, self.model.config.n_ctx)
        self.folder = Run(config)
        self.optimizer = make_optimizer(self.model, config.weight_decay)
        self.state = self.folder.resume(self.model, self.optimizer)
        self.accumulate = max(round(config.batch_tokens / config.micro_batch_tokens), 1)
        self.micro_batch_tokens = min(config.micro_batch_tokens, config.batch_tokens)
        self.total_steps = config.steps or math.ceil(config.epochs * self._steps_per_epoch())

    def run(self) -> Path:
        log.info("%s", self._summary())
        self.model.train()
        steps = self._steps()
        with _stop_signal() as stop, Progress("train", self.total_steps, "steps") as bar:
            bar.start_at(self.state.step)
            window = _Window()
            while self.state.step < self.total_steps:
                batches, after = next(steps)
                loss, targets, norm = self._update(batches)
                self.state.step += 1
                self.state.epoch, self.state.batch = after
                self.state.targets_seen += targets
                window.add(loss, targets)
                bar.advance(1, f"loss {loss / targets:.3f} {window.rate:,.0f} tokens/s")
                if self.state.step % self.config.log_every == 0:
                    self._log(window, norm)
                    window = _Window()
                self._milestones(stop.is_set)
        best = self.folder.folder / "best"
        if self.validation is None or not best.is_dir():
            self.folder.save_best(self.model, self.tokenizer, self.state)
        return best

    def _update(self, batches: list[Batch]) -> tuple[float, int, float]:
        """One optimizer update; returns the step's nats, its targets, and the gradient norm before clipping."""
        targets = sum(batch.target_count for batch in batches)
        check_targets(targets, self.shards)
        total = torch.zeros((), device=self.device)
        for batch in batches:
            loss = self._nats(batch)
            (loss / targets).backward()  # type: ignore[no-untyped-call]
            total += loss.detach()
        norm = torch.nn.utils.clip_grad_norm_(self.model.parameters(), self.config.clip or math.inf)
        if not math.isfinite(float(total)) or not math.isfinite(float(norm)):
            raise DataError(
                f"the loss or its gradient is not finite at step {self.state.step + 1} "
                f"(epoch {self.state.epoch}, micro-batch {self.state.batch})",
                f"lower --lr {self.config.lr} or lengthen --warmup; checkpoints so far are kept",
            )
        lr = learning_rate(self.config, self.state.step + 1, self.total_steps, self.model.config.n_embd)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        return float(total), targets, float(norm)

    def _nats(self, batch: Batch) -> torch.Tensor:
        tokens = torch.as_tensor(batch.tokens).to(self.device, non_blocking=True)
        targets = torch.as_tensor(batch.targets).to(self.device, non_blocking=True)
        with autocast(self.device, self.precision):
            return nats(self.model, tokens, targets)

    def validate(self) -> float:
        """Nats per target over the held-out sessions."""
        assert self.validation is not None
        self.model.eval()
        total, targets = 0.0, 0
        with torch.inference_mode():
            for members in plan(self.validation.lengths, self.config.micro_batch_tokens, seed=0, epoch=0):
                batch = collate([self.validation[int(i)] for i in members], reverse=self.config.reverse)
                total += float(self._nats(batch))
                targets += batch.target_count
        self.model.train()
        check_targets(targets, self.validation)
        return total / targets

    def _steps(self) -> Iterator[tuple[list[Batch], tuple[int, int]]]:
        """Yield each step's micro-batches from the state on, and the (epoch, batch) position after them."""
        epoch, batch = self.state.epoch, self.state.batch
        while True:
            batches = self._plan(epoch)
            while batch < len(batches):
                chosen = batches[batch : batch + self.accumulate]
                batch += len(chosen)
                yield [self._collate(members) for members in chosen], (epoch, batch)
            epoch, batch = epoch + 1, 0

    def _collate(self, members: np.ndarray) -> Batch:
        return collate([self.shards[int(i)] for i in members], reverse=self.config.reverse)

    def _plan(self, epoch: int) -> list[np.ndarray]:
        return plan(self.shards.lengths, self.micro_batch_tokens, self.config.seed, epoch)

    def _steps_per_epoch(self) -> int:
        return math.ceil(len(self._plan(0)) / self.accumulate)

    def _milestones(self, stopping: bool) -> None:
        """Validate and save where the step asks for it; save and stop where a signal does."""
        step, config = self.state.step, self.config
        last = step == self.total_steps
        if self.validation is not None and (last or step % config.validate_every == 0):
            loss = self.validate()
            self.folder.append_metrics(
                {"step": step, "validation_loss": loss, "validation_perplexity": perplexity(loss, 1), **self._seen()}
            )
            log.info("step %d: validation perplexity %.2f", step, perplexity(loss, 1))
            if self.state.best_loss is None or loss < self.state.best_loss:
                self.state.best_loss = loss
                self.folder.save_best(self.model, self.tokenizer, self.state)
        if last or stopping or step % config.save_every == 0:
            saved = self.folder.save(self.model, self.tokenizer, self.optimizer, self.state)
            if stopping and not last:
                raise Interrupted(
                    f"stopped at step {step} of {self.total_steps}, saved in {saved}", "the same command goes on"
                )

    def _log(self, window: "_Window", norm: float) -> None:
        lr = self.optimizer.param_groups[0]["lr"]
        self.folder.append_metrics(
            {"step": self.state.step, "loss": window.nats / window.targets, "lr": lr, "gradient_norm": norm,
             "tokens_per_s": round(window.rate), **self._seen()}
        )  # fmt: skip

    def _seen(self) -> dict[str, int]:
        return {"epoch": self.state.epoch, "targets_seen": self.state.targets_seen}

    def _summary(self) -> str:
        held_out = f"{len(self.validation):,} held out" if self.validation else "none held out (no validation)"
        return (
            f"{self.model.parameter_count / 1e6:.1f}M parameters on {self.device}, "
            f"{str(self.precision).removeprefix('torch.')}; {len(self.shards):,} sessions of "
            f"{int(self.shards.lengths.sum()):,} tokens, {held_out}; {self.total_steps:,} steps of about "
            f"{self.accumulate * self.micro_batch_tokens:,} tokens"
        )


class _Window:
    """Nats, targets and time since the last logged step."""

    def __init__(self) -> None:
        self.nats, self.targets, self._started = 0.0, 0, time.monotonic()

    def add(self, nats: float, targets: int) -> None:
        self.nats += nats
        self.targets += targets

    @property
    def rate(self) -> float:
        """Target tokens a second."""
        return self.targets / max(time.monotonic() - self._started, 1e-9)


@contextmanager
def _stop_signal() -> Iterator["_Flag"]:
    """A flag that the first Ctrl-C or SIGTERM sets; a second one stops at once, as always."""
    flag = _Flag()
    signals = (signal.SIGINT, signal.SIGTERM)

    def handle(number: int, frame: FrameType | None) -> None:
        log.warning("stopping after this step; once more to stop at once")
        flag.is_set = True
        for s in signals:
            signal.signal(s, before[s])

    try:
        before = {s: signal.signal(s, handle) for s in signals}
    except ValueError:  # not the main thread: signals are somebody else's
        yield flag
        return
    try:
        yield flag
    finally:
        for s in signals:
            signal.signal(s, before[s])


class _Flag:
    is_set = False
