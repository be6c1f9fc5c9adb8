"""The benchmark of decoding: all engines are asked the same and answer alike, and a row says how each was run."""

import importlib
import importlib.util
import json
import os
import subprocess
import sys
import time
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from dialogpt.model import GPTConfig

BENCHMARK = "decode"
AGREED = 0.01  # of the nats that ours has: the scores of a model with 8-bit weights are as near
BENCH = Path(__file__).parents[2] / "bench"


@pytest.fixture(scope="module")
def decoders(work: Any) -> tuple[Any, Any]:
    """Ours and transformers', of the same checkpoint."""
    pytest.importorskip("transformers")
    ours, peers = importlib.import_module("decode_ours"), importlib.import_module("decode_peers")
    return ours.Ours(work, work.model), peers.Transformers(work, work.model)


def test_engines_answer_alike(tasks: Any, work: Any, decoders: tuple[Any, Any]) -> None:
    ours, theirs = decoders
    contexts = tasks.draw(work, [12, 5, 30, 7, 9, 18])
    told: list[int] = []
    assert ours.reply(contexts[0], 20, lambda: told.append(1)) == theirs.reply(contexts[0], 20, lambda: told.append(2))
    assert told == [1] * 20 + [2] * 20
    assert ours.converse(contexts[:3], 8) == theirs.converse(contexts[:3], 8)
    assert ours.beam(contexts[1], 4, 8) == theirs.beam(contexts[1], 4, 8)
    assert ours.bulk(contexts, 6, 4) == theirs.bulk(contexts, 6, 4)
    hypotheses = tasks.draw(work, [6, 6, 6])
    assert ours.nats(hypotheses, contexts[1]) == pytest.approx(theirs.nats(hypotheses, contexts[1]), rel=1e-5)
    for decoder in decoders:
        drawn = decoder.hypotheses(contexts[0], 5, 7, seed=1)
        assert [len(tokens) for tokens in drawn] == [7] * 5
        assert len(set(map(tuple, drawn))) > 1


@pytest.mark.parametrize(
    "task, tokens", [("interactive", 64), ("turns", 250), ("mmi", 512), ("beam", 32), ("bulk", 180)]
)
def test_every_task_is_measured(tasks: Any, work: Any, task: str, tokens: int) -> None:
    measured = tasks.measure(tasks.Work(**asdict(work) | {"task": task}), importlib.import_module("decode_ours").Ours)
    assert measured.tokens == tokens
    assert measured.seconds > 0
    assert measured.peak_bytes > 1e7
    assert (measured.first_s > 0) is (task == "interactive")
    assert len(measured.said) == (64 if task == "interactive" else 0)
    assert (measured.nats > 0) is (task == "mmi")


def test_fewer_tokens_are_not_measured(tasks: Any, work: Any) -> None:
    class Short:
        def beam(self, context: list[int], beams: int, new: int) -> list[int]:
            return [1] * (new - 1)

    with pytest.raises(RuntimeError, match=r"1 replies of \[31\] tokens, in place of 1 of 32 without end"):
        tasks.beam(Short(), None, work, False)


def test_every_run_has_a_row(bench: Any, vocabulary: Path, tmp_path: Path) -> None:
    pytest.importorskip("transformers")
    command = [sys.executable, str(BENCH / "decode.py"), "--tokenizer", str(vocabulary), "--n-layer", "1", "--n-head"]
    command += ["2", "--n-embd", "16", "--engines", "transformers", "--transformers-precisions", "fp32"]
    command += ["--tasks", "interactive", "mmi", "--repeats", "1", "--passes", "1", "--threads", "1"]
    done = subprocess.run([*command, "--work", str(tmp_path)], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines() if line[:1] == "|"]
    details, summary = rows[2:6], rows[-2:]
    names = ["dialogpt int8, 1 thread", "transformers fp32, 1 thread"]
    assert [row[:3] for row in details] == [["1 x 16", task, name] for task in ("interactive", "mmi") for name in names]
    for row in details[:2]:
        assert row[3].endswith(" tokens/s")
        assert row[4].endswith(" ms")
        assert 0 <= int(row[5].rstrip("%")) <= 100
    for row in details:
        assert float(row[6].removesuffix(" MB").replace(",", "")) > 10
        assert float(row[8]) > 0
    assert details[0][7] == "64 of 64"
    assert abs(float(details[3][7]) - 1) < AGREED
    assert [row[3] for row in summary] == [f"{row[8]} ({names[1]})" for row in (details[1], details[3])]


