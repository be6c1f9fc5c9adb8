"""How fast `dialogpt` makes replies, beside transformers, CTranslate2, llama.cpp, OpenVINO and ONNX Runtime.

    pip install transformers ctranslate2 llama-cpp-python gguf
    OV/bin/pip install torch safetensors "optimum-intel[openvino]" "transformers<5" openvino-genai
    ORT/bin/pip install onnx onnxruntime safetensors
    python bench/decode.py --tokenizer DIR --sizes 345M --openvino-python OV/bin/python --onnx-python ORT/bin/python
    python bench/decode.py --tokenizer DIR --device cuda --engines dialogpt transformers

DIR has a vocabulary (`tokenizer.json`, or GPT-2's `vocab.json` and `merges.txt`). Models have random weights, the same
for all engines; the tasks are those of `bench/decode_tasks.py`. Every measurement runs in a process of its own, and
the engines take turns; start-up and a first pass are not counted. Peers run with each of their precisions and numbers
of threads, in environments of their own if --peers-python, --openvino-python and --onnx-python name them. A peer that
is not installed is left out, and so is whatever has not ended after --limit-s.

A ratio is how many times faster ours is (its first precision): the median of the rounds' pairs. For `interactive`,
tokens/s leave out the first token, which is given in ms, and the roofline is the share of the measured memory bandwidth
that reading each weight once per token takes. Memory is resident memory, libraries included; on CUDA, what tensors
took.
"""

import argparse
import json
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

from decode_runners import FOUR_BITS, OURS, PEERS, Runner, runners_of, weight_bytes
from decode_tasks import BANDWIDTH, CONVERT, MAKE, PASSES, TASKS, Measured, Work

from dialogpt.errors import DialoGPTError, UsageError
from dialogpt.model import SIZES, GPTConfig
from dialogpt.tokens.bpe import Tokenizer

SCRIPTS = {  # of the others: decode_peers.py
    OURS: "decode_ours.py", "openvino": "decode_openvino.py", "onnxruntime": "decode_onnx.py",
}  # fmt: skip
HERE = Path(__file__).parent
TIME_IS_UP = "not measured, the time is up"


def script_of(engine: str) -> str:
    return str(HERE / SCRIPTS.get(engine, "decode_peers.py"))


def pythons_of(arguments: argparse.Namespace) -> dict[str, str]:
    """The interpreter of each engine."""
    others = dict.fromkeys(PEERS, arguments.peers_python)
    return {OURS: sys.executable, **others, "openvino": arguments.openvino_python, "onnxruntime": arguments.onnx_python}


def run(work: Work, python: str, until: float = math.inf) -> Measured:
    """A job in a process of its own; one that fails is an `error`, and what it wrote goes to stderr.

    One that has not ended by `until`, a time of time.monotonic, is stopped.
    """
    left_s = until - time.monotonic()
    if left_s <= 0:
        return Measured(error=TIME_IS_UP)
    told_env = {"CUDA_VISIBLE_DEVICES": os.environ.get("CUDA_VISIBLE_DEVICES", "0").split(",")[0]}
    try:
        done = subprocess.run(
            [python, script_of(work.engine)], input=json.dumps(asdict(work)).encode(), capture_output=True, check=False,
            env=os.environ | (told_env if work.device == "cuda" else {}), timeout=left_s if until < math.inf else None,
        )  # fmt: skip
    except subprocess.TimeoutExpired:
        return Measured(error=TIME_IS_UP)
    except OSError as error:
        raise UsageError(f"{python} does not run: {error}", "name a Python interpreter") from error
    if done.returncode == -9:
        return Measured(error="killed, out of memory")
    if done.returncode:
        written = done.stderr.decode(errors="replace")
        if "Traceback" in written:
            sys.stderr.write(written)
        last = written.strip().split("\n")[-1].removeprefix("error: ")
        return Measured(error="failed: " + last.replace("|", "/")[:200])
    return Measured(**json.loads(done.stdout.rpartition(b"\n")[2]))


