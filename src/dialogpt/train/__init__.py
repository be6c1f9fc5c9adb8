"""Stage 4: token shards -> a checkpoint.

`train` runs causal language modelling with loss on every turn but the first; `--reverse` trains the backward model.
A run folder holds:

    settings.json               the resolved settings
    metrics.jsonl               one line per logged step and per validation
    report.html                 the same to look at
    checkpoints/step-000500/    Hugging Face folder + the optimizer's state: what resuming needs
    best/                       Hugging Face folder of the lowest validation loss: what `chat` opens
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

PASS_TOKENS, PASS_TOKENS_GPU = 2048, 8192  # per pass, unless --micro-batch-tokens says otherwise


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainConfig:
    """Settings of `train`: token shards -> a checkpoint. The same command again resumes an unfinished run."""

    shards: Annotated[Path, "folder that `tokenize` wrote; SHARDS/validation, if it exists, is used for validation"]
    out: Annotated[Path, "run folder"]
    init: Annotated[str, "start from this model (folder, hub name, `bundled`, .pkl), in its shape"] = ""
    size: Annotated[
        Literal["", "117M", "345M", "762M"], "one of the paper's shapes, instead of --n-layer to --n-ctx"
    ] = ""
    n_layer: Annotated[int, "blocks"] = 6
    n_head: Annotated[int, "attention heads"] = 4
    n_embd: Annotated[int, "width"] = 256
    n_ctx: Annotated[int, "positions: the longest context and reply together, in tokens"] = 256
    dropout: Annotated[float | None, "dropout while training (default: 0.1, or that of the --init model)"] = None
    reverse: Annotated[bool, "train the backward model: turns last to first"] = False
    chain: Annotated[int, "join this many sessions into one, to learn changes of subject"] = 1
    epochs: Annotated[float, "passes over the data"] = 1.0
    steps: Annotated[int, "optimizer updates, instead of --epochs"] = 0
    batch_tokens: Annotated[int, "approximate tokens of one optimizer update"] = 8192
    micro_batch_tokens: Annotated[
        int, "tokens of one forward and backward pass; lower it when memory is short (0: 2048, on a GPU 8192)"
    ] = 0
    recompute: Annotated[bool, "activation checkpointing: less memory, a third more work"] = False
    shard: Annotated[bool, "FSDP2: split weights and optimizer among the processes of torchrun"] = False
    compile: Annotated[Literal["auto", "on", "off"], "torch.compile; auto: on GPUs"] = "auto"
    lr: Annotated[float, "peak learning rate (noam: the released code's factor, 1e-5)"] = 1e-3
    schedule: Annotated[Literal["linear", "cosine", "constant", "noam"], "learning rate after warm-up"] = "linear"
    warmup: Annotated[int, "warm-up steps"] = 200
    weight_decay: Annotated[float, "AdamW decay of matrices; biases and norms have none"] = 0.01
    clip: Annotated[float, "largest global gradient norm (0: no clipping)"] = 1.0
    precision: Annotated[
        Literal["auto", "fp32", "bf16", "fp16"], "of matrix products; weights are fp32 (fp16: for GPUs without bf16)"
    ] = "auto"
    device: Annotated[str, "auto, cpu, cuda, cuda:1, mps"] = "auto"
    seed: Annotated[int, "seed of initial weights, data order and dropout"] = 0
    validate_every: Annotated[int, "steps between validations"] = 250
    patience: Annotated[int, "stop after this many validations without a lower loss (0: never)"] = 0
    samples: Annotated[int, "replies to held-out contexts shown at each validation"] = 4
    save_every: Annotated[int, "steps between checkpoints"] = 250
    keep: Annotated[int, "checkpoints kept beside the best"] = 2
    log_every: Annotated[int, "steps between lines of metrics.jsonl"] = 10
    tensorboard: Annotated[bool, "also write TensorBoard's files, to OUT/tensorboard"] = False
