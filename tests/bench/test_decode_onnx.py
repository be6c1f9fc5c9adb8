"""The benchmark's ONNX Runtime: a checkpoint that is converted to 8 bits or 4 is read as ours is."""

import importlib
from dataclasses import asdict, replace
from typing import Any

import numpy as np
import pytest

BENCHMARK = "decode"

AGREED = 0.01  # of the nats that ours has, as in test_decode.py


@pytest.fixture(scope="module")
def onnx_peer() -> Any:
    """bench/decode_onnx.py."""
    for package in ("onnx", "onnxruntime"):
        pytest.importorskip(package)
    return importlib.import_module("decode_onnx")


@pytest.fixture(scope="module", params=["int8", "int4"])
def onnx_work(tasks: Any, work: Any, onnx_peer: Any, request: pytest.FixtureRequest) -> Any:
    """The work of a precision, for which the checkpoints are converted."""
    made = tasks.Work(**asdict(work) | {"precision": request.param})
    onnx_peer.onnx_peer(replace(made, task=tasks.CONVERT))
    return made


def test_onnx_runtime_reads_the_same_model(tasks: Any, work: Any, onnx_peer: Any, onnx_work: Any) -> None:
    ours = importlib.import_module("decode_ours")
    contexts = tasks.draw(work, [12, 5, 30, 7, 9, 18])
    decoder = onnx_peer.OnnxRuntime(onnx_work, work.model)
    replies = [decoder.reply(context, 6, lambda: None) for context in contexts]
    assert decoder.bulk(contexts, 6, 1) == replies
    assert [len(tokens) for tokens in decoder.bulk(contexts, 6, 4)] == [6] * 6
    assert decoder.converse(contexts[:1], 6) == replies[:1]
    drawn = decoder.hypotheses(contexts[0], 5, 7, seed=1)
    assert [len(tokens) for tokens in drawn] == [7] * 5
    assert len(set(map(tuple, drawn))) > 1
    hypotheses = tasks.draw(work, [6, 6, 6])
    expected = ours.Ours(work, work.backward).nats(hypotheses, contexts[1])
    found = onnx_peer.OnnxRuntime(onnx_work, work.backward).nats(hypotheses, contexts[1])
    assert found == pytest.approx(expected, rel=AGREED)
    assert found != pytest.approx(ours.Ours(work, work.model).nats(hypotheses, contexts[1]), rel=1e-4)


def test_rows_that_onnx_runtime_pads_read_their_own_context(
    tasks: Any, work: Any, onnx_peer: Any, onnx_work: Any
) -> None:
    decoder = onnx_peer.OnnxRuntime(onnx_work, work.model)
    long, short = tasks.draw(work, [12, 5])

    def logits(rows: list[list[int]], past: list[int], lengths: list[int]) -> np.ndarray:
        number = np.array([work.vocab_size])
        found, tokens = decoder._read(np.array(rows), np.array(past), np.array(lengths), number=number)
        return np.take_along_axis(found, np.argsort(tokens), 1)

    def alone(row: list[int]) -> np.ndarray:
        decoder.reset(len(row))
        return logits([row], [0], [len(row)])[0]

    decoder._open(2, 13)
    read = logits([long, short + [work.end_id] * 7], [0, 0], [12, 5])
    then = logits([[3], [4]], [12, 5], [1, 1])
    for row, found in zip([long, short, [*long, 3], [*short, 4]], [*read, *then], strict=True):
        assert np.corrcoef(found, alone(row))[0, 1] > 0.99  # 8-bit activations have a scale for all rows
    assert np.corrcoef(read[1], alone(long))[0, 1] < 0.9