def test_a_peer_is_run_at_its_best(bench: Any) -> None:
    arguments = bench.arguments_of(["--tokenizer", "x", "--threads", "4"])
    titles = [runner.title for runner in bench.runners_of(arguments, bench.PEERS)]
    assert titles == [
        "dialogpt int8, 4 threads", "transformers fp32, 4 threads", "transformers bf16, 4 threads",
        "ctranslate2 int8, 1 thread", "ctranslate2 int8, 4 threads", "ctranslate2 int8, 4 workers",
        "llama.cpp q8_0, 1 thread", "llama.cpp q8_0, 4 threads",
        "openvino int8, 1 thread", "openvino int8, 4 threads", "openvino int8 f32, 4 threads",
        "onnxruntime int8, 1 thread", "onnxruntime int8, 4 threads",
    ]  # fmt: skip
    tasks = {
        runner.title: [task for task in bench.TASKS if runner.runs(task)]
        for runner in bench.runners_of(arguments, bench.PEERS)
    }
    assert tasks["ctranslate2 int8, 4 workers"] == ["bulk"]
    assert tasks["llama.cpp q8_0, 1 thread"] == ["interactive", "turns", "mmi", "bulk"]
    assert tasks["onnxruntime int8, 4 threads"] == tasks["llama.cpp q8_0, 1 thread"]
    four = bench.arguments_of(["--tokenizer", "x", "--threads", "1", "--ours-precisions", "int4", "int8"])
    titles = [runner.title for runner in bench.runners_of(four, ["llama.cpp", "openvino", "onnxruntime"])]
    assert titles[:2] == ["dialogpt int4, 1 thread", "dialogpt int8, 1 thread"]
    assert {"llama.cpp q8_0, 1 thread", "llama.cpp q4_1, 1 thread", "openvino int4 f32, 1 thread"} <= set(titles)
    assert {"onnxruntime int8, 1 thread", "onnxruntime int4, 1 thread"} <= set(titles)
    on_cuda = bench.arguments_of(["--tokenizer", "x", "--device", "cuda"])
    assert {runner.precision for runner in bench.runners_of(on_cuda, ["transformers"])} == {"bf16"}


def test_ratios_are_of_the_rounds_pairs(bench: Any, tasks: Any, work: Any) -> None:
    ours, peer, failed = (bench.Runner(name, "int8", 1) for name in ("dialogpt", "ctranslate2", "llama.cpp"))

    def took(*seconds: float) -> list[Any]:
        return [tasks.Measured(seconds=s, tokens=100, said=[1, 2, 3]) for s in seconds]

    beam = tasks.Work(**asdict(work) | {"task": "beam"})
    runs = {ours: took(1, 2, 10), peer: took(3, 4, 10), failed: [*took(1), tasks.Measured(error="failed: no")]}
    case = bench.Case("toy", GPTConfig(**work.shape), beam, runs)
    assert case.ratio(peer) == "2.00"  # of 3, 2 and 1
    assert (case.best("ctranslate2"), case.best("llama.cpp")) == (peer, None)
    rows = list(bench.table([case], 1e9))
    assert {row.count("|") for row in rows} == {10}
    assert "| failed: no |" in rows[-1]
    assert list(bench.summary([case], ["ctranslate2", "llama.cpp"], 1e9))[-1] == (
        "| toy | beam | 2 s | 2.00 (ctranslate2 int8, 1 thread) | - |"
    )


@pytest.mark.parametrize("precision", ["q8_0", "q4_1"])
def test_the_gguf_has_the_weights_of_the_checkpoint(work: Any, precision: str) -> None:
    gguf = pytest.importorskip("gguf")
    peers = importlib.import_module("decode_peers")
    peers.write_gguf(Path(work.model), precision)
    tensors = {tensor.name: tensor for tensor in gguf.GGUFReader(Path(work.model) / f"{precision}.gguf").tensors}
    assert len(tensors) == 12 * work.shape["n_layer"] + 4
    kinds = [tensors[name].tensor_type.name.lower() for name in ("blk.1.ffn_up.weight", "token_embd.weight")]
    assert kinds == [precision, "q8_0"]
    assert list(tensors["blk.1.ffn_up.weight"].shape) == [32, 128]  # written from the last dimension on


def test_names_of_a_gguf(bench: Any) -> None:
    name = importlib.import_module("decode_peers").gguf_name
    assert name("transformer.h.3.mlp.c_fc.bias") == "blk.3.ffn_up.bias"
    assert name("transformer.wpe.weight") == "position_embd.weight"


