"""What a run does with its held-out sessions: loss, sample replies, early stopping, warnings."""

import logging
import math
from typing import TYPE_CHECKING

from dialogpt.tokens.pairs import open_shards
from dialogpt.tokens.shards import TokenShards
from dialogpt.train.feed import Feed
from dialogpt.train.metrics import Sample, ValidationLine, memorises, perplexity
from dialogpt.train.parallel import whole
from dialogpt.train.samples import choose_contexts, sample_replies
from dialogpt.train.setup import check_lengths, check_targets

if TYPE_CHECKING:
    from dialogpt.train.loop import Trainer

log = logging.getLogger(__name__)


class Validator:
    """Validation of one trainer on the sessions in SHARDS/validation."""

    def __init__(self, trainer: "Trainer") -> None:
        config, world = trainer.config, trainer.world
        self._trainer = trainer
        self._shards = open_shards(config.shards / "validation")
        check_lengths(self._shards, trainer.model.config.n_ctx)
        self._feed = Feed(
            shards=self._shards, micro_batch_tokens=config.micro_batch_tokens, reverse=config.reverse,
            rank=world.rank, size=world.size,
        )  # fmt: skip
        self._contexts = (
            choose_contexts(self._shards, trainer.tokenizer, config.samples, reverse=config.reverse)
            if isinstance(self._shards, TokenShards)  # a ranker makes no replies
            else []
        )

    @property
    def sessions(self) -> int:
        return len(self._shards)

    def is_stale(self) -> bool:
        """Has the loss not been lower for as many validations as `patience` allows?"""
        patience = self._trainer.config.patience
        return bool(patience) and self._trainer.state.stale >= patience

    def validate(self) -> bool:
        """Measure, write it down, keep the best; returns whether the run is to stop early."""
        state, trainer = self._trainer.state, self._trainer
        trainer.model.eval()
        nats, targets, right = trainer.parallel.nats(self._feed.once())
        check_targets(targets, self._shards)
        loss = nats / targets
        if not math.isfinite(loss):
            raise trainer.exploded(f"the validation loss is not finite after step {state.step}")
        samples = self._samples()
        trainer.model.train()
        if trainer.world.leads:
            trainer.folder.append(
                ValidationLine(
                    step=state.step, epoch=state.epoch, targets_seen=state.targets_seen, validation_loss=loss,
                    validation_perplexity=perplexity(loss), samples=samples,
                    pairs_right=right / targets if trainer.ranks else None,
                    training_loss=state.nats / state.targets if state.targets else None,
                )
            )  # fmt: skip
        trainer.folder.report()
        state.nats, state.targets = 0.0, 0
        self._tell(loss, samples)
        if trainer.ranks:
            log.info("  the better reply first in %.1f%% of pairs; guessing: perplexity 2, 50%%", 100 * right / targets)
        if state.best_loss is None or loss < state.best_loss:
            state.best_loss, state.stale = loss, 0
            trainer.folder.save_best(trainer.model, trainer.tokenizer, state)
        else:
            state.stale += 1
        if self.is_stale():
            log.info("stopping early: no lower validation loss for %d validations", state.stale)
        return self.is_stale()

    def _samples(self) -> list[Sample]:
        model = whole(self._trainer.model, self._trainer.world) if self._contexts else None
        if model is None or not self._trainer.world.leads:
            return []
        return sample_replies(model, self._trainer.tokenizer, self._contexts)

    def _tell(self, loss: float, samples: list[Sample]) -> None:
        log.info("step %d: validation perplexity %.2f", self._trainer.state.step, perplexity(loss))
        for sample in samples:
            log.info("  %s  ->  %s", sample.context[-1], sample.reply)
        if self._trainer.world.leads:
            warning = memorises(self._trainer.folder.metrics.read()[1])
            if warning:
                log.warning("%s", warning)
