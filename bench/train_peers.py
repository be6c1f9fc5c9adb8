"""What `bench/train.py` measures `dialogpt train` against: the same sessions, the same shape, the same targets.

    trainer   Hugging Face `Trainer`: fp32, batches in random order padded to their longest, attention mask, AdamW
    best      `Trainer` with bf16, sessions grouped by length, fused AdamW, TF32 on CUDA, no mask (padding is on the
              right, where causal attention does not see it), no check of each loss; `--compile` compiles the model
    nanogpt   the loop and the model of nanoGPT: padded random batches, bf16 autocast, fused AdamW, compiled on CUDA

Each job runs `warmup + steps` updates and times the last `steps` of them. Batches are chosen and their tokens are in
memory before the clock starts.
"""

import importlib.util
import resource
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import numpy as np

from dialogpt.errors import UsageError
from dialogpt.model import GPTConfig
from dialogpt.tokens.batches import IGNORE
from dialogpt.tokens.shards import TokenSession, TokenShards

LR = 1e-4  # of every peer; speed does not depend on it


class Work(msgspec.Struct, frozen=True, kw_only=True):
    """One measured run: what a process of its own is told."""

    job: str
    shards: Path
    folder: Path  # for what the run writes
    shape: dict[str, Any]  # of GPTConfig
    batch: int  # sessions of an update
    batch_tokens: int = 0  # of ours, in place of `batch`, and of a pass of it
    micro_batch_tokens: int = 0
    warmup: int
    steps: int
    device: str
    seed: int
    compile: bool = False

    @property
    def config(self) -> GPTConfig:
        return GPTConfig(**self.shape)

    @property
    def updates(self) -> int:
        return self.warmup + self.steps


class Measured(msgspec.Struct, kw_only=True):
    """What the timed updates of a run took; `filled` is the share of positions that are no padding."""

    seconds: float = 0.0
    cpu_s: float = 0.0  # of all threads
    tokens: float = 0.0  # of the sessions, padding not counted
    targets: int = 0
    updates: int = 0
    filled: float | None = None
    peak_bytes: int = 0
    exact: bool = True  # whether `tokens` were counted; else they are the targets' usual number of tokens
    error: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A session as a peer takes it: `labels` are its tokens, IGNORE where our objective has no target.

    Both (L,) int64. Peers shift the labels themselves, so the first one is never predicted.
    """

    tokens: np.ndarray
    labels: np.ndarray

    @classmethod
    def of(cls, session: TokenSession) -> "Row":
        tokens = np.concatenate(session.turns).astype(np.int64)
        learned = [np.full(len(turn), i > 0 and session.learn[i]) for i, turn in enumerate(session.turns)]
        return cls(tokens, np.where(np.concatenate(learned), tokens, IGNORE))

    @property
    def target_count(self) -> int:
        return int((self.labels[1:] != IGNORE).sum())


class Counts(NamedTuple):
    """Of one batch: tokens of its sessions, target tokens, positions that the model goes through."""

    tokens: int
    targets: int
    positions: int


def peak_bytes(device: str) -> int:
    """The most memory so far: allocated on a CUDA device, else resident of this process (libraries included)."""
    if device.startswith("cuda"):
        import torch

        return torch.cuda.max_memory_allocated(device)
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def choose(lengths: np.ndarray, work: Work, grouped: bool) -> np.ndarray:
    """The sessions of each update, (updates, batch), from an epoch in random or length-grouped order.

    `Trainer` goes through a group of 50 batches from long to short. As many updates as are timed here would all be long
    ones, so they are taken evenly from the short to the long batches of the epoch, in random order.
    """
    if len(lengths) < work.batch:
        raise UsageError(f"{work.shards} holds {len(lengths)} sessions, fewer than a batch of {work.batch}", "add some")
    rng = np.random.default_rng(work.seed)
    order = _grouped(lengths, work) if grouped else rng.permutation(len(lengths))
    batches = order[: len(order) - len(order) % work.batch].reshape(-1, work.batch)
    if not grouped:
        return np.resize(batches, (work.updates, work.batch))  # again from the first where the epoch ends
    batches = batches[np.argsort(lengths[batches].sum(axis=1), kind="stable")]
    evenly = [(np.arange(n) + 0.5) / n * len(batches) for n in (work.warmup, work.steps)]
    return np.concatenate([batches[rng.permutation(places.astype(np.int64))] for places in evenly])


def _grouped(lengths: np.ndarray, work: Work) -> np.ndarray:
    import torch
    from transformers.trainer_pt_utils import get_length_grouped_indices

    generator = torch.Generator().manual_seed(work.seed)
    return np.array(get_length_grouped_indices(lengths.tolist(), work.batch, generator=generator))  # type: ignore[no-untyped-call]


def read_batches(work: Work, grouped: bool) -> list[list[Row]]:
    shards = TokenShards(work.shards)
    return [[Row.of(shards[int(i)]) for i in members] for members in choose(shards.lengths, work, grouped)]


class Stopwatch:
    """Told of each finished update, it times those after the warm-up."""

    def __init__(self, work: Work) -> None:
        self.work, self.done, self._started = work, 0, (0.0, 0.0)
        self.seconds, self.cpu_s, self.peak_bytes = 0.0, 0.0, 0

    def update_done(self) -> None:
        self.done += 1
        if self.done == self.work.warmup:
            self._started = self._now()
        elif self.done == self.work.updates:
            self.seconds, self.cpu_s = (a - b for a, b in zip(self._now(), self._started, strict=True))
            self.peak_bytes = peak_bytes(self.work.device)

    def measured(self, counts: list[Counts]) -> Measured:
        """`counts` of every update's batch, in order; a loader may have gone beyond the last."""
        assert self.done == self.work.updates
        tokens, targets, positions = map(sum, zip(*counts[self.work.warmup : self.work.updates], strict=True))
        return Measured(
            seconds=self.seconds, cpu_s=self.cpu_s, tokens=tokens, targets=targets, updates=self.work.steps,
            filled=tokens / positions, peak_bytes=self.peak_bytes,
        )  # fmt: skip

    def _now(self) -> tuple[float, float]:
        if self.work.device.startswith("cuda"):
            import torch

            torch.cuda.synchronize()
        return time.perf_counter(), time.process_time()


