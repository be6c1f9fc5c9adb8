"""The tasks of `bench/decode.py`, the same for every engine; an engine is a `Decoder`.

    interactive  one context of 64 tokens, 64 new ones, greedy; timed from the first new token on, and up to it
    turns        ten turns of 25 tokens with a reply of 25 each, greedy: 500 tokens in the end; the cache may be kept
    mmi          16 hypotheses of 32 tokens of one context of 64, top-k 10, and a source of 20 scored from each of them
    beam         ten beams, 32 new tokens of one context of 64
    bulk         many contexts of 10 to 60 tokens, 20 new ones each, greedy

The end token is forbidden, so that all make equally many tokens. Only numpy is needed here, since peers may have an
environment of their own. A process is told its `Work` on stdin and answers `Measured` on stdout, both JSON.
"""

import json
import os
import resource
import statistics
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, NoReturn, Protocol

import numpy as np

CONTEXT, INTERACTIVE_NEW = 64, 64
TURNS, TURN, TURN_NEW = 10, 25, 25
HYPOTHESES, HYPOTHESIS, TOP_K, SOURCE = 16, 32, 10, 20
BEAMS, BEAM_NEW = 10, 32
BULK_SHORTEST, BULK_LONGEST, BULK_NEW = 10, 60, 20
MAKE, CONVERT, BANDWIDTH = "make", "convert", "bandwidth"
SUMMED, SUMS = 1 << 28, 10  # fp32 numbers of a sum that is timed, far more than caches hold, and how often


@dataclass(frozen=True, kw_only=True)
class Work:
    """What one process is told: an engine, how it runs, and one task."""

    engine: str
    task: str  # or another job: MAKE, CONVERT, BANDWIDTH
    model: str = ""  # the checkpoint's folder; peers' own files are inside it
    backward: str = ""
    tokenizer: str = ""  # of MAKE, as `shape`
    shape: dict[str, Any] = field(default_factory=dict)
    precision: str = ""
    threads: int = 1
    workers: int = 1  # that share a bulk, with as many threads each
    batch: int = 64  # contexts of a bulk that are decoded together
    bulk_contexts: int = 2000
    passes: int = 1  # timed ones, after one that is not
    vocab_size: int = 50257
    end_id: int = 50256
    device: str = "cpu"
    seed: int = 0


@dataclass(kw_only=True)
class Measured:
    """The median pass. `first_s` and `said` are of `interactive`: seconds to the first token, and the tokens.

    nats: of `mmi`, the scores of the same hypotheses by every engine, which tell whether it reads the same model.
    """

    seconds: float = 0.0
    tokens: int = 0  # new ones of a pass
    first_s: float = 0.0
    said: list[int] = field(default_factory=list)
    nats: float = 0.0
    peak_bytes: int = 0
    rate: float = 0.0  # of BANDWIDTH: bytes a second
    error: str = ""

    @property
    def after_first_s(self) -> float:
        """Seconds of a token of `interactive` but the first."""
        return (self.seconds - self.first_s) / (self.tokens - 1)


Told = Callable[[], None]


class Decoder(Protocol):
    """What the tasks ask of an engine that has opened one model; all tokens are ids, none of them made is the end's."""

    def reply(self, context: list[int], new: int, told: Told) -> list[int]:
        """Greedy, of one context; `told` is called for each token as it is made."""

    def converse(self, turns: list[list[int]], new: int) -> list[list[int]]:
        """Each turn's reply, greedy, of all turns and replies before it."""

    def hypotheses(self, context: list[int], number: int, new: int, seed: int) -> list[list[int]]:
        """Drawn from the TOP_K likeliest at temperature 1."""

    def nats(self, hypotheses: list[list[int]], source: list[int]) -> list[float]:
        """-log P(source | hypothesis) of each."""

    def beam(self, context: list[int], beams: int, new: int) -> list[int]:
        """The best of a search."""

    def bulk(self, contexts: list[list[int]], new: int, batch: int) -> list[list[int]]:
        """Greedy, of each."""


class Clock:
    """Seconds of one pass, and those up to the first token."""

    def __init__(self) -> None:
        self.start, self.first_s = time.perf_counter(), 0.0

    def told(self) -> None:
        self.first_s = self.first_s or self.seconds

    @property
    def seconds(self) -> float:
        return time.perf_counter() - self.start


def draw(work: Work, lengths: Sequence[int], salt: int = 0) -> list[list[int]]:
    """Token sequences of these lengths, the end token last, as turns have it."""
    rng = np.random.default_rng((work.seed, salt))
    allowed = np.delete(np.arange(work.vocab_size), work.end_id)
    return [[*rng.choice(allowed, length - 1).tolist(), work.end_id] for length in lengths]


def interactive(decoder: Decoder, backward: Decoder | None, work: Work, short: bool) -> Measured:
    (context,) = draw(work, [CONTEXT])
    clock = Clock()
    said = decoder.reply(context, INTERACTIVE_NEW, clock.told)
    return _measured(clock, work, [said], 1, INTERACTIVE_NEW, said=said)


