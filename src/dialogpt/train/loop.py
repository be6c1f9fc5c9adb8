"""The training loop: micro-batches -> nats -> gradients -> update, with validation, checkpoints and resume.

A step's loss is the sum of nats of all its micro-batches, on all ranks, divided by the number of target tokens of the
whole step, so splitting a step differently does not change it. A step's randomness (dropout) is a function of seed,
step and rank: a resumed run repeats it without stored generators.
"""

import logging
import math
import time
from contextlib import closing
from pathlib import Path

import torch

from dialogpt.artifact import locked
from dialogpt.errors import DataError
from dialogpt.model.device import choose_precision, peak_memory
from dialogpt.model.memory import frugal_with_memory
from dialogpt.progress import Progress
from dialogpt.seeds import mixed
from dialogpt.tokens.bpe import Tokenizer
from dialogpt.tokens.chains import Chains
from dialogpt.tokens.pairs import TokenPairs, open_shards
from dialogpt.tokens.shards import TokenShards
from dialogpt.train import TrainConfig
from dialogpt.train.feed import Feed, Step, ahead
from dialogpt.train.metrics import StepLine
from dialogpt.train.optim import learning_rate, make_optimizer
from dialogpt.train.parallel import Figures, Parallel, clip, finite
from dialogpt.train.runs import Run, TrainState, nothing_left_unless_begun
from dialogpt.train.scaling import LossScale
from dialogpt.train.setup import (
    check_lengths,
    check_pairs,
    check_recompute,
    check_settings,
    check_targets,
    choose_compile,
    make_model,
    warn_early,
    with_pass_tokens,
)
from dialogpt.train.stopping import Interrupted, explained, stop_signal
from dialogpt.train.validation import Validator
from dialogpt.train.world import World, join

log = logging.getLogger(__name__)


def train(config: TrainConfig) -> Path:
    """The `train` command: returns the folder of the best checkpoint (the last one when nothing is held out)."""
    check_settings(config)
    with join(config.device) as world:
        if world.device.type == "cpu":
            frugal_with_memory()
        config = with_pass_tokens(config, world.device)
        if not world.leads:
            return Trainer(config, world).run()
        with locked(config.out), nothing_left_unless_begun(config.out):
            return Trainer(config, world).run()


