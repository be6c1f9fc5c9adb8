"""How fast `dialogpt train` is, beside Hugging Face `Trainer` and nanoGPT's loop (`bench/train_peers.py`).

    python bench/train.py SHARDS --n-layer 4 --n-head 4 --n-embd 256 --steps 20 --repeats 3
    python bench/train.py SHARDS --device cuda --size 117M 345M 762M --batch 32 --steps 100 --compile --limit-s 3000

SHARDS is a folder of `dialogpt tokenize`; every run learns from its sessions, drawn anew each round. Peers take --batch
sessions an update; ours has its default settings and as many real tokens an update. Every run is a process of its own,
and the trainers take turns; warm-up steps and start-up are not counted. Ratios are medians over the rounds' pairs. What
has not ended after --limit-s is left out of the tables.

Tokens are those of the sessions, padding never counted; `filled` is the share of the positions computed that are not
padding. Memory is the most that CUDA allocated; on a CPU, that of the process with its libraries.
MFU = tokens/s x FLOPs of a token / the FLOP/s of a bfloat16 product of square matrices (8192 on CUDA) in the same run;
FLOPs of a token = 6 N + 12 n_layer n_embd A: N parameters without position embeddings, the tied matrix counted once, as
the output layer's product; A the mean number of tokens that a token attends to, (L + 1) / 2 in a session of L. The
lesser MFU counts the output layer at targets only, where alone it is needed.
"""

import argparse
import math
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import NoReturn

import msgspec
import numpy as np
from train_ours import answer, count_positions, ours
from train_peers import PEERS, Measured, Work, check_trainer, peak_bytes

from dialogpt.errors import DialoGPTError, UsageError
from dialogpt.model import SIZES, GPTConfig
from dialogpt.tokens.batches import plan
from dialogpt.tokens.bpe import Tokenizer
from dialogpt.tokens.shards import TokenShards
from dialogpt.train import PASS_TOKENS, PASS_TOKENS_GPU, TrainConfig

OURS = "dialogpt"
TITLES = {"trainer": "Trainer, default", "best": "Trainer, at its best", "nanogpt": "nanoGPT style"}
DEFAULTS = TrainConfig(shards=Path(), out=Path())
TIME_IS_UP = "not measured, the time is up"
COUNTED_STEPS = 8  # whose positions are counted, in a run that is not timed


def parameters(shape: GPTConfig) -> int:
    """N: a block has 12 C^2 + 13 C with biases and norms; then the last norm and the tied matrix, no positions."""
    C = shape.n_embd
    return shape.n_layer * (12 * C * C + 13 * C) + 2 * C + shape.vocab_size * C


def flops_per_token(shape: GPTConfig, attended: float, output_share: float = 1.0) -> float:
    """Of forward and backward: 6 N + 12 n_layer n_embd `attended`; the output layer at `output_share` of the tokens."""
    spared = (1 - output_share) * shape.vocab_size * shape.n_embd
    return 6 * (parameters(shape) - spared) + 12 * shape.n_layer * shape.n_embd * attended


def mean_attended(lengths: np.ndarray) -> float:
    """Tokens that a token attends to, itself among them, over all tokens of sessions of these lengths."""
    sizes = lengths.astype(np.float64)
    return float((sizes * (sizes + 1) / 2).sum() / sizes.sum())


def budget(lengths: np.ndarray, batch: int, device: str) -> tuple[int, int]:
    """Our --batch-tokens and --micro-batch-tokens with which an update has the tokens of `batch` sessions on average.

    The default size of a pass stays, but for the division of an update into equal ones.
    """
    wanted = batch * float(lengths.mean())
    passes = math.ceil(wanted / (PASS_TOKENS_GPU if device == "cuda" else PASS_TOKENS))
    micro = round(wanted / passes)
    for _ in range(4):  # rows are cut where the next does not fit, so a pass holds less than its size
        held = float(lengths.sum()) / len(plan(lengths, micro, seed=0, epoch=0))
        micro = max(round(micro * wanted / passes / held), 1)
    return passes * micro, micro


