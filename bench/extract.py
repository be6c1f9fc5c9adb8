"""How many times the floor `dialogpt extract` costs: streaming decompression and typed JSON decoding of the same files.

    python bench/extract.py RC_2006-02.zst RS_2006-02.zst [--preset released] [--repeats 5] [--workers 1 2]

Each round runs the floor and `extract`, every run in a process of its own, and compares their processor time (user and
system, children included) and wall-clock time; start-up is in both. Prints medians over the rounds and the peak memory.
`bench/enlarge.py` makes large months out of small ones.
"""

import argparse
import os
import resource
import statistics
import subprocess
import sys
import tempfile
import time
from pathlib import Path

FLOOR = """
import io, sys
import msgspec, zstandard
from typing import Union

class Post(msgspec.Struct, gc=False):
    id: str | None = None
    author: str | None = None
    body: str | None = None
    title: str | None = None
    link_id: str | None = None
    parent_id: str | None = None
    subreddit: str | None = None
    score: Union[int, float, str, None] = None
    num_comments: Union[int, float, str, None] = None

decoder, lines = msgspec.json.Decoder(Post), 0
for path in sys.argv[1:]:
    with open(path, "rb") as file:
        if path.endswith(".zst"):
            file = zstandard.ZstdDecompressor(max_window_size=2**31).stream_reader(file, read_across_frames=True)
        elif path.endswith(".bz2"):
            import bz2
            file = bz2.BZ2File(file)
        for line in io.BufferedReader(file, 1 << 20):
            decoder.decode(line)
            lines += 1
print(lines)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dumps", nargs="+", type=Path)
    parser.add_argument("--preset", default="released")
    parser.add_argument("--format", default="tsv")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--workers", type=int, nargs="+", default=[1])
    args = parser.parse_args()
    dumps = [str(path) for path in args.dumps]
    lines = int(subprocess.run([sys.executable, "-c", FLOOR, *dumps], check=True, capture_output=True).stdout)
    floors: list[tuple[float, float, int]] = []
    runs: dict[int, list[tuple[float, float, int]]] = {workers: [] for workers in args.workers}
    with tempfile.TemporaryDirectory() as work:
        command = [sys.executable, "-m", "dialogpt", "-q", "extract", *dumps, "--preset", args.preset]
        command += ["--format", args.format, "--overwrite", "--out", f"{work}/out"]
        for _ in range(args.repeats):
            floors.append(measure([sys.executable, "-c", FLOOR, *dumps]))
            for workers, found in runs.items():
                found.append(measure([*command, "--workers", str(workers)]))
    floor_cpu, floor_wall, floor_kib = map(statistics.median, zip(*floors, strict=True))
    print(f"{lines:,} lines, medians of {args.repeats}")
    print(f"{'floor':<20} {floor_cpu:7.2f} s CPU {floor_wall:7.2f} s wall {floor_kib / 1024:7.0f} MiB")
    for workers, found in runs.items():
        cpu, wall, kib = map(statistics.median, zip(*found, strict=True))
        ratio = statistics.median(run[0] / floor[0] for run, floor in zip(found, floors, strict=True))
        print(
            f"{args.preset + ', workers ' + str(workers):<20} {cpu:7.2f} s CPU {wall:7.2f} s wall {kib / 1024:7.0f} MiB"
            f"   {ratio:.2f} x the floor's CPU time, {lines / wall:,.0f} lines/s"
        )


def measure(command: list[str]) -> tuple[float, float, int]:
    """Processor seconds (children included), wall-clock seconds and peak KiB of the largest process of a command."""
    started = time.perf_counter()
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{' '.join(command)} failed")
    return usage.ru_utime + usage.ru_stime, time.perf_counter() - started, usage.ru_maxrss


if __name__ == "__main__":
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    main()
