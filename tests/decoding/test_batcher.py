"""Jobs that come and go: their replies are those they would get alone, and what went wrong is their own."""

from collections.abc import Sequence
from copy import deepcopy
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from hypothesis import example, given, settings
from hypothesis import strategies as st

from dialogpt import GPT, Tokenizer, Turn
from dialogpt.decoding import Hypothesis, Reply, ReplyConfig
from dialogpt.decoding.batcher import Batcher, Caches, Job
from dialogpt.decoding.responder import Responder
from dialogpt.decoding.safety import POLITE
from dialogpt.engine import Engine, Kept
from dialogpt.model import GPTConfig
from dialogpt.model.cache import KVCache
from dialogpt.model.engine import TorchEngine
from dialogpt.native.engine import open_native

Pair = tuple[GPT, Tokenizer]
SAID = ["does money buy happiness?", "صباح الخير", "are you sure?", "😀👍🏽", "what is the best way?", "no"]


class Listener:
    """Hears what becomes of a job."""

    def __init__(
        self, batcher: Batcher, context: Sequence[str], seed: int, stops: Sequence[str] = (), **config: Any
    ) -> None:
        self.pieces: list[str] = []
        self.done: list[Reply | Exception] = []
        self.job = Job(
            context=[Turn(text) for text in context], seed=seed, stops=stops, on_text=self.pieces.append,
            on_done=self.done.append, config=ReplyConfig(**{"max_new_tokens": 8, "safety": False, **config}),
        )  # fmt: skip
        batcher.begin(self.job)

    @property
    def reply(self) -> Reply:
        (done,) = self.done
        assert isinstance(done, Reply), done
        return done


def batcher_of(pair: Pair, **options: Any) -> Batcher:
    return Batcher(TorchEngine(pair[0]), pair[1], **options)


def alone(pair: Pair, listener: Listener) -> Reply:
    responder = Responder(TorchEngine(pair[0]), pair[1], listener.job.config)
    return responder.replies([listener.job.context], [listener.job.seed])[0]


def finish(batcher: Batcher, steps: int = 1000) -> None:
    for _ in range(steps):
        batcher.step()
    assert batcher.rows == 0


@pytest.fixture(scope="module")
def exact(tiny_model: Pair) -> Pair:
    """In fp64: fp32 rounds by 1e-6 otherwise in another batch, and in a million draws one falls there."""
    return deepcopy(tiny_model[0]).double(), tiny_model[1]


@settings(max_examples=25, deadline=None)
@given(
    arrivals=st.lists(
        st.tuples(
            st.integers(0, 6), st.lists(st.sampled_from(SAID), min_size=1, max_size=6), st.sampled_from([1, 1, 3]),
            st.sampled_from([1, 7, 30]), st.booleans(),
        ),
        min_size=1, max_size=8,
    ),
    budget=st.sampled_from([0, 1 << 17, 1 << 28]),
)  # fmt: skip
@example([(0, SAID[:1], 1, 1, False), (0, [SAID[3], SAID[5], SAID[3], SAID[0], SAID[0]], 3, 30, False)], 0)
def test_whoever_joins_no_reply_changes(exact: Pair, arrivals: Any, budget: int) -> None:
    batcher = batcher_of(exact, cache_bytes=budget)
    listeners = []
    for seed, (wait, context, hypotheses, longest, again) in enumerate(arrivals):
        for _ in range(wait):
            batcher.step()
        listeners.append(Listener(batcher, context, seed, num_hypotheses=hypotheses, max_new_tokens=longest))
        if again and listeners[0].done:  # the first conversation goes on
            longer = [*(turn.text for turn in listeners[0].job.context), listeners[0].reply.text, "and then?"]
            listeners.append(Listener(batcher, longer, 100 + seed))
    finish(batcher)
    for listener in listeners:
        expected = alone(exact, listener)
        assert listener.reply.text == expected.text
        assert [h.tokens for h in listener.reply.hypotheses] == [h.tokens for h in expected.hypotheses]
        assert listener.reply.text.startswith("".join(listener.pieces))
    assert batcher.caches.size_bytes <= budget
    assert batcher.tokens_made == sum(len(h.tokens) for each in listeners for h in each.reply.hypotheses)


def test_a_turn_costs_what_is_new(tiny_model: Pair) -> None:
    batcher = batcher_of(tiny_model)
    read: list[int] = []
    hidden = batcher.engine.model.hidden  # type: ignore[attr-defined]

    class Counting:
        def __getattr__(self, name: str) -> Any:
            return getattr(tiny_model[0], name)

        def hidden(self, tokens: Any, cache: Any = None) -> Any:
            read.append(tokens.numel())
            return hidden(tokens, cache)

    batcher.engine.model = Counting()  # type: ignore[attr-defined]
    first = Listener(batcher, [SAID[0]], 1, min_new_tokens=8)
    finish(batcher, 20)
    read.clear()
    Listener(batcher, [SAID[0], first.reply.text, "ok"], 2)
    text = tiny_model[1].encode(first.reply.text)
    common = next(
        (i for i, (a, b) in enumerate(zip(first.reply.hypotheses[0].tokens, text, strict=False)) if a != b), 0
    )
    batcher.step()
    assert batcher.caches.hits == 1
    if common >= 7:  # the text's tokens are those that were drawn
        assert read[0] <= 1 + 1 + len(tiny_model[1].encode("ok")) + 1


