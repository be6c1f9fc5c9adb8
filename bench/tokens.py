"""How fast `dialogpt tokenize` is, compared with the bare `tokenizers` encoder on the same texts and all cores.

    python bench/tokens.py SESSIONS TOKENIZER --repeats 5

SESSIONS is a folder or file of sessions, TOKENIZER a folder that `dialogpt tokenizer` made. Two jobs take turns, each
in a process of its own. `encoder`: the texts are in memory, and only `encode_batch_fast` over batches of them is timed.
`tokenize`: the command as a function, from compressed sessions to shards on disk. Both rates are tokens of the turns,
without end tokens, over wall seconds.
"""

import argparse
import json
import os
import platform
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

TEXTS_AT_ONCE = 10_000  # of 1,000 to 200,000 none was faster by more than the noise


def encoder(sessions: Path, tokenizer: Path) -> dict[str, float]:
    from tokenizers import Tokenizer

    from dialogpt.session import read_sessions

    texts = [turn.text for session in read_sessions(sessions) for turn in session.turns]
    bpe = Tokenizer.from_file(str(tokenizer / "tokenizer.json"))
    tokens, start, cpu_start = 0, time.perf_counter(), time.process_time()
    for first in range(0, len(texts), TEXTS_AT_ONCE):
        encodings = bpe.encode_batch_fast(texts[first : first + TEXTS_AT_ONCE], add_special_tokens=False)
        tokens += sum(map(len, encodings))
    return {"tokens": tokens} | _spent(start, cpu_start)


def tokenize(sessions: Path, tokenizer: Path) -> dict[str, float]:
    from dialogpt.tokens import TokenizeConfig, shards

    with tempfile.TemporaryDirectory() as folder:
        config = TokenizeConfig(sessions=(sessions,), out=Path(folder) / "shards", tokenizer=str(tokenizer))
        start, cpu_start = time.perf_counter(), time.process_time()
        manifest = shards.tokenize(config)
        return {"written": manifest.counts["tokens"]} | _spent(start, cpu_start)


JOBS = {"encoder": encoder, "tokenize": tokenize}


def _spent(start: float, cpu_start: float) -> dict[str, float]:
    peak_kib = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "seconds": time.perf_counter() - start,
        "cpu_s": time.process_time() - cpu_start,
        "peak_mb": peak_kib * 1024 / 1e6,
    }


def _run(job: str, arguments: argparse.Namespace) -> dict[str, float]:
    command = [sys.executable, __file__, str(arguments.sessions), str(arguments.tokenizer), "--job", job]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    if result.returncode:
        sys.exit(result.stderr)
    measured: dict[str, float] = json.loads(result.stdout)
    return measured


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("sessions", type=Path, help="folder or file of sessions")
    parser.add_argument("tokenizer", type=Path, help="folder that `dialogpt tokenizer` made")
    parser.add_argument("--repeats", type=int, default=5, help="runs of each job; medians are shown")
    parser.add_argument("--job", choices=JOBS, help="run one job here and print what it took, as JSON")
    arguments = parser.parse_args()
    if arguments.job:
        json.dump(JOBS[arguments.job](arguments.sessions, arguments.tokenizer), sys.stdout)
        return
    runs: dict[str, list[dict[str, float]]] = {job: [] for job in JOBS}
    for _ in range(arguments.repeats):
        for job in JOBS:  # in turn, so that a busy moment of the machine meets both
            runs[job].append(_run(job, arguments))
    sys.stdout.write("\n".join([*_report(runs), ""]))


def _report(runs: dict[str, list[dict[str, float]]]) -> Iterator[str]:
    tokens = runs["encoder"][0]["tokens"]
    yield f"{platform.processor() or platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}"
    yield f"{tokens:,} tokens in the turns; medians of {len(runs['encoder'])} runs in turn"
    yield f"{'':10}{'tokens/s':>12}{'seconds':>10}{'(min':>8} {'max)':>7}{'CPU s':>9}{'peak MB':>10}"
    for job, measured in runs.items():
        seconds = [run["seconds"] for run in measured]
        wall, cpu, peak = (statistics.median(run[key] for run in measured) for key in ("seconds", "cpu_s", "peak_mb"))
        spread = f"{min(seconds):8.2f} {max(seconds):7.2f}"
        yield f"{job:10}{tokens / wall:12,.0f}{wall:10.2f}{spread}{cpu:9.2f}{peak:10,.0f}"
    pairs = [a["seconds"] / b["seconds"] for a, b in zip(runs["encoder"], runs["tokenize"], strict=True)]
    fastest, cpu = (
        min(run[key] for run in runs["encoder"]) / min(run[key] for run in runs["tokenize"])
        for key in ("seconds", "cpu_s")
    )
    rate = f"{statistics.median(pairs):.0%} (median of pairs), {fastest:.0%} (fastest runs)"
    yield f"rate of tokenize / encoder: {rate}"
    yield f"CPU time of encoder / tokenize, least of each: {cpu:.0%}"


if __name__ == "__main__":
    main()
