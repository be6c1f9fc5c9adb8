"""Replies to many conversations at once: a job joins the batch at the next token, and leaves when its reply is there.

A conversation's cache is kept when a reply ends, within a memory budget, the least recently used dropped first; its
next turn then costs only what is new. A job's error is its own. One thread calls `step` again and again.
"""

import logging
from bisect import bisect, bisect_left, insort
from collections import Counter, OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import msgspec
import numpy as np

from dialogpt.decoding import Hypothesis, Reply, ReplyConfig
from dialogpt.decoding.hypotheses import context_tokens, hypothesis_of, room_after
from dialogpt.decoding.rerank import Rankers
from dialogpt.decoding.responder import Pieces, best, drawn_again, judge, seeds_of
from dialogpt.decoding.rows import Group, Row, Rows
from dialogpt.decoding.safety import Guard
from dialogpt.engine import Engine, Kept, common_length
from dialogpt.session import Turn
from dialogpt.tokens.bpe import Tokenizer

log = logging.getLogger(__name__)


@dataclass(slots=True, eq=False, kw_only=True)
class Job:
    """A context and how to reply to it; the callbacks are called by the thread that steps.

    on_text: the text that a token adds, for a reply that need not be chosen or checked. on_done: the reply, or an
    error. The reply ends before the first of the `stops`.
    """

    context: Sequence[Turn]
    config: ReplyConfig
    seed: int
    stops: Sequence[str] = ()
    on_text: Callable[[str], object] | None = None
    on_done: Callable[[Reply | Exception], object]
    cancelled: bool = False  # any thread may set it; the rows leave before the next token
    prompt_tokens: int = 0  # of the part of the context that is read, once known
    tokens: Sequence[int] = ()  # the context's tokens, once the job has begun
    rows: list[Row] = field(default_factory=list)
    made: list[Hypothesis] = field(default_factory=list)
    attempt: int = 0
    told: bool = False  # that it is done

    @property
    def streams(self) -> bool:
        """Whether its reply is sent as it is generated."""
        return self.on_text is not None and self.config.hypotheses == 1 and not self.config.safety


class Caches:
    """Caches of conversations, newest last, within a budget in bytes."""

    def __init__(self, budget_bytes: int) -> None:
        self.budget_bytes = budget_bytes
        self.size_bytes = 0
        self.hits = 0
        self._kept: OrderedDict[tuple[int, ...], Kept] = OrderedDict()
        self._sorted: list[tuple[int, ...]] = []  # sorted: contexts with the same beginning are neighbours

    def __len__(self) -> int:
        return len(self._kept)

    def put(self, tokens: Sequence[int], kept: Kept) -> None:
        """Keep a cache, and drop the oldest ones that do not fit."""
        key = tuple(tokens)
        if key in self._kept:
            self._forget(key)
        self._kept[key] = kept
        insort(self._sorted, key)
        self.size_bytes += kept.cache.size_bytes
        while self.size_bytes > self.budget_bytes:
            self._forget(next(iter(self._kept)))

    def find(self, context: Sequence[int]) -> Kept | None:
        """A copy of the longest cache of the context's beginning, with room for the rest; None if there is none."""
        new = tuple(context[:-1])
        place = bisect(self._sorted, new)
        beside = [(common_length(new, key), key) for key in self._sorted[max(place - 1, 0) : place + 1]]
        common, key = max(beside, default=(0, ()))
        if common == 0:
            return None
        self.hits += 1
        self._kept.move_to_end(key)
        return Kept(list(context[:common]), self._kept[key].cache.prefix(0, common, len(context) - common))

    def _forget(self, key: tuple[int, ...]) -> None:
        self.size_bytes -= self._kept.pop(key).cache.size_bytes
        del self._sorted[bisect_left(self._sorted, key)]