@pytest.mark.parametrize("together", [True, False])
def test_jobs_that_come_together_are_read_together_or_each_alone(tiny_model: Pair, together: bool) -> None:
    batcher = batcher_of(tiny_model)
    first = Listener(batcher, [SAID[0]], 1)
    finish(batcher, 20)
    prefill, read = batcher.engine.prefill, []

    def counting(contexts: Any, room: int, begun: Any = ()) -> Any:
        read.append(len(contexts))
        if len(contexts) > 1 and not together:
            raise ValueError("not together")
        return prefill(contexts, room, begun)

    batcher.engine.prefill = counting  # type: ignore[method-assign]
    later: Any = SimpleNamespace(begin=lambda job: None)
    longer = [SAID[0], first.reply.text, "and then?"]
    listeners = [
        Listener(later, context, seed, num_hypotheses=hypotheses)
        for seed, (context, hypotheses) in enumerate([(longer, 1), ([SAID[1]], 3), ([" "], 1), ([SAID[2]], 1)])
    ]
    batcher.begin(*(listener.job for listener in listeners))
    batcher.step()
    assert read[0] == 3
    finish(batcher, 20)
    assert "the context is empty" in str(listeners.pop(2).done[0])
    for listener in listeners:
        assert listener.reply.text == alone(tiny_model, listener).text


def test_conversations_that_begin_alike_keep_their_own(tiny_model: Pair) -> None:
    batcher = batcher_of(tiny_model)
    for seed in range(4):
        Listener(batcher, ["hi"], seed, min_new_tokens=6)
        finish(batcher, 20)
    kept = len(batcher.caches)
    assert kept > 1
    Listener(batcher, ["hi", "something else"], 9)
    finish(batcher, 20)
    assert len(batcher.caches) == kept + 1


def test_the_oldest_leave_first() -> None:
    config = GPTConfig(n_layer=1, n_head=1, n_embd=4, vocab_size=8, n_ctx=16)

    def kept(length: int) -> Kept:
        return Kept([], KVCache.empty(config, 1, length, torch.zeros(1)).prefix(0, length))

    caches = Caches(3 * kept(4).cache.size_bytes)
    for first in range(3):
        caches.put([first, 1, 1, 1], kept(4))
    assert caches.find([0, 1, 7, 7]) is not None  # used, so it is the newest
    caches.put([4, 1, 1, 1], kept(4))
    assert caches.find([1, 1, 1, 1]) is None
    assert caches.find([9, 1]) is None
    (found,) = [caches.find([0, 1, 1, 5, 5, 5])]
    assert found is not None
    assert (found.tokens, found.cache.tokens_read()) == ([0, 1, 1], 3)
    caches.put([5] * 16, kept(16))  # larger than all of it
    assert (len(caches), caches.size_bytes) == (0, 0)


def test_a_cancelled_job_leaves_before_the_next_token(tiny_model: Pair) -> None:
    batcher = batcher_of(tiny_model)
    stays, goes = (Listener(batcher, [text], 1, min_new_tokens=8, num_hypotheses=2) for text in SAID[:2])
    batcher.step()
    assert batcher.rows == 4
    goes.job.cancelled = True
    batcher.step()
    assert batcher.rows == 2
    finish(batcher, 20)
    assert not goes.done
    assert stays.reply.text == alone(tiny_model, stays).text


def test_an_error_is_the_jobs_own(tiny_model: Pair) -> None:
    def guard(context: Sequence[Turn], text: str) -> str | None:
        if context[0].text == "boom":
            raise ValueError("boom")
        return None

    batcher = batcher_of(tiny_model, guards=[guard])
    fine = Listener(batcher, ["hi"], 1, safety=True)
    broken, empty = Listener(batcher, ["boom"], 1, safety=True), Listener(batcher, [" "], 1)
    finish(batcher, 20)
    assert str(broken.done[0]) == "boom"
    assert "the context is empty" in str(empty.done[0])
    assert fine.reply.text == alone(tiny_model, fine).text