@dataclass(slots=True)
class Case:
    """One size and one task: each runner's processes, round by round, until one fails."""

    size: str
    shape: GPTConfig
    work: Work
    runs: dict[Runner, list[Measured]]

    def measure(self, number: int, pythons: dict[str, str], until: float) -> None:
        for runner, measured in self.runs.items():  # in turn, so that a busy moment of the machine meets all
            if measured and measured[-1].error:
                continue
            work = replace(self.work, seed=self.work.seed + number, **asdict(runner))
            took = run(work, pythons[runner.engine], until)
            if took.error == TIME_IS_UP and measured:
                return  # the rounds before stand
            measured.append(took)
            said = took.error or f"{took.seconds:.2f} s"
            print(f"{self.size}, {work.task}, round {number + 1}, {runner.title}: {said}", file=sys.stderr)

    @property
    def ours(self) -> Runner:
        return next(iter(self.runs))

    @property
    def task(self) -> str:
        return self.work.task

    def time(self, measured: Measured) -> float:
        """What the task is compared by."""
        return measured.after_first_s if self.task == "interactive" else measured.seconds

    def median(self, runner: Runner, value: Callable[[Measured], float]) -> float:
        return statistics.median(map(value, self.runs[runner]))

    def error(self, runner: Runner) -> str:
        return self.runs[runner][-1].error

    def ratio(self, runner: Runner) -> str:
        """Its time over ours: the median of the rounds in which both ran."""
        pairs = zip(self.runs[runner], self.runs[self.ours], strict=False)
        ratios = [self.time(a) / self.time(b) for a, b in pairs if not a.error and not b.error]
        return f"{statistics.median(ratios):.2f}" if ratios else "-"

    def best(self, engine: str) -> Runner | None:
        """The fastest of an engine's runners that ran in every round."""
        ran = [runner for runner in self.runs if runner.engine == engine and not self.error(runner)]
        return min(ran, key=lambda runner: self.median(runner, self.time), default=None)

    def agreed(self, runner: Runner) -> str:
        """`interactive`: the tokens alike from the first on; `mmi`: the scores of the same hypotheses, over ours."""
        ours, its = self.runs[self.ours][0], self.runs[runner][0]
        if self.task == "mmi":
            return f"{its.nats / ours.nats:.4f}" if ours.nats else "-"
        alike = next((i for i, (a, b) in enumerate(zip(ours.said, its.said, strict=False)) if a != b), len(its.said))
        return f"{alike} of {len(its.said)}" if its.said else "-"


def figures(case: Case, runner: Runner, bandwidth: float) -> list[str]:
    """The columns of one runner's row: time or rate, first token, roofline."""
    task_s = case.median(runner, case.time)
    if case.task == "interactive":
        least_s = weight_bytes(case.shape, runner.precision) / bandwidth
        first_s = case.median(runner, lambda measured: measured.first_s)
        return [f"{1 / task_s:,.1f} tokens/s", f"{1000 * first_s:,.0f} ms", f"{least_s / task_s:.0%}"]
    tokens = case.runs[runner][0].tokens
    return [f"{tokens / task_s:,.0f} tokens/s" if case.task == "bulk" else f"{task_s:.3g} s", "-", "-"]


def table(cases: list[Case], bandwidth: float) -> Iterator[str]:
    """A row for each runner of each case."""
    yield "| size | task | run | | first token | roofline | peak memory | agrees with ours | dialogpt, times faster |"
    yield "|---" * 9 + "|"
    for case in cases:
        for runner in case.runs:
            cells = [case.size, case.task, runner.title]
            if case.error(runner):
                cells += [case.error(runner), *["-"] * 5]
            else:
                memory = case.median(runner, lambda measured: measured.peak_bytes)
                agreed = "-" if case.error(case.ours) else case.agreed(runner)
                cells += [*figures(case, runner, bandwidth), f"{memory / 1e6:,.0f} MB", agreed, case.ratio(runner)]
            yield f"| {' | '.join(cells)} |"