def trainer(work: Work) -> Measured:
    return _trainer(work, best=False)


def trainer_best(work: Work) -> Measured:
    return _trainer(work, best=True)


def check_trainer() -> None:
    """Raise UsageError when `Trainer` or what it needs is not installed."""
    missing = [name for name in ("transformers", "accelerate") if importlib.util.find_spec(name) is None]
    if missing:
        raise UsageError(f"the Trainer peers need {' and '.join(missing)}", f"pip install {' '.join(missing)}")


def _trainer(work: Work, best: bool) -> Measured:
    check_trainer()
    import torch
    from torch.utils.data import SequentialSampler
    from transformers import AutoModelForCausalLM, GPT2Config, Trainer, TrainerCallback, TrainingArguments

    batches, counts, watch = read_batches(work, grouped=best), list[Counts](), Stopwatch(work)
    cuda = work.device.startswith("cuda")

    def collate(rows: list[Row]) -> dict[str, torch.Tensor]:
        tokens, labels = _pad([row.tokens for row in rows], 0), _pad([row.labels for row in rows], IGNORE)
        counts.append(_counts(rows, tokens.numel()))
        if best:
            return {"input_ids": tokens, "labels": labels}
        mask = _pad([np.ones_like(row.tokens) for row in rows], 0)
        return {"input_ids": tokens, "attention_mask": mask, "labels": labels}

    class Peer(Trainer):
        def _get_train_sampler(self, *_: object) -> SequentialSampler:  # the rows stand in their order already
            return SequentialSampler(rows)

    class Watch(TrainerCallback):
        def on_step_end(self, *_: object, **__: object) -> None:
            watch.update_done()

    fast: dict[str, Any] = (
        {"bf16": True, "logging_nan_inf_filter": False} | ({"tf32": True} if cuda else {}) if best else {}
    )
    arguments = TrainingArguments(
        output_dir=str(work.folder), max_steps=work.updates, per_device_train_batch_size=work.batch,
        optim="adamw_torch_fused" if best else "adamw_torch", learning_rate=LR, use_cpu=not cuda, seed=work.seed,
        torch_compile=best and work.compile, save_strategy="no", report_to=[], disable_tqdm=True,
        remove_unused_columns=False, **fast,
    )  # fmt: skip
    if best and cuda:  # as `tf32` asks for, by the older names: its own names alone make the compiler fail
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    model = AutoModelForCausalLM.from_config(_gpt2_config(GPT2Config, work.config), attn_implementation="sdpa")  # type: ignore[no-untyped-call]
    rows = [row for batch in batches for row in batch]
    Peer(model=model, args=arguments, train_dataset=rows, data_collator=collate, callbacks=[Watch()]).train()
    return watch.measured(counts)