def turns(decoder: Decoder, backward: Decoder | None, work: Work, short: bool) -> Measured:
    number = 2 if short else TURNS
    said = draw(work, [TURN] * number)
    clock = Clock()
    return _measured(clock, work, decoder.converse(said, TURN_NEW), number, TURN_NEW)


def mmi(decoder: Decoder, backward: Decoder | None, work: Work, short: bool) -> Measured:
    assert backward is not None
    context, source = draw(work, [CONTEXT, SOURCE])
    clock = Clock()
    made = decoder.hypotheses(context, HYPOTHESES, HYPOTHESIS, work.seed)
    nats = backward.nats(made, source)
    measured = _measured(clock, work, made, HYPOTHESES, HYPOTHESIS)
    if len(nats) != HYPOTHESES or not np.isfinite(nats).all():
        raise RuntimeError(f"scores {nats} of {HYPOTHESES} hypotheses")
    if short:  # what each draws is its own; what is the same for all is only scored when nothing is timed
        measured.nats = float(sum(backward.nats(draw(work, [HYPOTHESIS] * 4, salt=1), source)))
    return measured


def beam(decoder: Decoder, backward: Decoder | None, work: Work, short: bool) -> Measured:
    (context,) = draw(work, [CONTEXT])
    clock = Clock()
    return _measured(clock, work, [decoder.beam(context, BEAMS, BEAM_NEW)], 1, BEAM_NEW)


def bulk(decoder: Decoder, backward: Decoder | None, work: Work, short: bool) -> Measured:
    number = min(work.batch, work.bulk_contexts) if short else work.bulk_contexts
    rng = np.random.default_rng((work.seed, 2))
    contexts = draw(work, rng.integers(BULK_SHORTEST, BULK_LONGEST + 1, number).tolist())
    clock = Clock()
    return _measured(clock, work, decoder.bulk(contexts, BULK_NEW, work.batch), number, BULK_NEW)


Task = Callable[[Decoder, Decoder | None, Work, bool], Measured]
TASKS: dict[str, Task] = {"interactive": interactive, "turns": turns, "mmi": mmi, "beam": beam, "bulk": bulk}
PASSES = {"interactive": 5, "turns": 1, "mmi": 3, "beam": 3, "bulk": 1}  # of one process


def _measured(
    clock: Clock, work: Work, made: list[list[int]], rows: int, new: int, said: Sequence[int] = ()
) -> Measured:
    """Whoever makes fewer tokens than asked, or the end token, is not measured."""
    seconds = clock.seconds
    lengths = {len(tokens) for tokens in made}
    if len(made) != rows or lengths != {new} or any(work.end_id in tokens for tokens in made):
        raise RuntimeError(f"{len(made)} replies of {sorted(lengths)} tokens, in place of {rows} of {new} without end")
    return Measured(seconds=seconds, tokens=rows * new, first_s=clock.first_s, said=list(said))


def measure(work: Work, open_decoder: Callable[[Work, str], Decoder]) -> Measured:
    """A task by an engine that is opened for it: one pass to warm up, and the timed ones' medians."""
    decoder = open_decoder(work, work.model)
    backward = open_decoder(work, work.backward) if work.task == "mmi" else None
    task = TASKS[work.task]
    first = task(decoder, backward, work, True)
    passes = [task(decoder, backward, work, False) for _ in range(work.passes)]
    return Measured(
        seconds=statistics.median(measured.seconds for measured in passes),
        first_s=statistics.median(measured.first_s for measured in passes),
        tokens=passes[0].tokens,
        said=passes[0].said,
        nats=first.nats,
        peak_bytes=peak_bytes(work.device),
    )


def bandwidth(work: Work) -> Measured:
    """The rate at which memory is read, by the fastest of some sums of a large tensor on all threads."""
    import torch

    torch.set_num_threads(work.threads)
    numbers = torch.ones(SUMMED, device=work.device)
    at_once = 10 if work.device == "cuda" else 1  # where a launch and a wait take as long as a tenth of a sum
    fastest = float("inf")
    for _ in range(SUMS):
        start = time.perf_counter()
        for _ in range(at_once):
            total = numbers.sum()
        float(total)  # waits for the device
        fastest = min(fastest, (time.perf_counter() - start) / at_once)
    return Measured(seconds=fastest, rate=numbers.nbytes / fastest, peak_bytes=peak_bytes(work.device))


def peak_bytes(device: str) -> int:
    """The most memory so far: allocated on a CUDA device, else resident of this process (libraries included)."""
    if device == "cuda":
        import torch

        return torch.cuda.max_memory_allocated()
    status = Path("/proc/self/status")
    if status.is_file():  # what the system counts for a process has its parent's memory in it
        return int(status.read_text().partition("VmHWM:")[2].split()[0]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024


def answer(job: Callable[[Work], Measured]) -> NoReturn:
    """One job in this process: from stdin to the last line of stdout; the process ends, whatever threads do."""
    measured = job(Work(**json.load(sys.stdin)))
    print("\n" + json.dumps(asdict(measured)), end="", flush=True)  # libraries print lines of their own
    os._exit(0)