class Trainer:
    """Everything a run needs, made or read from its folder; `run` does the rest."""

    def __init__(self, config: TrainConfig, world: World) -> None:
        self.config, self.world = config, world
        self.precision = choose_precision(config.precision, world.device)
        self.shards = open_shards(config.shards)
        self.ranks = isinstance(self.shards, TokenPairs)
        self.unit = "pairs" if self.ranks else "tokens"  # of targets
        if self.ranks:
            check_pairs(config)
        self.tokenizer = Tokenizer.load(config.shards)
        torch.manual_seed(config.seed)
        self.model = make_model(config, self.tokenizer, ranks=self.ranks).to(world.device)
        check_lengths(self.shards, self.model.config.n_ctx)
        check_recompute(self.model, world.device)
        self.folder = Run(config, world, self.shards)
        self.state = self.folder.restore_weights(self.model)
        self.parallel = Parallel(
            self.model, world, self.precision, shard=config.shard, compiled=choose_compile(config, world.device)
        )
        self.scale = LossScale(self.state, self.precision)
        self.optimizer = make_optimizer(self.model, config.weight_decay)
        self.folder.restore_optimizer(self.model, self.optimizer, self.state)
        n_ctx = self.model.config.n_ctx
        self.feed = Feed(
            shards=Chains(self.shards, config.chain, n_ctx, config.seed, reverse=config.reverse)
            if isinstance(self.shards, TokenShards) and config.chain > 1
            else self.shards,
            micro_batch_tokens=min(config.micro_batch_tokens, config.batch_tokens),
            accumulate=max(round(config.batch_tokens / config.micro_batch_tokens), 1), seed=config.seed,
            reverse=config.reverse, rank=world.rank, size=world.size,
        )  # fmt: skip
        self.total_steps = config.steps or math.ceil(config.epochs * self.feed.steps_per_epoch())
        self.validator = Validator(self) if (config.shards / "validation").is_dir() else None

    def run(self) -> Path:
        log.info("%s", self._summary())
        warn_early(self.config, self.shards, self.feed, self.total_steps)
        state, stale = self.state, self.validator is not None and self.validator.is_stale()
        self.model.train()
        with (
            stop_signal() as stop,
            closing(ahead(self.feed.steps(state.epoch, state.batch))) as steps,
            Progress("train", self.total_steps, "steps") as bar,
        ):
            bar.start_at(state.step)
            window = _Window(state)
            while state.step < self.total_steps and not stale:
                step = next(steps)
                with explained(self.config, step):
                    nats, targets, norm, stopping = self._update(step, stop.is_set)
                state.step += 1
                state.epoch, state.batch = step.after
                window.add(nats, targets)
                bar.advance(1, f"loss {nats / targets:.3f} {window.rate:,.0f} {self.unit}/s")
                if state.step % self.config.log_every == 0:
                    self._log(window, norm)
                    window.clear()
                last = state.step == self.total_steps
                if self.validator is not None and (last or state.step % self.config.validate_every == 0):
                    stale = self.validator.validate()
                    window.restart()
                if last or stale or stopping or state.step % self.config.save_every == 0:
                    if not finite(self.model, self.world):
                        raise self.exploded(f"the weights are not finite after step {state.step}")
                    saved = self.folder.save(self.model, self.tokenizer, self.optimizer, state)
                    window.restart()
                    if stopping and not last:
                        raise Interrupted(
                            f"stopped at step {state.step} of {self.total_steps}, saved in {saved}",
                            "the same command resumes",
                        )
        self.folder.report()
        best = self.folder.folder / "best"
        if self.validator is None or not best.is_dir():
            self.folder.save_best(self.model, self.tokenizer, state)
        return best

    def _update(self, step: Step, stopping: bool) -> tuple[float, int, float, bool]:
        """One optimizer update; returns its nats, its targets, the gradient norm, and whether a rank must stop.

        Figures are read from a GPU while it computes the update, so it never waits for this process (except in fp16,
        where they decide whether there is an update).
        """
        torch.manual_seed(mixed(self.config.seed, self.state.step, self.world.rank))
        own = sum(batch.target_count for batch in step.batches)
        targets, stops = self.world.sum(own, stopping)
        check_targets(int(targets), self.shards)
        found = self.parallel.backward(step.batches, targets, self.scale.factor)
        norm = clip(self.model, self.config.clip, self.scale.factor)
        figures = Figures(self.world.total(torch.stack(found).sum()), norm)
        fits = not self.scale.counts or self.scale.fits(figures.read()[1])
        lr = learning_rate(self.config, self.state.step + 1, self.total_steps, self.model.config.n_embd)
        for group in self.optimizer.param_groups:
            group["lr"] = lr
        if fits:
            self.optimizer.step()
        else:
            self.state.skipped += 1
        self.optimizer.zero_grad(set_to_none=True)
        nats, norm_before = figures.read()
        if not math.isfinite(nats) or (fits and not math.isfinite(norm_before)):
            self._not_finite(step, found)
        return nats, int(targets), norm_before, bool(stops)

    def _not_finite(self, step: Step, found: list[torch.Tensor]) -> None:
        """Name the sessions of the first batch whose loss is not finite."""
        bad = [members for members, nats in zip(step.sessions, found, strict=False) if not math.isfinite(float(nats))]
        where = f"in the batch of sessions {', '.join(map(str, bad[0][:8]))}" if bad else "in its gradient alone"
        raise self.exploded(
            f"the loss is not finite at step {self.state.step + 1} (epoch {self.state.epoch}, rank {self.world.rank}), "
            f"{where}"
        )

    def exploded(self, what: str) -> DataError:
        """The error of a run whose numbers are too large to go on."""
        saved = self.folder.checkpoints
        # The oldest: what ruined the loss may have started steps ago.
        goes_on = f"; another run may start from a checkpoint: --init {saved[0]} --out ANOTHER" if saved else ""
        return DataError(what, f"lower --lr {self.config.lr} or lengthen --warmup{goes_on}")

    def _log(self, window: "_Window", norm: float) -> None:
        if self.world.leads:
            line = StepLine(
                step=self.state.step, epoch=self.state.epoch, targets_seen=self.state.targets_seen,
                loss=window.loss, lr=self.optimizer.param_groups[0]["lr"], gradient_norm=norm,
                tokens_per_s=round(window.rate, 1), memory_bytes=peak_memory(self.world.device),
                elapsed_s=round(self.state.elapsed_s, 1),
            )  # fmt: skip
            self.folder.append(line)

    def _summary(self) -> str:
        held_out = f"{self.validator.sessions:,} held out" if self.validator else "none held out (no validation)"
        ranks = f" and {self.world.size - 1} more" if self.world.size > 1 else ""
        model, sessions = ("a ranker of ", "pairs") if self.ranks else ("", "sessions")
        return (
            f"{model}{self.model.parameter_count / 1e6:.1f}M parameters on {self.world.device}{ranks}, "
            f"{str(self.precision).removeprefix('torch.')}; {len(self.shards):,} {sessions} of "
            f"{int(self.shards.lengths.sum()):,} tokens, {held_out}; {self.total_steps:,} steps of about "
            f"{self.feed.accumulate * self.feed.micro_batch_tokens:,} tokens, {self.feed.real_share():.1%} of them real"
        )


class _Window:
    """Nats, targets and time since the last logged step, in the run's state, so that a resumed run has them, too.

    Time for validations and checkpoints is left out.
    """

    def __init__(self, state: TrainState) -> None:
        self._state = state
        self._started = time.monotonic()

    def add(self, nats: float, targets: int) -> None:
        state, now = self._state, time.monotonic()
        step_s = now - self._started
        self._started = now
        state.window_nats += nats
        state.window_targets += targets
        state.window_s += step_s
        state.elapsed_s += step_s
        state.targets_seen += targets
        state.nats += nats
        state.targets += targets

    def clear(self) -> None:
        """A line has been logged."""
        self._state.window_nats, self._state.window_targets, self._state.window_s = 0.0, 0, 0.0

    def restart(self) -> None:
        """Leave out the time since the last step."""
        self._started = time.monotonic()

    @property
    def rate(self) -> float:
        """Target tokens a second."""
        return self._state.window_targets / max(self._state.window_s, 1e-9)

    @property
    def loss(self) -> float:
        """Nats per target."""
        return self._state.window_nats / self._state.window_targets