def matrix_product(work: Work) -> Measured:
    """The FLOP/s of a dense bfloat16 product, as `tokens` a second: the fastest of some."""
    import torch

    from dialogpt.model.device import choose_device

    cuda = choose_device(work.device).type == "cuda"
    edge, times = (8192, 20) if cuda else (2048, 2)
    a, b = (torch.randn(edge, edge, device=work.device).bfloat16() for _ in range(2))
    fastest = math.inf
    for _ in range(6):
        start = time.perf_counter()
        for _ in range(times):
            product = a @ b
        float(product[0, 0])  # waits for the device
        fastest = min(fastest, time.perf_counter() - start)
    return Measured(seconds=fastest, tokens=2.0 * edge**3 * times, peak_bytes=peak_bytes(work.device))


JOBS: dict[str, Callable[[Work], Measured]] = {OURS: ours, "count": count_positions, "product": matrix_product, **PEERS}


def worker() -> NoReturn:
    """One run in this process: `Work` from stdin, `Measured` to stdout, both JSON."""
    work = msgspec.json.decode(sys.stdin.buffer.read(), type=Work, dec_hook=lambda kind, text: kind(text))
    try:
        answer(JOBS[work.job](work))
    except DialoGPTError as error:
        sys.exit(f"error: {error}")
    except (RuntimeError, MemoryError) as error:
        full = isinstance(error, MemoryError) or "out of memory" in str(error) or "can't allocate memory" in str(error)
        if not full:
            raise
        answer(Measured(error="out of memory"))


def run(work: Work, until: float = math.inf) -> Measured:
    """A run in a process of its own; one that fails is an `error`, and what it wrote goes to stderr.

    One that has not ended by `until`, a time of time.monotonic, is stopped.
    """
    left_s = until - time.monotonic()
    if left_s <= 0:
        return Measured(error=TIME_IS_UP)
    with tempfile.TemporaryDirectory() as folder:
        told = msgspec.json.encode(msgspec.structs.replace(work, folder=Path(folder)), enc_hook=str)
        told_env = {"TORCHDYNAMO_DISABLE": "1"} if work.job == "count" else {}  # compiled code shows no embedding
        if work.device == "cuda":  # of several, `Trainer` would take all
            told_env["CUDA_VISIBLE_DEVICES"] = os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]
        command = [sys.executable, __file__, "--worker"]
        try:
            done = subprocess.run(
                command, input=told, capture_output=True, check=False, env=os.environ | told_env,
                timeout=left_s if until < math.inf else None,
            )  # fmt: skip
        except subprocess.TimeoutExpired:
            return Measured(error=TIME_IS_UP)
    if done.returncode == -9:
        return Measured(error="killed, out of memory")
    if done.returncode:
        written = done.stderr.decode(errors="replace")
        if "Traceback" in written:
            sys.stderr.write(written)
        return Measured(error="failed: " + written.strip().split("\n")[-1].removeprefix("error: ")[:200])
    return msgspec.json.decode(done.stdout.rpartition(b"\n")[2], type=Measured)


@dataclass(slots=True)
class Case:
    """One size and one batch: the runs of each job, round by round, until one fails."""

    name: str
    work: Work
    counted: Measured
    runs: dict[str, list[Measured]]

    def measure(self, repeats: int, until: float) -> None:
        for number in range(repeats):
            for job, measured in self.runs.items():  # in turn, so that a busy moment of the machine meets all
                if measured and measured[-1].error:
                    continue
                work = msgspec.structs.replace(self.work, job=job, seed=self.work.seed + number)
                took = run(work, until)
                if took.error == TIME_IS_UP and measured:
                    return  # the rounds before stand
                measured.append(took)
                said = took.error or f"{took.tokens / took.seconds:,.0f} tokens/s"
                print(f"{self.name}, batch {work.batch}, round {number + 1}, {job}: {said}", file=sys.stderr)

    def median(self, job: str, value: Callable[[Measured], float]) -> float:
        return statistics.median(map(value, self.runs[job]))

    def ratio(self, job: str, value: Callable[[Measured], float]) -> str:
        """Ours over the peer: the median of the rounds in which both ran."""
        pairs = zip(self.runs[OURS], self.runs[job], strict=False)
        ratios = [value(a) / value(b) for a, b in pairs if not a.error and not b.error]
        return f"{statistics.median(ratios):.2f}" if ratios else "-"

    def error(self, job: str) -> str:
        return self.runs[job][-1].error