class Batcher:
    """An engine, its tokenizer, and the jobs it works on; guards and rankers are used if a job's settings say so.

    always: the rankers that order the hypotheses of every job.
    """

    def __init__(
        self, engine: Engine, tokenizer: Tokenizer, *, guards: Sequence[Guard] = (),
        rankers: Rankers = (), always: Rankers = (), cache_bytes: int = 1 << 28,
    ) -> None:  # fmt: skip
        self.engine, self.tokenizer = engine, tokenizer
        self.guards, self.rankers, self.always = guards, rankers, always
        self.caches = Caches(cache_bytes)
        self.counts: Counter[str] = Counter()  # what happened to hypotheses, by reason
        self.tokens_made = 0
        self._coming: list[Job] = []  # that have been begun since the last step
        self._jobs: dict[Row, Job] = {}
        self._pieces: dict[Row, Pieces] = {}
        self._rows = Rows(engine, tokenizer.end_id)

    @property
    def rows(self) -> int:
        """How many rows are being decoded, or are about to be."""
        return self._rows.alive + sum(job.config.hypotheses for job in self._coming)

    def begin(self, *jobs: Job) -> None:
        """Have jobs join with the next step; what goes wrong with one is its own error."""
        for job in jobs:
            try:
                job.tokens = context_tokens(self.tokenizer, job.context, self.engine.n_ctx, job.config.max_new_tokens)
                job.prompt_tokens = len(job.tokens)
                self._coming.append(job)
            except Exception as error:  # one job is isolated
                self._fail(job, error)

    def step(self) -> None:
        """Give every row a token, read the contexts of those that join, and complete jobs whose rows have all ended."""
        for job in {*self._jobs.values()}:
            if job.cancelled:
                self._leave(job)
        coming, self._coming = [job for job in self._coming if not job.cancelled], []
        ended: list[Job] = []
        try:
            if self._rows.alive:
                drawn = self._rows.draw()
                self.tokens_made += len(drawn)
                ended = [done for row, token in drawn if (done := self._told(row, token)) is not None]
                self._rows.shrink()
            self._read(coming)
        except Exception as error:  # the engine's error: it is not known whose
            log.exception("decoding failed")
            for job in {*self._jobs.values(), *coming}:
                self._fail(job, error)
            self._rows = Rows(self.engine, self.tokenizer.end_id)
        for job in ended:
            self._complete(job)

    def _read(self, jobs: Sequence[Job]) -> None:
        """Read the tokens that were drawn, and of the contexts what is not in a cache."""
        if not jobs and not self._rows.alive:
            return
        try:
            self._rows.advance([self._group(job) for job in jobs])
        except Exception:
            if not jobs:
                raise
            self._read_alone(jobs)
        for job in jobs:
            if len(job.rows) > 1:  # a single row's cache is kept at its end, with the reply
                self.caches.put(job.tokens, Kept(list(job.tokens), self._rows.read_by(job.rows[0])))

    def _read_alone(self, jobs: Sequence[Job]) -> None:
        """Read each context by itself, which shows whose the error is."""
        if self._rows.alive:
            self._rows.advance()
        for job in jobs:
            try:
                self._leave(job)
                self._rows.add([self._group(job)])
            except Exception as error:
                self._fail(job, error)

    def _group(self, job: Job) -> Group:
        job.rows = self._rows_of(job)
        known = self.caches.find(job.tokens)
        return Group(job.rows, known.cache if known else None)

    def _rows_of(self, job: Job) -> list[Row]:
        config = drawn_again(job.config) if job.attempt else job.config
        room = room_after(self.engine.n_ctx, job.tokens, config)
        seeds = seeds_of(job.config, job.seed, job.attempt)
        rows = [Row(job.tokens, config, np.random.default_rng(seed), room, keeps=len(seeds) == 1) for seed in seeds]
        for row in rows:
            self._jobs[row], self._pieces[row] = job, Pieces(self.tokenizer, job.stops)
        return rows

    def _told(self, row: Row, token: int) -> Job | None:
        """Record a row's token; returns its job when that was the last one of all its rows."""
        job, pieces = self._jobs[row], self._pieces[row]
        piece = pieces.feed(token)
        if pieces.stopped and row.place is not None:
            self._rows.remove(row)
        if job.streams and piece and job.on_text is not None:
            try:
                job.on_text(piece)
            except Exception:  # its listener is gone
                log.exception("a reply's listener failed")
                job.cancelled = True
        if row.place is not None:
            return None
        del self._jobs[row]
        if row.read is not None:
            self.caches.put([*row.context, *row.tokens[:-1]], Kept([*row.context, *row.tokens[:-1]], row.read))
            row.read = None
        return None if any(other in self._jobs for other in job.rows) else job

    def _complete(self, job: Job) -> None:
        """Judge and order a job's hypotheses: it is done, or draws again."""
        try:
            made = [self._hypothesis(row) for row in job.rows]
            job.made += judge(self.guards if job.config.safety else (), job.context, made, self.counts)
            if job.attempt == 0 and all(hypothesis.rejected for hypothesis in job.made):
                self.counts["drawn again"] += 1
                job.attempt = 1
                self._coming.append(job)
                return
            rankers = [*(self.rankers if job.config.mmi else ()), *self.always]
            reply = best(rankers, job.context, job.made, self.counts)
        except Exception as error:  # one job is isolated
            self._fail(job, error)
        else:
            self._tell(job, reply)

    def _hypothesis(self, row: Row) -> Hypothesis:
        pieces = self._pieces.pop(row)
        made = hypothesis_of(self.tokenizer, row.tokens, row.logprob)
        return msgspec.structs.replace(made, text=pieces.text.strip(), ended=True) if pieces.stopped else made

    def _fail(self, job: Job, error: Exception) -> None:
        self._leave(job)
        self._tell(job, error)

    def _tell(self, job: Job, done: Reply | Exception) -> None:
        if job.told:
            return
        job.told = True
        try:
            job.on_done(done)
        except Exception:  # its listener is gone
            log.exception("a reply's listener failed")

    def _leave(self, job: Job) -> None:
        """Take a job's rows out."""
        for row in job.rows:
            self._pieces.pop(row, None)
            if self._jobs.pop(row, None) is not None and row.place is not None:
                row.keeps = False
                self._rows.remove(row)
        job.rows = []
