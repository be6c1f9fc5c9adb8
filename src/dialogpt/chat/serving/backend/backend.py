"""A replier whose hypotheses another engine makes; guards, drawing again, the polite line and reranking are here.

Requests to the engine run in the event loop of a thread of their own. A second thread judges and orders, so that a
backward model's work holds up no stream. When a client goes away, its request to the engine is cancelled.
"""

import asyncio
import logging
import threading
from collections import Counter
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from contextlib import asynccontextmanager
from typing import TypeVar

from dialogpt.chat.serving.backend.client import BackendError, Client, MissingError
from dialogpt.chat.serving.backend.drawing import draw, fitting
from dialogpt.chat.serving.backend.wire import Drawn, Facts, Wish
from dialogpt.chat.serving.replier import Gauge
from dialogpt.chat.serving.worker import BusyError, waiting
from dialogpt.decoding import Hypothesis, Reply
from dialogpt.decoding.batcher import Job
from dialogpt.decoding.rerank import Rankers
from dialogpt.decoding.responder import best, drawn_again, judge
from dialogpt.decoding.safety import Guard
from dialogpt.session import Turn
from dialogpt.tokens.bpe import Tokenizer

log = logging.getLogger(__name__)

T = TypeVar("T")
HEALTH_S = 3.0


class Backend:
    """Asks the engine for up to `most_rows` hypotheses at a time, until it is closed.

    rankers: loads them, when MMI is first asked for; None where there are none. always: the rankers of every job.
    tokenizer: the engine's, if known: contexts are then cut to what the engine reads before they are sent,
    else when it refuses them.
    """

    def __init__(
        self, client: Client, facts: Facts, *, guards: Sequence[Guard] = (),
        rankers: Callable[[], Rankers] | None = None, always: Rankers = (), tokenizer: Tokenizer | None = None,
        most_rows: int, most_waiting: int,
    ) -> None:  # fmt: skip
        self.facts, self.guards, self.counts = facts, guards, Counter[str]()
        self.rows, self.tokens_made, self.failures = 0, 0, 0
        self._client, self._load_rankers, self._tokenizer = client, rankers, tokenizer
        self._most_rows, self._most_waiting = most_rows, most_waiting
        self._rankers: Rankers | None = None
        self._always = always
        self._lock = threading.Lock()
        self._jobs: dict[Job, Future[None]] = {}
        self._begun = 0  # jobs that have their rows
        self._closing = False
        self._door, self._left = asyncio.Lock(), asyncio.Event()
        self._judge = ThreadPoolExecutor(1, "judging")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="backend")
        self._thread.start()

    @property
    def n_ctx(self) -> int | None:
        return self.facts.n_ctx

    @property
    def end_text(self) -> str:
        return self.facts.end_text

    @property
    def ranks(self) -> bool:
        return self._load_rankers is not None

    @property
    def waiting(self) -> int:
        return max(0, len(self._jobs) - self._begun)  # a job may begin before it is listed here

    @property
    def alive(self) -> bool:
        return self._thread.is_alive()

    def gauges(self) -> list[Gauge]:
        """What is under way, and what came of it so far."""
        return [
            Gauge("dialogpt_rows", "Hypotheses that the backend is working on", lambda: self.rows),
            Gauge("dialogpt_waiting", "Requests waiting for a place", lambda: self.waiting),
            Gauge("dialogpt_tokens_total", "Tokens made by the backend", lambda: self.tokens_made),
            Gauge("dialogpt_backend_failures_total", "Replies that failed at the backend", lambda: self.failures),
        ]

    def attend(self) -> None:
        """Its thread has a loop of its own."""

    def submit(self, job: Job) -> None:
        """Take a job; BusyError when too many wait, or the server is about to end."""
        with self._lock:
            if self._closing or waiting([*self._jobs, job], 0, self._most_rows) > self._most_waiting:
                raise BusyError
            future = self._jobs[job] = asyncio.run_coroutine_threadsafe(self._work(job), self._loop)
        future.add_done_callback(lambda _: self._forget(job))

    def cancel(self, job: Job) -> None:
        """Give a job up, and cancel its requests to the engine."""
        job.cancelled = True
        with self._lock:
            future = self._jobs.get(job)
        if future is not None:
            future.cancel()

    def trouble(self) -> str | None:
        """Why no replies are being made: the engine is asked."""
        if not self.alive:
            return "the server has ended"
        asking = asyncio.run_coroutine_threadsafe(self._client.models(), self._loop)
        try:
            asking.result(HEALTH_S)
        except MissingError:  # it lists no models, but it answers
            return None
        except BackendError as error:
            return error.message
        except TimeoutError:
            asking.cancel()
            return "the backend takes too long"
        return None

    def close(self) -> None:
        """Take no more jobs, complete those that are there, and end the threads."""
        with self._lock:
            first, self._closing = not self._closing, True
            running = list(self._jobs.values())
        if first:
            wait(running)
            asyncio.run_coroutine_threadsafe(self._end(), self._loop).result()
            self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        if first:
            self._loop.close()
            self._judge.shutdown()

    def _forget(self, job: Job) -> None:
        with self._lock:
            self._jobs.pop(job, None)

    async def _end(self) -> None:
        """Let requests that were given up end, and close all connections."""
        others = asyncio.all_tasks() - {asyncio.current_task()}
        await asyncio.gather(*others, return_exceptions=True)
        await self._client.close()

    async def _work(self, job: Job) -> None:
        """Make a job's reply and report it; what goes wrong is the job's own error."""
        done: Reply | Exception
        try:
            async with self._places(job):
                done = await self._reply(job)
        except Exception as error:  # one job is isolated
            self.failures += isinstance(error, BackendError) and error.status != 400
            done = error
        try:
            job.on_done(done)
        except Exception:  # its listener is gone
            log.exception("a reply's listener failed")

    @asynccontextmanager
    async def _places(self, job: Job) -> AsyncIterator[None]:
        """Wait for a job's rows, first come, first served; a job that wants more rows than there are runs alone."""
        rows = job.config.hypotheses
        async with self._door:
            while self.rows and self.rows + rows > self._most_rows:
                self._left.clear()
                await self._left.wait()
            self._begun += 1
            self.rows += rows
        try:
            yield
        finally:
            self._forget(job)  # first, or it would count as one that waits
            self.rows -= rows
            self._begun -= 1
            self._left.set()

    async def _reply(self, job: Job) -> Reply:
        """The hypotheses, judged; drawn once more when all are rejected; the best is the reply."""
        turns = await self._aside(self._turns, job)
        judged: list[Hypothesis] = []
        for attempt, config in enumerate((job.config, drawn_again(job.config))):
            wish = Wish(turns=turns, config=config, seed=job.seed, n=config.hypotheses, stops=job.stops)
            drawn = await draw(self._client, self.facts, wish, attempt, job.on_text if job.streams else None)
            job.prompt_tokens = drawn.prompt_tokens
            self.tokens_made += sum(hypothesis.size for hypothesis in drawn.hypotheses)
            judged += await self._aside(self._judged, job, drawn.hypotheses)
            if not all(hypothesis.rejected for hypothesis in judged):
                break
            if attempt == 0:
                self.counts["drawn again"] += 1
        return await self._aside(self._best, job, judged)

    async def _aside(self, work: Callable[..., T], *arguments: object) -> T:
        return await self._loop.run_in_executor(self._judge, work, *arguments)

    def _turns(self, job: Job) -> list[Turn]:
        """The part of the context that is sent."""
        if self._tokenizer is None or self.n_ctx is None:
            return list(job.context)
        return fitting(self._tokenizer, job.context, self.n_ctx, job.config.max_new_tokens)

    def _judged(self, job: Job, drawn: Sequence[Drawn]) -> list[Hypothesis]:
        return judge(self.guards if job.config.safety else (), job.context, drawn, self.counts)

    def _best(self, job: Job, judged: Sequence[Hypothesis]) -> Reply:
        rankers: Rankers = ()
        if job.config.mmi and self._load_rankers is not None:
            if self._rankers is None:
                self._rankers = self._load_rankers()
            rankers = self._rankers
        return best([*rankers, *self._always], job.context, judged, self.counts)