def nanogpt(work: Work) -> Measured:
    import torch

    cuda, device = work.device.startswith("cuda"), torch.device(work.device)
    torch.manual_seed(work.seed)
    if cuda:
        torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True
    model = _nanogpt_model(work.config).to(device).train()
    parameters = list(model.parameters())
    groups = [
        {"params": [p for p in parameters if p.dim() >= 2], "weight_decay": 0.1},
        {"params": [p for p in parameters if p.dim() < 2], "weight_decay": 0.0},
    ]
    optimizer = torch.optim.AdamW(groups, lr=LR, betas=(0.9, 0.95), fused=True)
    run: Callable[[torch.Tensor, torch.Tensor], torch.Tensor] = torch.compile(model) if cuda else model
    counts, watch = list[Counts](), Stopwatch(work)
    for rows in read_batches(work, grouped=False):
        tokens = _pad([row.tokens[:-1] for row in rows], 0)
        targets = _pad([row.labels[1:] for row in rows], IGNORE)
        if cuda:
            tokens, targets = (x.pin_memory().to(device, non_blocking=True) for x in (tokens, targets))
        counts.append(_counts(rows, tokens.numel()))
        with torch.autocast(device.type, torch.bfloat16):
            loss = run(tokens, targets)
        loss.backward()  # type: ignore[no-untyped-call]
        torch.nn.utils.clip_grad_norm_(parameters, 1.0)
        optimizer.step()
        optimizer.zero_grad(set_to_none=True)
        watch.update_done()
    measured = watch.measured(counts)
    assert measured.filled is not None
    measured.filled *= 1 - work.batch * work.steps / measured.tokens  # each session's last token is not read here
    return measured


def _nanogpt_model(config: GPTConfig) -> Any:
    """nanoGPT's network: GPT-2 whose vocabulary is padded to a multiple of 64; tokens, targets (B, T) -> mean loss."""
    import torch
    import torch.nn.functional as F
    from torch import Tensor, nn

    C, H, p, V = config.n_embd, config.n_head, config.dropout, -(-config.vocab_size // 64) * 64

    class Block(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.ln_1, self.ln_2 = nn.LayerNorm(C), nn.LayerNorm(C)
            self.c_attn, self.c_proj = nn.Linear(C, 3 * C), nn.Linear(C, C)
            self.mlp = nn.Sequential(nn.Linear(C, 4 * C), nn.GELU(), nn.Linear(4 * C, C), nn.Dropout(p))
            self.resid_dropout = nn.Dropout(p)

        def forward(self, x: Tensor) -> Tensor:
            B, T, _ = x.shape
            q, k, v = (y.view(B, T, H, C // H).transpose(1, 2) for y in self.c_attn(self.ln_1(x)).split(C, dim=2))
            y = F.scaled_dot_product_attention(q, k, v, dropout_p=p if self.training else 0.0, is_causal=True)
            x = x + self.resid_dropout(self.c_proj(y.transpose(1, 2).contiguous().view(B, T, C)))
            out: Tensor = x + self.mlp(self.ln_2(x))
            return out

    class Network(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.wte, self.wpe, self.drop = nn.Embedding(V, C), nn.Embedding(config.n_ctx, C), nn.Dropout(p)
            self.h, self.ln_f = nn.Sequential(*(Block() for _ in range(config.n_layer))), nn.LayerNorm(C)
            for embedding in (self.wte, self.wpe):
                nn.init.normal_(embedding.weight, std=0.02)

        def forward(self, tokens: Tensor, targets: Tensor) -> Tensor:
            positions = torch.arange(tokens.shape[1], device=tokens.device)
            x = self.drop(self.wte(tokens) + self.wpe(positions))
            logits = F.linear(self.ln_f(self.h(x)), self.wte.weight)
            return F.cross_entropy(logits.view(-1, V), targets.view(-1), ignore_index=IGNORE)

    return Network()


def _gpt2_config(cls: Any, config: GPTConfig) -> Any:
    shape = asdict(config)
    dropout, epsilon = shape.pop("dropout"), shape.pop("layer_norm_eps")
    return cls(
        n_positions=shape.pop("n_ctx") + 1,  # it reads a session's last token too, which we only predict
        resid_pdrop=dropout, embd_pdrop=dropout, attn_pdrop=dropout,
        layer_norm_epsilon=epsilon, use_cache=False, **shape,
    )  # fmt: skip


def _pad(rows: list[np.ndarray], value: int) -> Any:
    import torch
    from torch.nn.utils.rnn import pad_sequence

    return pad_sequence([torch.from_numpy(row) for row in rows], batch_first=True, padding_value=value)


def _counts(rows: list[Row], positions: int) -> Counts:
    return Counts(sum(len(row.tokens) for row in rows), sum(row.target_count for row in rows), positions)


PEERS = {"trainer": trainer, "best": trainer_best, "nanogpt": nanogpt}