@pytest.mark.filterwarnings("ignore")
def test_after_the_engines_error_it_serves_on(tiny_model: Pair) -> None:
    batcher = batcher_of(tiny_model)
    lost = Listener(batcher, ["hi"], 1, min_new_tokens=5)
    batcher.step()
    decode, batcher.engine.decode = batcher.engine.decode, lambda tokens, cache, joining: 1 / 0  # type: ignore
    batcher.step()
    assert isinstance(lost.done[0], ZeroDivisionError)
    batcher.engine.decode = decode  # type: ignore[method-assign]
    later = Listener(batcher, ["hi"], 2)
    finish(batcher, 20)
    assert later.reply.text == alone(tiny_model, later).text


def test_a_reply_that_is_whole_is_told_when_the_engine_fails_the_others(tiny_model: Pair) -> None:
    batcher = batcher_of(tiny_model)
    whole = Listener(batcher, ["hi"], 1, max_new_tokens=3, min_new_tokens=3)
    lost = Listener(batcher, ["yo"], 2, min_new_tokens=8)
    for _ in range(3):
        batcher.step()
    batcher.engine.decode = lambda *given: 1 / 0  # type: ignore[method-assign]
    batcher.step()
    assert whole.reply.text == alone(tiny_model, whole).text
    assert isinstance(lost.done[0], ZeroDivisionError)


@pytest.fixture(params=["torch", "native"])
def engine(request: pytest.FixtureRequest, tiny_model: Pair, tiny_checkpoint: Path) -> Engine:
    if request.param == "torch":
        return TorchEngine(tiny_model[0])
    found = open_native(tiny_checkpoint)
    if found is None:
        pytest.skip("the native engine was not built")
    return found


@pytest.mark.parametrize("hypotheses", [1, 2])
@pytest.mark.parametrize("running", [1, 2])
def test_whoever_fails_to_join_fails_alone(engine: Engine, tiny_model: Pair, running: int, hypotheses: int) -> None:
    """Whatever is wrong with what it reads."""
    batcher = Batcher(engine, tiny_model[1])
    fine = [Listener(batcher, [SAID[i]], i, min_new_tokens=8, temperature=1.0) for i in range(running)]
    for _ in range(3):
        batcher.step()
    bad = Listener(batcher, [SAID[4]], 2, num_hypotheses=hypotheses)
    bad.job.tokens = [*bad.job.tokens, 100_000]  # no token of the vocabulary
    late = Listener(batcher, [SAID[5]], 3, min_new_tokens=4)
    finish(batcher, 30)
    assert len(bad.done) == 1
    assert isinstance(bad.done[0], Exception)
    responder = Responder(engine, tiny_model[1], fine[0].job.config)
    for listener in (*fine, late):
        (expected,) = responder.replies([listener.job.context], [listener.job.seed])
        if listener is not late:
            assert listener.reply.hypotheses[0].tokens == expected.hypotheses[0].tokens
        assert listener.reply.text


def test_a_cache_that_has_no_room_for_who_joins(tiny_model: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others have read their tokens by then, and do not read them twice."""
    batcher = batcher_of(tiny_model)
    running = Listener(batcher, ["hi"], 1, max_new_tokens=12, min_new_tokens=12, temperature=1.0)
    for _ in range(4):
        batcher.step()
    join, errors = KVCache.join, iter([MemoryError("no room")])

    def failing(self: KVCache, places: Sequence[int], other: KVCache) -> None:
        if error := next(errors, None):
            raise error
        join(self, places, other)

    monkeypatch.setattr(KVCache, "join", failing)
    joins = Listener(batcher, ["does money"], 2)
    finish(batcher, 30)
    for listener in (running, joins):
        assert listener.reply.hypotheses[0].tokens == alone(tiny_model, listener).hypotheses[0].tokens


def test_all_rejected_is_drawn_again_and_then_the_polite_line(tiny_model: Pair) -> None:
    batcher = batcher_of(tiny_model, guards=[lambda context, text: "never"])
    listener = Listener(batcher, ["hi"], 1, num_hypotheses=2, safety=True)
    finish(batcher, 40)
    assert listener.reply.text == POLITE
    assert [h.rejected for h in listener.reply.hypotheses] == ["never"] * 4
    assert batcher.counts == {"never": 4, "drawn again": 1, "replaced by a fixed line": 1}
    assert listener.pieces == []  # nothing is told that may be rejected


def test_rankers_are_asked_where_the_settings_say_so(tiny_model: Pair) -> None:
    class Longest:
        name = "longest"

        def __call__(self, context: Sequence[Turn], hypotheses: Sequence[Hypothesis]) -> list[float]:
            return [len(hypothesis.text) for hypothesis in hypotheses]

    batcher = batcher_of(tiny_model, rankers=[(Longest(), 1.0)])
    ranked = Listener(batcher, ["hi"], 1, mmi=True, num_hypotheses=6)
    plain = Listener(batcher, ["hi"], 1, num_hypotheses=6)
    finish(batcher, 20)
    lengths = [len(h.text) for h in ranked.reply.hypotheses]
    assert lengths == sorted(lengths, reverse=True)
    assert plain.reply.hypotheses[0].scores == {}
