"""Before the first step: a model that fits the shards, and one-line errors for what cannot work."""

import logging
import os
from dataclasses import replace

import torch

from dialogpt.artifact import is_backward, read_json
from dialogpt.errors import DataError, UsageError, check_least, given
from dialogpt.hub import model_path
from dialogpt.model import SIZES, GPTConfig, checkpoint
from dialogpt.model.device import compiler_missing
from dialogpt.model.gpt import GPT
from dialogpt.tokens.bpe import Tokenizer
from dialogpt.tokens.pairs import Shards, TokenPairs
from dialogpt.train import PASS_TOKENS, PASS_TOKENS_GPU, TrainConfig
from dialogpt.train.compare import SETTINGS
from dialogpt.train.feed import Feed

log = logging.getLogger(__name__)

FEW_SESSIONS = 100
SHAPE = ("n_layer", "n_head", "n_embd", "n_ctx")


def make_model(config: TrainConfig, tokenizer: Tokenizer, *, ranks: bool = False) -> GPT:
    """A new model for the tokenizer, or the checkpoint of `config.init` if its vocabulary is the tokenizer's.

    ranks: a ranker, which may begin as another model.
    """
    model = _new_or_loaded(config, tokenizer, ranks=ranks)
    if ranks and not model.config.ranks:
        model = checkpoint.as_ranker(model)
    model.recompute = config.recompute
    return model


def _new_or_loaded(config: TrainConfig, tokenizer: Tokenizer, *, ranks: bool) -> GPT:
    if not config.init:
        own_shape = GPTConfig(n_ctx=config.n_ctx, n_layer=config.n_layer, n_head=config.n_head, n_embd=config.n_embd)
        shape = SIZES[config.size] if config.size else own_shape
        dropout = shape.dropout if config.dropout is None else config.dropout
        return GPT(replace(shape, vocab_size=tokenizer.vocab_size, dropout=dropout))
    model, own = checkpoint.load(config.init, ranker=None if ranks else False)
    if own.digest != tokenizer.digest:
        raise UsageError(
            f"the shards in {config.shards} have another vocabulary ({tokenizer.vocab_size} tokens) "
            f"than {config.init} ({own.vocab_size})",
            f"tokenize again with --tokenizer {config.init}",
        )
    if is_backward(model_path(config.init)) and not config.reverse and not ranks:
        log.warning(
            "--init %s is a backward model: add --reverse to train it further, or start from another model", config.init
        )
    if config.dropout is not None:
        model.set_dropout(config.dropout)
    return model


def check_settings(config: TrainConfig) -> None:
    """Raise UsageError for settings that cannot work, alone or together."""
    for name in ("n_layer", "n_head", "n_embd", "n_ctx", "batch_tokens", "lr",
                 "validate_every", "save_every", "log_every", "keep", "chain"):  # fmt: skip
        if not getattr(config, name) > 0:  # neither is nan
            raise UsageError(
                f"--{name.replace('_', '-')} {getattr(config, name)} must be above 0", "see `dialogpt train --help`"
            )
    check_least(config, micro_batch_tokens=0, steps=0, seed=0, warmup=0, weight_decay=0, clip=0, patience=0, samples=0)
    if not config.epochs < float("inf") or config.seed >= 2**63:
        raise UsageError(
            f"--epochs {config.epochs} or --seed {config.seed} is too large", "see `dialogpt train --help`"
        )
    if config.dropout is not None and not 0 <= config.dropout < 1:
        raise UsageError(f"--dropout {config.dropout} is not a share", "name a number from 0 to below 1")
    if config.init and config.size:
        raise UsageError(f"--size {config.size} and --init {config.init} cannot be combined", "leave one of them out")
    if not config.epochs > 0 and config.steps == 0:
        raise UsageError("nothing to do: --epochs and --steps are both 0 or less", "set one of them")
    if config.shard and "RANK" not in os.environ:
        raise UsageError("--shard splits a model among several processes", "start it with torchrun --nproc-per-node N")
    if config.n_embd % config.n_head:
        raise UsageError(f"--n-embd {config.n_embd} is not a multiple of --n-head {config.n_head}", "use 64 per head")