def token_rate(measured: Measured) -> float:
    return measured.tokens / measured.seconds


def target_rate(measured: Measured) -> float:
    return measured.targets / measured.seconds


def cpu_rate(measured: Measured) -> float:
    """Other work on the machine changes it less than the rates by the clock."""
    return measured.tokens / measured.cpu_s


def table(cases: list[Case], attended: float, peak: Measured) -> Iterator[str]:
    """A row for each run of each case; MFU beside the measured `peak`."""
    yield (
        "| size | batch | run | tokens/s | targets/s | tokens/update | filled | MFU | lesser MFU | peak memory "
        "| dialogpt / it, tokens/s | targets/s | tokens/CPU s |"
    )
    yield "|---" * 13 + "|"
    for case in cases:
        for job in case.runs:
            title = f"| {case.name} | {case.work.batch} | {TITLES.get(job, job)} |"
            if case.error(job):
                yield title + f" {case.error(job)} |" + " - |" * 9
                continue
            tokens, targets = case.median(job, token_rate), case.median(job, target_rate)
            update = case.median(job, lambda measured: measured.tokens / measured.updates)
            filled = case.counted.filled if job == OURS else case.median(job, lambda measured: measured.filled or 0)
            shape = case.work.config
            uses = [
                tokens * flops_per_token(shape, attended, share) / token_rate(peak)
                for share in (1.0, min(targets / tokens, 1.0))
            ]
            memory = case.median(job, lambda measured: measured.peak_bytes)
            rates = (token_rate, target_rate, cpu_rate)
            ratios = ["1"] * 3 if job == OURS else [case.ratio(job, rate) for rate in rates]
            estimated = "" if all(measured.exact for measured in case.runs[job]) else "~"
            yield (
                f"{title} {estimated}{tokens:,.0f} | {targets:,.0f} | {estimated}{update:,.0f} "
                f"| {f'{filled:.1%}' if filled else '-'} | {uses[0]:.1%} | {uses[1]:.1%} | {memory / 1e6:,.0f} MB "
                f"| {' | '.join(ratios)} |"
            )


def summary(cases: list[Case], attended: float, peak: Measured) -> Iterator[str]:
    """A row for each case: ours, and by how many times it is faster than each peer in tokens per second."""
    peers = [job for job in cases[0].runs if job != OURS]
    yield "| size | batch | tokens/s | MFU | peak memory |" + "".join(f" / {TITLES[peer]} |" for peer in peers)
    yield "|---" * (5 + len(peers)) + "|"
    for case in cases:
        figures = [case.error(OURS), "-", "-"]
        if not case.error(OURS):
            tokens = case.median(OURS, token_rate)
            used = tokens * flops_per_token(case.work.config, attended) / token_rate(peak)
            memory = case.median(OURS, lambda measured: measured.peak_bytes)
            figures = [f"{tokens:,.0f}", f"{used:.1%}", f"{memory / 1e6:,.0f} MB"]
        ratios = [case.error(peer) or case.ratio(peer, token_rate) for peer in peers]
        yield f"| {' | '.join([case.name, str(case.work.batch), *figures, *ratios])} |"