def summary(cases: list[Case], engines: list[str], bandwidth: float) -> Iterator[str]:
    """A row for each case: ours, and how many times faster it is than each peer at its best."""
    yield "| size | task | dialogpt |" + "".join(f" / {engine} |" for engine in engines)
    yield "|---" * (3 + len(engines)) + "|"
    for case in cases:
        own = case.error(case.ours) or figures(case, case.ours, bandwidth)[0]
        best = [case.best(engine) for engine in engines]
        ratios = [f"{case.ratio(runner)} ({runner.title})" if runner else "-" for runner in best]
        yield f"| {' | '.join([case.size, case.task, own, *ratios])} |"


def arguments_of(argv: list[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--tokenizer", type=Path, required=True, help="folder with a vocabulary")
    parser.add_argument("--sizes", nargs="+", choices=SIZES, default=[], help="the paper's shapes, in turn")
    for name, default in (("n_layer", 12), ("n_head", 12), ("n_embd", 768)):
        parser.add_argument(f"--{name.replace('_', '-')}", type=int, default=default, help="for a shape of your own")
    parser.add_argument(
        "--engines",
        nargs="+",
        choices=[OURS, *PEERS],
        default=[OURS, *PEERS],
        help="ours always runs",
    )
    parser.add_argument("--tasks", nargs="+", choices=TASKS, default=list(TASKS))
    parser.add_argument(
        "--ours-precisions",
        nargs="+",
        choices=["int8", "int4", "bf16", "fp32"],
        help="the first is compared",
    )
    parser.add_argument("--transformers-precisions", nargs="+", choices=["bf16", "fp32"])
    parser.add_argument("--device", default="cpu", choices=["cpu", "cuda"])
    parser.add_argument("--threads", type=int, default=len(os.sched_getaffinity(0)), help="most threads of an engine")
    parser.add_argument("--bulk-contexts", type=int, default=2000)
    parser.add_argument("--batch", type=int, default=64, help="contexts of `bulk` decoded together")
    parser.add_argument("--passes", type=int, help="timed passes per process (default: 1 to 5, by the task)")
    parser.add_argument("--repeats", type=int, default=3, help="rounds; medians are shown")
    parser.add_argument("--limit-s", type=float, default=math.inf, help="seconds after which all runs are ended")
    parser.add_argument("--seed", type=int, default=0, help="seed of the first round; each round has its own")
    parser.add_argument("--peers-python", default=sys.executable, help="Python interpreter with the peers' packages")
    parser.add_argument("--openvino-python", default=sys.executable, help="Python interpreter with OpenVINO's packages")
    parser.add_argument("--onnx-python", default=sys.executable, help="Python interpreter with ONNX Runtime's packages")
    parser.add_argument("--work", type=Path, help="folder to keep the models in (default: a temporary one)")
    arguments = parser.parse_args(argv)
    cuda = arguments.device == "cuda"
    arguments.ours_precisions = arguments.ours_precisions or (["bf16"] if cuda else ["int8"])
    arguments.transformers_precisions = arguments.transformers_precisions or (["bf16"] if cuda else ["fp32", "bf16"])
    counts = ("threads", "bulk_contexts", "batch", "repeats", "n_layer", "n_head", "n_embd")
    if min(getattr(arguments, name) for name in counts) < 1 or (arguments.passes or 1) < 1:
        parser.error("threads, contexts, batch, passes, rounds and shapes must be above 0")
    if arguments.n_embd % arguments.n_head:
        parser.error(f"--n-embd {arguments.n_embd} is not a multiple of --n-head {arguments.n_head}")
    return arguments


def installed(engines: list[str], pythons: dict[str, str]) -> list[str]:
    """Those of the peers that their interpreters have; the others are named on stderr."""
    found = list[str]()
    for engine in engines:
        command = [pythons[engine], script_of(engine), "--missing"]
        try:
            told = subprocess.run(command, capture_output=True, check=True).stdout
        except (OSError, subprocess.CalledProcessError) as error:
            raise UsageError(f"{pythons[engine]} does not run: {error}", "name a Python that has numpy") from error
        if missing := json.loads(told)[engine]:
            print(f"{engine} is left out: no {' and '.join(missing)}", file=sys.stderr)
        else:
            found.append(engine)
    return found


def cases_of(
    arguments: argparse.Namespace, engines: list[str], pythons: dict[str, str], folder: Path
) -> Iterator[list[Case]]:
    """Each size's tasks, once its models are made and converted."""
    tokenizer = Tokenizer.load(arguments.tokenizer)
    own = GPTConfig(n_layer=arguments.n_layer, n_head=arguments.n_head, n_embd=arguments.n_embd)
    sizes = {size: SIZES[size] for size in arguments.sizes} or {f"{own.n_layer} x {own.n_embd}": own}
    for size, chosen in sizes.items():
        shape = replace(chosen, vocab_size=tokenizer.vocab_size)
        models = folder / size.replace(" ", "")
        made = Work(
            engine=OURS, task=MAKE, model=str(models / "forward"), backward=str(models / "backward"),
            tokenizer=str(arguments.tokenizer), shape=asdict(shape), vocab_size=tokenizer.vocab_size,
            end_id=tokenizer.end_id, batch=arguments.batch, bulk_contexts=arguments.bulk_contexts,
            device=arguments.device, seed=arguments.seed,
        )  # fmt: skip
        runners = runners_of(arguments, engines)
        failed = dict[tuple[str, str], str]()
        for engine, precision in dict.fromkeys([(OURS, ""), *(runner.files for runner in runners[1:])]):
            done = models / f"{engine}{'.int4' if precision in FOUR_BITS.values() else ''}.made"
            if not done.exists():
                job = replace(made, engine=engine, task=MAKE if engine == OURS else CONVERT, precision=precision)
                failed[engine, precision] = run(job, pythons[engine]).error
                if not failed[engine, precision]:
                    done.touch()
        if failed.get((OURS, "")):
            raise DialoGPTError(f"no model of {size}: {failed[OURS, '']}")
        yield [
            Case(size, shape, replace(made, task=task, passes=arguments.passes or PASSES[task]), {
                runner: [Measured(error=failed[runner.files])] if failed.get(runner.files) else []
                for runner in runners if runner.runs(task)
            })
            for task in arguments.tasks
        ]  # fmt: skip


def bench(arguments: argparse.Namespace, folder: Path) -> int:
    """All runs of all cases, and both tables; 1 when a run failed for another reason than memory."""
    until = time.monotonic() + arguments.limit_s
    peers = [engine for engine in PEERS if engine in arguments.engines]
    if arguments.device == "cuda":
        peers = [engine for engine in peers if engine == "transformers"]
    pythons = pythons_of(arguments)
    engines = installed(peers, pythons)
    first = Work(engine=OURS, task=BANDWIDTH, threads=arguments.threads, device=arguments.device)
    memory = run(first, pythons[OURS])
    if memory.error:
        raise DialoGPTError(f"the bandwidth of memory {memory.error}")
    cases: list[Case] = []
    for of_size in cases_of(arguments, engines, pythons, folder):
        for number in range(arguments.repeats):
            for case in of_size:
                case.measure(number, pythons, until)
        cases += of_size
    print(f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}")
    print(
        f"medians of {arguments.repeats} rounds on {arguments.device}; memory is read at {memory.rate / 1e9:.1f} GB/s; "
        f"bulk: {arguments.bulk_contexts:,} contexts, {arguments.batch} together\n"
    )
    print("\n".join([*table(cases, memory.rate), "", *summary(cases, engines, memory.rate)]))
    return int(any(case.error(runner).startswith("failed") for case in cases for runner in case.runs))


def main() -> None:
    arguments = arguments_of(sys.argv[1:])
    try:
        with tempfile.TemporaryDirectory() as temporary:
            sys.exit(bench(arguments, (arguments.work or Path(temporary)).resolve()))
    except DialoGPTError as error:
        sys.exit(f"error: {error}")


if __name__ == "__main__":
    main()
