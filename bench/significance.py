"""How often the tests of `evaluate` find a difference between two systems that are the same: 5% should have p < 0.05.

    python bench/significance.py DSTC7_TASK2 --trials 1000

DSTC7_TASK2 is a folder with the files of DSTC-7 task 2: `dstc7-task2-system_responses.tsv` and
`dstc7-task2-gold_responses.tsv`. A trial draws contexts and tosses a coin for each whether to swap the two
systems' replies: two systems of real replies that do not differ. METEOR's statistics are made once. Shares are also
tried with replies joined from several others, so that one system says up to five times as much.
"""

import argparse
import sys
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path

import numpy as np

from dialogpt.evaluation import EvaluateConfig, habits, meteor
from dialogpt.evaluation.inputs import Inputs
from dialogpt.evaluation.measures import measures
from dialogpt.evaluation.scoring import scored
from dialogpt.evaluation.segments import Segment, System
from dialogpt.evaluation.significance import Additive, Measure, ratio

SIZES = (20, 50, 100, 200)
REFERENCES = 5
METRICS = ("nist-2", "nist-4", "bleu-2", "bleu-4", "entropy-4", "distinct-1", "length")
TIMES = (1, 2, 5)  # replies put together
CONFIG = EvaluateConfig(hyps=(), samples=1000, trials=1000)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dstc7", type=Path)
    parser.add_argument("--systems", nargs=2, default=["TeamB", "Human"])
    parser.add_argument("--trials", type=int, default=1000)
    args = parser.parse_args()
    segments, replies = read(args.dstc7, args.systems)
    exchanged = Exchanged(segments, replies)
    show("two systems, exchanged by a coin", {n: exchanged.trials(n, args.trials) for n in SIZES})
    repeats = np.concatenate([habits.self_repetition(each).statistics for each in replies])
    for times in TIMES:
        found = {n: shares(repeats, times, n, args.trials) for n in SIZES}
        show(f"share of repeated 3-grams, {times} times as long", found)


def read(folder: Path, systems: Sequence[str]) -> tuple[list[Segment], list[list[str]]]:
    """The segments with five references and a reply of each system, and those replies."""

    def rows(name: str) -> Iterator[list[str]]:
        lines = (folder / f"dstc7-task2-{name}.tsv").read_text(encoding="utf-8").splitlines()
        return (line.split("\t") for line in lines[1:])

    said = {(system, name): text for system, name, text in rows("system_responses")}
    segments = [
        Segment(name, tuple(texts[:REFERENCES]))
        for name, *texts in rows("gold_responses")
        if all(texts[:REFERENCES]) and len(texts) >= REFERENCES and all((each, name) in said for each in systems)
    ]
    return segments, [[said[system, segment.place] for segment in segments] for system in systems]


class Exchanged:
    """Two systems, whose replies to some of the segments are exchanged."""

    def __init__(self, segments: Sequence[Segment], replies: Sequence[Sequence[str]]) -> None:
        self._segments, self._replies = segments, replies
        self._meteor = None
        if not (why := meteor.missing()):
            self._meteor = np.stack(meteor.statistics(replies, [segment.references for segment in segments]))
        else:
            sys.stderr.write(f"{why}\n")

    def trials(self, count: int, trials: int) -> dict[str, list[float]]:
        rng, found = np.random.default_rng(count), defaultdict[str, list[float]](list)
        for trial in range(trials):
            at, coins = rng.choice(len(self._segments), count, replace=False), rng.integers(0, 2, count)
            add(found, *self._measured(at, coins), seed=trial)
        return found

    def _measured(self, at: np.ndarray, coins: np.ndarray) -> list[list[Measure]]:
        systems = [
            System(name, tuple(self._replies[side][place] for side, place in zip(sides, at, strict=True)))
            for name, sides in (("one", coins), ("other", 1 - coins))
        ]
        measured = measures(Inputs(tuple(self._segments[place] for place in at), tuple(systems)), METRICS, None)
        if self._meteor is not None:
            for several, sides in zip(measured, (coins, 1 - coins), strict=True):
                several.append(Additive(meteor.NAMES, "", self._meteor[sides, at], meteor.scores))
        return measured


def shares(pool: np.ndarray, times: int, count: int, trials: int) -> dict[str, list[float]]:
    """Of two systems that repeat alike, one of `count` replies of the pool, the other of `times` put together."""
    rng, found = np.random.default_rng(count), defaultdict[str, list[float]](list)
    for trial in range(trials):
        tables = [pool[rng.integers(0, len(pool), (count, several))].sum(axis=1) for several in (1, times)]
        add(found, *([Additive(("repetition-self",), "", table, ratio)] for table in tables), seed=trial)
    return found


def add(found: dict[str, list[float]], one: Sequence[Measure], other: Sequence[Measure], seed: int) -> None:
    """Keep the p-values of one trial by the names of their tests."""
    config = EvaluateConfig(hyps=(), samples=CONFIG.samples, trials=CONFIG.trials, seed=seed)
    _, tests = scored(["one", "other"], [one, other], "", config)
    for test in tests:
        if test.value is not None:
            found[test.name].append(test.value)


def show(what: str, found: dict[int, dict[str, list[float]]]) -> None:
    sys.stdout.write(f"{what}: % of trials with p < 0.05, for {', '.join(map(str, found))} replies\n")
    for name in next(iter(found.values())):
        rates = [f"{100 * np.mean(np.array(each[name]) < 0.05):5.1f}" for each in found.values()]
        sys.stdout.write(f"  {name:<32} {' '.join(rates)}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    main()