def arguments_of(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("shards", type=Path, help="folder of `dialogpt tokenize`")
    parser.add_argument("--size", nargs="+", choices=SIZES, default=[], help="the paper's shapes, in turn")
    for name in ("n_layer", "n_head", "n_embd", "n_ctx"):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=getattr(DEFAULTS, name))
    parser.add_argument("--dropout", type=float, default=GPTConfig().dropout)
    parser.add_argument("--batch", type=int, nargs="+", default=[8, 32], help="sessions per update of a peer")
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=list(PEERS))
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--warmup", type=int, help="updates before the clock starts (5, on CUDA 20)")
    parser.add_argument("--steps", type=int, help="timed updates (10, on CUDA 100)")
    parser.add_argument("--repeats", type=int, default=3, help="rounds; medians are shown")
    parser.add_argument("--limit-s", type=float, default=math.inf, help="seconds after which all runs are ended")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first round; each round has its own")
    parser.add_argument("--compile", action="store_true", help="use torch.compile for Trainer at its best")
    arguments = parser.parse_args(argv)
    cuda = arguments.device.startswith("cuda")
    arguments.warmup = arguments.warmup or (20 if cuda else 5)
    arguments.steps = arguments.steps or (100 if cuda else 10)
    if min(arguments.warmup, arguments.steps, arguments.repeats, *arguments.batch) < 1:
        parser.error("--batch, --warmup, --steps and --repeats must be above 0")
    if arguments.n_head < 1 or arguments.n_embd % arguments.n_head:
        parser.error(f"--n-embd {arguments.n_embd} is not a multiple of --n-head {arguments.n_head}")
    return arguments


def cases_of(arguments: argparse.Namespace, lengths: np.ndarray, until: float) -> Iterator[Case]:
    """Each size and batch, with our updates made as large as the peers' and their positions counted."""
    vocab_size = Tokenizer.load(arguments.shards).vocab_size
    own = GPTConfig(**{name: getattr(arguments, name) for name in ("n_layer", "n_head", "n_embd", "n_ctx")})
    sizes = {size: SIZES[size] for size in arguments.size} or {f"{own.n_layer} x {own.n_embd}": own}
    for name, shape in sizes.items():
        if lengths.max() > shape.n_ctx:
            raise UsageError(
                f"{arguments.shards} holds sessions of up to {lengths.max():,} tokens, n_ctx is {shape.n_ctx:,}",
                "raise --n-ctx, or `dialogpt tokenize --max-tokens`",
            )
        for batch in arguments.batch:
            tokens, micro = budget(lengths, batch, arguments.device)
            work = Work(
                job="count", shards=arguments.shards, folder=Path(), batch=batch, warmup=arguments.warmup,
                shape=asdict(replace(shape, vocab_size=vocab_size, dropout=arguments.dropout)), batch_tokens=tokens,
                micro_batch_tokens=micro, steps=min(arguments.steps, COUNTED_STEPS), device=arguments.device,
                seed=arguments.seed, compile=arguments.compile,
            )  # fmt: skip
            counted = run(work, until)
            work = msgspec.structs.replace(work, steps=arguments.steps)
            yield Case(name, work, counted, {job: [] for job in (OURS, *arguments.peers)})


def bench(arguments: argparse.Namespace) -> int:
    """All runs of all cases, and both tables; 1 when a run failed for another reason than memory."""
    if {"trainer", "best"} & set(arguments.peers):
        check_trainer()
    until = time.monotonic() + arguments.limit_s
    lengths = TokenShards(arguments.shards).lengths
    first = Work(job="product", shards=arguments.shards, folder=Path(), shape={}, batch=1, warmup=0, steps=0,
                 device=arguments.device, seed=0)  # fmt: skip
    peak = run(first)
    if peak.error:
        raise DialoGPTError(f"the bfloat16 product {peak.error}")
    cases = []
    for case in cases_of(arguments, lengths, until):
        case.measure(arguments.repeats, until)
        cases.append(case)
    attended = mean_attended(lengths)
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(
        f"{len(lengths):,} sessions of {lengths.mean():.1f} tokens on average, a token attends to {attended:.1f}; "
        f"{arguments.warmup} + {arguments.steps} updates, medians of {arguments.repeats} rounds on {arguments.device}; "
        f"peak {token_rate(peak) / 1e12:.2f} TFLOP/s\n"
    )
    print("\n".join([*table(cases, attended, peak), "", *summary(cases, attended, peak)]))
    return int(any(case.error(job).startswith("failed") for case in cases for job in case.runs))


def main() -> None:
    arguments = arguments_of(sys.argv[1:])
    try:
        sys.exit(bench(arguments))
    except DialoGPTError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    if sys.argv[1:] == ["--worker"]:
        worker()
    main()