def with_pass_tokens(config: TrainConfig, device: torch.device) -> TrainConfig:
    """The settings with the size of a pass; if they leave it open, that of the run in their folder, if there is one."""
    if config.micro_batch_tokens:
        return config
    file = config.out / SETTINGS
    begun = read_json(file, dict).get("micro_batch_tokens") if file.is_file() else None
    usual = PASS_TOKENS_GPU if device.type == "cuda" else PASS_TOKENS
    return replace(config, micro_batch_tokens=begun or usual)


def choose_compile(config: TrainConfig, device: torch.device) -> bool:
    """On a CPU compiling takes a minute and wins little; on a GPU it fuses what is between the matrix products."""
    if config.compile != "auto" or device.type != "cuda":
        return config.compile == "on"
    if why := compiler_missing(device):
        log.warning("passes are not compiled, which makes them slower: %s", why)
    return not why


def check_recompute(model: GPT, device: torch.device) -> None:
    """Raise UsageError if blocks would be recomputed with another dropout than the first time."""
    if model.recompute and model.config.dropout and device.type == "mps":
        raise UsageError(
            "--recompute on MPS cannot repeat what dropout drew", "add --dropout 0, or lower --micro-batch-tokens"
        )


def warn_early(config: TrainConfig, shards: Shards, feed: Feed, total_steps: int) -> None:
    """Warn of what works but is probably not meant."""
    what, to_learn = ("pairs", "choose") if isinstance(shards, TokenPairs) else ("sessions", "talk from")
    if len(shards) < FEW_SESSIONS:
        log.warning(
            "%s has only %d %s: too few to learn to %s; start from a model (--init) and hold some out "
            "(tokenize --validation) to see when they are memorised",
            shards.folder, len(shards), what, to_learn,
        )  # fmt: skip
    shape = [f"--{name.replace('_', '-')} {getattr(config, name)}" for name in given(config, *SHAPE)]
    if shape and (config.init or config.size):
        of = f"--init {config.init}" if config.init else f"--size {config.size}"
        log.warning("%s is not used: the shape is that of %s", ", ".join(shape), of)
    if config.patience and not (config.shards / "validation").is_dir():
        log.warning(
            "--patience %d never stops the run: %s has no validation (tokenize --validation)",
            config.patience, config.shards,
        )  # fmt: skip
    if config.warmup >= total_steps and config.schedule != "noam":
        log.warning(
            "--warmup %d does not end before the last step, %d: the full --lr is never reached",
            config.warmup,
            total_steps,
        )
    if feed.accumulate < feed.size:
        log.warning(
            "a step has %d micro-batches for %d processes: some have nothing to do; raise --batch-tokens or lower "
            "--micro-batch-tokens",
            feed.accumulate, feed.size,
        )  # fmt: skip


def check_pairs(config: TrainConfig) -> None:
    """Raise UsageError for settings that have no meaning for a ranker."""
    for name, meant in (("reverse", config.reverse), ("chain", config.chain > 1)):
        if meant:
            raise UsageError(
                f"--{name} is for sessions, and {config.shards} holds preferences, which train a ranker",
                f"leave --{name} out, or name shards of sessions",
            )


def check_targets(targets: int, shards: Shards) -> None:
    """Forward, every session has a turn to learn; backward, a session's only one may come first, as context."""
    if not targets:
        raise DataError(
            f"{shards.folder}: a whole step has nothing to learn",
            "the backward model learns turns before the last; import without --speaker",
        )


def check_lengths(shards: Shards, n_ctx: int) -> None:
    """Raise DataError when a session, or a pair, is longer than the model can read."""
    longest = int(shards.lengths.max())
    if longest > n_ctx + 1:  # the last token is only predicted, never read
        over = int((shards.lengths > n_ctx + 1).sum())
        what, how = ("pairs", "shortens") if isinstance(shards, TokenPairs) else ("sessions", "splits")
        raise DataError(
            f"{shards.folder}: {over:,} of {len(shards):,} {what} are longer than the model's n_ctx of {n_ctx} tokens"
            f" (the longest has {longest:,})",
            f"`dialogpt tokenize --max-tokens {n_ctx}` {how} them by whole turns",
        )
