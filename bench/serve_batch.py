"""Tokens per second of the server's batch without any HTTP: the most that `bench/serve.py` could reach.

    python bench/serve_batch.py --clients 32 --turns 4 --rounds 9

Conversations, settings and rounds are the same; a client with a complete reply says its next line before the next
token.
"""

import argparse
import random
import statistics
import time
from collections.abc import Iterator

from serve import LINES

from dialogpt import Turn
from dialogpt.chat.serving import WorkerConfig
from dialogpt.chat.serving.serve import load_batcher
from dialogpt.decoding import Reply
from dialogpt.decoding.batcher import Batcher, Job


class Conversation:
    """One client's turns; `job` is what it asks next, `reply` what it has got."""

    def __init__(self, number: int, config: WorkerConfig) -> None:
        self._draw, self._config = random.Random(number), config
        self._turns: list[Turn] = []
        self.tokens, self.waits = 0, False

    def job(self) -> Job:
        self._turns.append(Turn(self._draw.choice(LINES)))
        self.waits = True
        seed = self._draw.randrange(2**31)
        return Job(context=[*self._turns], config=self._config, seed=seed, on_text=str, on_done=self._hear)

    def _hear(self, done: Reply | Exception) -> None:
        assert isinstance(done, Reply), done
        self.tokens += done.hypotheses[0].size
        self._turns.append(Turn(done.text or "..."))
        self.waits = False

    def turns(self, turns: int) -> Iterator[Job]:
        for _ in range(turns):
            yield self.job()


def measure(batcher: Batcher, numbers: range, turns: int, at_once: int) -> float:
    """Tokens a second of so many conversations, so many at a time."""
    config = WorkerConfig(safety=False)
    everybody = [Conversation(number, config) for number in numbers]
    coming = iter(everybody)
    talking: list[tuple[Conversation, Iterator[Job]]] = []
    began = time.perf_counter()
    while True:
        jobs = []
        for place, (conversation, asks) in [*enumerate(talking)][::-1]:
            if not conversation.waits:
                if (job := next(asks, None)) is not None:
                    jobs.append(job)
                else:
                    del talking[place]
        while len(talking) < at_once and (conversation := next(coming, None)) is not None:
            talking.append((conversation, asks := conversation.turns(turns)))
            jobs.append(next(asks))
        if not talking:
            return sum(conversation.tokens for conversation in everybody) / (time.perf_counter() - began)
        batcher.begin(*jobs)
        batcher.step()


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--turns", type=int, default=4)
    parser.add_argument("--rounds", type=int, default=9)
    arguments = parser.parse_args()
    batcher = load_batcher(WorkerConfig(model=arguments.model))
    measure(batcher, range(4), 2, 4)  # a first time
    alone, together = [], []
    for number in range(arguments.rounds):
        first = 1000 * number
        alone.append(measure(batcher, range(first, first + arguments.clients), arguments.turns, 1))
        more = range(first + 500, first + 500 + arguments.clients)
        together.append(measure(batcher, more, arguments.turns, arguments.clients))
    ratio = statistics.median(b / a for a, b in zip(alone, together, strict=True))
    print(
        f"medians: {statistics.median(alone):,.0f} tokens/s one by one, {statistics.median(together):,.0f} of "
        f"{arguments.clients} at once, {ratio:.2f} times"
    )


if __name__ == "__main__":
    main()