def test_a_peer_that_is_not_installed_is_left_out(
    bench: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    told = {name: [] if name == "transformers" else ["some_package"] for name in bench.PEERS}
    python = tmp_path / "python"
    python.write_text(f"#!/bin/sh\necho '{json.dumps(told)}'\n")
    python.chmod(0o755)
    pythons = dict.fromkeys(bench.PEERS, str(python))
    assert bench.installed(bench.PEERS, pythons) == ["transformers"]
    assert "llama.cpp is left out: no some_package" in capsys.readouterr().err
    with pytest.raises(bench.UsageError, match="/nowhere does not run"):
        bench.installed(["openvino"], {**pythons, "openvino": "/nowhere"})


@pytest.mark.parametrize(
    "engine, option, script",
    [("openvino", "--openvino-python", "decode_openvino.py"), ("onnxruntime", "--onnx-python", "decode_onnx.py")],
)
def test_each_peer_is_asked_in_its_own_environment(
    bench: Any, tmp_path: Path, engine: str, option: str, script: str
) -> None:
    python = tmp_path / "python"
    python.write_text(f'#!/bin/sh\ncase "$1" in *{script}) echo \'{{"{engine}": []}}\' ;; *) exit 1 ;; esac\n')
    python.chmod(0o755)
    arguments = bench.arguments_of(["--tokenizer", "x", option, str(python)])
    assert bench.installed([engine], bench.pythons_of(arguments)) == [engine]


@pytest.mark.parametrize(
    "engine, script, packages",
    [("openvino", "decode_openvino.py", ("optimum", "openvino")), ("onnxruntime", "decode_onnx.py", ("onnx",))],
)
def test_what_a_peer_lacks_is_told(engine: str, script: str, packages: tuple[str, ...]) -> None:
    command = [sys.executable, str(BENCH / script), "--missing"]
    told = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)[engine]
    absent = [name for name in packages if importlib.util.find_spec(name) is None]
    assert all(any(name.startswith(package) for name in told) for package in absent)


def test_a_cache_is_kept_from_turn_to_turn(tasks: Any) -> None:
    steps = importlib.import_module("decode_steps")
    size, end, top_k = 50, 49, tasks.TOP_K

    def scores(read: list[int]) -> np.ndarray:
        return np.random.default_rng(read).normal(size=size)

    class Fake(steps.Steps):  # type: ignore[misc]
        """An engine whose next token is told by all that was read."""

        end_id = end

        def reset(self, length: int) -> None:
            self.rows, self.length = [list[int]()], length

        def likeliest(self, rows: list[list[int]], past: int) -> tuple[np.ndarray, np.ndarray]:
            assert {len(row) for row in self.rows} == {past}
            self.rows = [row + new for row, new in zip(self.rows, rows, strict=True)]
            assert max(map(len, self.rows)) <= self.length
            logits = np.stack([scores(row) for row in self.rows])
            tokens = np.argsort(-logits)[:, : top_k + 1]
            return np.take_along_axis(logits, tokens, 1), tokens

        def best(self, tokens: list[int], past: int) -> int:
            return int(self._allowed([tokens], past)[1][0, 0])

        def spread(self, number: int) -> None:
            self.rows = self.rows * number

    def allowed(read: list[int]) -> list[int]:
        return [token for token in np.argsort(-scores(read)).tolist() if token != end][:top_k]

    fake, context = Fake(), list[int]()
    turns = [[3, 4, end], [5, end], [6, 7, 8, end]]
    for turn, reply in zip(turns, fake.converse(turns, 5), strict=True):
        context += turn
        for token in reply:
            assert token == allowed(context)[0]
            context.append(token)
    assert fake.reply(turns[0], 5, lambda: None) == fake.converse(turns[:1], 5)[0]
    drawn = fake.hypotheses(turns[0], 4, 6, seed=0)
    assert len(set(map(tuple, drawn))) > 1
    for row in drawn:
        assert all(token in allowed(turns[0] + row[:i]) for i, token in enumerate(row))


@pytest.mark.parametrize(
    "options, message",
    [
        (["--n-head", "5"], "--n-embd 768 is not a multiple of --n-head 5"),
        (["--repeats", "0"], "must be above 0"),
        (["--device", "tpu"], "invalid choice"),
    ],
)
def test_what_cannot_be_measured_is_said(
    bench: Any, options: list[str], message: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit):
        bench.arguments_of(["--tokenizer", "x", *options])
    assert message in capsys.readouterr().err


def test_a_run_that_takes_too_long_is_left_out(bench: Any, tasks: Any) -> None:
    job = tasks.Work(engine="dialogpt", task=tasks.BANDWIDTH)
    for left_s in (0.1, -1.0):
        assert bench.run(job, sys.executable, time.monotonic() + left_s).error == bench.TIME_IS_UP


@pytest.mark.parametrize("task", ["bandwidth", "beam"])
def test_no_cuda_is_a_sentence(bench: Any, work: Any, task: str, capsys: pytest.CaptureFixture[str]) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is CUDA")
    measured = bench.run(replace(work, task=task, device="cuda", precision="bf16"), sys.executable)
    assert measured.error.startswith("failed: --device cuda cannot be used")
    assert capsys.readouterr().err == ""


def test_a_failing_run_says_why(bench: Any, tasks: Any, work: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run(replace(work, model=os.devnull), sys.executable).error.startswith("failed: /dev/null ")
    assert capsys.readouterr().err == ""
    assert bench.run(replace(work, task="none"), sys.executable).error == "failed: KeyError: 'none'"
    assert "Traceback" in capsys.readouterr().err
    with pytest.raises(bench.UsageError, match="/nowhere does not run"):
        bench.run(tasks.Work(engine="transformers", task="beam"), "/nowhere")
