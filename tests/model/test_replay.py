"""A single row's steps of fixed shapes are the ordinary steps; recording them is a GPU's matter, and may fail."""

import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest
import torch

from dialogpt.decoding import DecodingConfig
from dialogpt.decoding.hypotheses import make_from, stream_tokens
from dialogpt.engine import Kept
from dialogpt.model import replay
from dialogpt.model.engine import TorchEngine
from dialogpt.model.gpt import GPT
from dialogpt.model.replay import Replay

Step = Callable[[], torch.Tensor]
GREEDY = DecodingConfig(temperature=0, max_new_tokens=12, min_new_tokens=12, no_repeat_ngram=0)


class Recorder:
    """Records nothing: the same function runs each time. Tells how many were made, and how many steps were run."""

    def __init__(self) -> None:
        self.steps, self.run = 0, 0

    def __call__(self, step: Step) -> Step:
        self.steps += 1

        def again() -> torch.Tensor:
            self.run += 1
            return step()

        return again


@pytest.fixture
def model(make_model: Callable[..., GPT]) -> GPT:
    return make_model(3, n_ctx=96)


@pytest.fixture
def recorder(monkeypatch: pytest.MonkeyPatch) -> Recorder:
    monkeypatch.setattr(replay, "SHORTEST", 16)
    return Recorder()


def replaying(model: GPT, recorder: Recorder) -> TorchEngine:
    engine = TorchEngine(model)
    engine.make_replay = partial(Replay, record=recorder)
    return engine


def talk(engine: TorchEngine, end_id: int) -> list[int]:
    """Three turns, the second taken back and put otherwise, then three hypotheses and a reply after them."""
    said: list[int] = []
    kept: Kept | None = None
    for turn in ([5, 6, end_id], [9, end_id], [7, 8, 11, end_id]):
        context = [*said, *turn]
        reply = []
        for token, keep in stream_tokens(engine, end_id, context, GREEDY, 0, kept):
            reply.append(token)
            kept = keep
        said = [*context, *reply]
    assert kept is not None
    return said


def test_steps_are_the_ordinary_ones(model: GPT, recorder: Recorder, tiny_tokenizer: Any) -> None:
    expected = talk(TorchEngine(model), tiny_tokenizer.end_id)
    assert talk(replaying(model, recorder), tiny_tokenizer.end_id) == expected
    assert recorder.run == 3 * 11  # the first token of a reply follows the reading of its context
    assert recorder.steps == 3  # over 16, 32 and 64 positions


def test_conversations_in_two_threads_are_kept_apart(model: GPT, tiny_tokenizer: Any) -> None:
    """They share an engine, and with it the token and the place that a graph reads."""
    contexts = [[5, 6, 7], [9, 8, 7, 6, 5, 4, 3]]

    def reply(engine: TorchEngine, context: list[int]) -> list[int]:
        return [token for token, _ in stream_tokens(engine, tiny_tokenizer.end_id, context, GREEDY, 0, None)]

    def slow(step: Step) -> Step:
        def again() -> torch.Tensor:
            time.sleep(0.005)  # the other thread has its turn
            return step()

        return again

    expected = [reply(TorchEngine(model), context) for context in contexts]
    engine = TorchEngine(model)
    engine.make_replay = partial(Replay, record=slow)
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(partial(reply, engine), contexts)) == expected


def test_logits_are_the_ordinary_ones_up_to_the_last_position(model: GPT, recorder: Recorder) -> None:
    ordinary, replayed = TorchEngine(model), replaying(model, recorder)
    tokens = torch.randint(1, 300, (96,), generator=torch.Generator().manual_seed(0)).tolist()
    (_, one), (_, other) = ordinary.prefill([tokens[:3]], 0), replayed.prefill([tokens[:3]], 0)
    for token in tokens[3:]:
        expected, found = ordinary.decode([token], one).array(), replayed.decode([token], other).array()
        torch.testing.assert_close(torch.from_numpy(found), torch.from_numpy(expected), atol=2e-4, rtol=1e-4)
    torch.testing.assert_close(other.k[:, :, :, :96], one.k[:, :, :, :96], atol=1e-4, rtol=1e-4)
    assert recorder.steps == 4
    (_, one), (_, short) = ordinary.prefill([tokens[:3]], 1), replayed.prefill([tokens[:3]], 1)
    expected, found = ordinary.decode([5], one).array(), replayed.decode([5], short).array()
    torch.testing.assert_close(torch.from_numpy(found), torch.from_numpy(expected), atol=2e-4, rtol=1e-4)
    with pytest.raises(ValueError, match="97 tokens do not fit into n_ctx 96"):
        replayed.decode([5], other)


def test_what_is_done_to_a_cache_between_steps_is_seen(model: GPT, recorder: Recorder) -> None:
    """Two conversations by turns, one cut back, rows that came and went: the mirror never tells of another."""

    def play(engine: TorchEngine) -> list[list[float]]:
        found = []
        _, a = engine.resume([5, 6, 7, 8, 9, 10], None)
        _, b = engine.resume([11, 12], None)
        for token in (20, 21, 22):
            found += [engine.decode([token], a.cache).array(), engine.decode([token + 5], b.cache).array()]
        logits, a = engine.resume([5, 6, 7, 30], a)
        found += [logits.array(), engine.decode([31], a.cache).array()]
        _, cache = engine.prefill([[5, 6], [7, 8, 9, 10]], 4)
        engine.decode([1, 2], cache)
        cache.rearrange([1])
        found += [engine.decode([3], cache).array(), engine.decode([4], cache).array()]
        cache.rearrange([0, 0])
        found += [engine.decode([3, 4], cache).array()]
        cache.rearrange([1])
        return [row.ravel().tolist() for row in [*found, engine.decode([5], cache).array()]]

    expected, found = play(TorchEngine(model)), play(replaying(model, recorder))
    for mine, its in zip(found, expected, strict=True):
        assert mine == pytest.approx(its, abs=2e-4)
    assert recorder.run > 8


def test_several_rows_and_shared_contexts_go_the_ordinary_way(
    model: GPT, recorder: Recorder, tiny_tokenizer: Any
) -> None:
    config = DecodingConfig(max_new_tokens=6, seed=1)
    made = [
        make_from(engine, tiny_tokenizer, [5, 6, 7], config, [0, 1], None)[0]
        for engine in (TorchEngine(model), replaying(model, recorder))
    ]
    assert [one.tokens for one in made[0]] == [one.tokens for one in made[1]]
    assert recorder.steps == 0


def test_a_graph_that_cannot_be_recorded_is_done_without(
    model: GPT, tiny_tokenizer: Any, caplog: pytest.LogCaptureFixture
) -> None:
    def fail(step: Step) -> Step:
        raise RuntimeError("operation not permitted when stream is capturing\nand a long explanation")

    engine = TorchEngine(model)
    engine.make_replay = partial(Replay, record=fail)
    with caplog.at_level(logging.WARNING):
        assert talk(engine, tiny_tokenizer.end_id) == talk(TorchEngine(model), tiny_tokenizer.end_id)
    assert caplog.messages == [
        "no CUDA graph, single replies are slower: operation not permitted when stream is capturing"
    ]
