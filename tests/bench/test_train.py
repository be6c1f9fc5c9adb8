"""The benchmark of `train`: all runs have the same targets for the same sessions; FLOPs are those of a hand count."""

import importlib
import importlib.util
import itertools
import math
import os
import subprocess
import sys
import time
from collections import Counter
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest
import torch

from dialogpt.model import GPTConfig
from dialogpt.model.gpt import GPT
from dialogpt.session import Session, Turn
from dialogpt.tokens import TokenizeConfig
from dialogpt.tokens.batches import collate
from dialogpt.tokens.shards import TokenShards, tokenize
from dialogpt.train import TrainConfig
from dialogpt.train.loop import train

BENCHMARK = "train"
BENCH = Path(__file__).parents[2] / "bench"
TEXTS = [
    "does money buy happiness?",
    "صباح الخير، كيف حالك؟",
    "да",
    "幸せはお金で買えますか",
    "😀👍🏽 see you at 10:30",
    "no",
]


@pytest.fixture(scope="module")
def peers(bench: Any) -> Any:
    return importlib.import_module("train_peers")


@pytest.fixture(scope="module")
def ours(bench: Any) -> Any:
    return importlib.import_module("train_ours")


@pytest.fixture(scope="module")
def shards(tiny_tokenizer: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Some forty sessions of two to six turns, some without loss, and some held out."""
    folder = tmp_path_factory.mktemp("bench")
    tiny_tokenizer.save(folder)
    sessions = [
        Session(tuple(Turn(TEXTS[(i + j) % 6], learn=j != 2) for j in range(2 + i % 5)), id=f"chats/{i}")
        for i in range(60)
    ]
    (folder / "sessions.jsonl").write_bytes(b"\n".join(map(msgspec.json.encode, sessions)))
    out = folder / "shards"
    tokenize(TokenizeConfig(sessions=(folder / "sessions.jsonl",), out=out, tokenizer=str(folder), validation=0.3))
    return out


def work_of(peers: Any, shards: Path, **changes: Any) -> Any:
    shape = asdict(GPTConfig(vocab_size=360, n_ctx=256, n_layer=1, n_head=2, n_embd=16))
    given: dict[str, Any] = {"job": "best", "batch": 4, "warmup": 2, "steps": 5, "device": "cpu", "seed": 1}
    return peers.Work(shards=shards, folder=Path(), shape=shape, **given | changes)


def test_every_run_has_a_row(shards: Path) -> None:
    for name in ("transformers", "accelerate"):
        if importlib.util.find_spec(name) is None:
            pytest.skip(f"the Trainer peers need {name}")
    command = [sys.executable, str(BENCH / "train.py"), str(shards), "--n-layer", "1", "--n-head", "2", "--n-embd"]
    command += ["16", "--batch", "4", "--warmup", "1", "--steps", "2", "--repeats", "1"]
    one_thread = os.environ | {"OMP_NUM_THREADS": "1"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=one_thread)
    assert done.returncode == 0, done.stderr
    rows = [[cell.strip() for cell in line.split("|")[1:-1]] for line in done.stdout.splitlines() if line[:1] == "|"]
    details, summary = rows[2:6], rows[-1]
    assert [row[2] for row in details] == ["dialogpt", "Trainer, default", "Trainer, at its best", "nanoGPT style"]
    for row in details:
        assert row[:2] == ["1 x 16", "4"]
        tokens, targets = (float(cell.replace(",", "")) for cell in row[3:5])
        assert tokens > targets > 0
        assert 0 < float(row[6].rstrip("%")) <= 100
        assert 0 <= float(row[8].rstrip("%")) <= float(row[7].rstrip("%"))
        assert row[9].endswith(" MB")
        assert all(float(ratio) > 0 for ratio in row[10:13])
    assert summary[:3] == ["1 x 16", "4", details[0][3]]
    assert summary[-3:] == [row[10] for row in details[1:]]


def test_the_same_targets_for_the_same_sessions(peers: Any, ours: Any, shards: Path, tmp_path: Path) -> None:
    sessions = TokenShards(shards)
    rows = [peers.Row.of(sessions[i]) for i in range(len(sessions))]
    for i, row in enumerate(rows):
        assert row.target_count == collate([sessions[i]]).target_count
        assert len(row.tokens) == len(row.labels) == sessions.lengths[i]
        assert set(row.labels[row.labels != peers.IGNORE]) <= set(row.tokens)
    config = TrainConfig(
        shards=shards, out=tmp_path / "run", n_layer=1, n_head=2, n_embd=16, batch_tokens=120, micro_batch_tokens=120,
        log_every=1, device="cpu",
    )  # fmt: skip
    train(config)
    seen = [line["targets_seen"] for line in ours.logged(tmp_path / "run" / "metrics.jsonl") if "loss" in line]
    assert seen[-1] == sum(row.target_count for row in rows)
    found = ours.learned(config, seen)
    assert found[-1] == ours.Learned(sessions.lengths.sum(), len(sessions))
    assert all(learned.exact for learned in found)
    assert not ours.learned(config, [seen[-1] - 1])[0].exact


@pytest.mark.parametrize("grouped", [False, True])
def test_peers_learn_from_sessions_drawn_from_the_whole(peers: Any, shards: Path, grouped: bool) -> None:
    if grouped:
        pytest.importorskip("transformers")
    lengths = TokenShards(shards).lengths
    batches = len(lengths) // 4
    chosen = peers.choose(lengths, work_of(peers, shards, steps=batches, warmup=batches + 3), grouped)
    assert chosen.shape == (2 * batches + 3, 4)
    timed = Counter(chosen[-batches:].ravel().tolist())
    assert len(timed) == 4 * batches
    assert set(timed.values()) == {1}  # each session of the epoch's whole batches once
    widths = [np.ptp(lengths[members]) for members in chosen[-batches:]]
    assert bool(np.mean(widths) < 0.5 * np.ptp(lengths)) is grouped


def test_too_few_sessions_for_a_batch(peers: Any, shards: Path) -> None:
    with pytest.raises(peers.UsageError, match="fewer than a batch of 400"):
        peers.choose(TokenShards(shards).lengths, work_of(peers, shards, batch=400), False)


def test_updates_of_ours_have_as_many_tokens(bench: Any) -> None:
    lengths = np.random.default_rng(0).integers(10, 256, 5000)
    for device, batch in itertools.product(("cpu", "cuda"), (1, 8, 32, 100)):
        total, micro = bench.budget(lengths, batch, device)
        assert total % micro == 0
        assert micro < (9000 if device == "cuda" else 2500)
        tokens = lengths.sum() / len(bench.plan(lengths, micro, 0, 0)) * (total // micro)
        assert tokens == pytest.approx(batch * lengths.mean(), rel=0.35 if batch == 1 else 0.05)


def test_flops_by_hand(bench: Any) -> None:
    shape = GPTConfig(vocab_size=5, n_ctx=7, n_layer=1, n_head=1, n_embd=2)
    block = (2 * 6 + 6) + (2 * 2 + 2) + (2 * 8 + 8) + (8 * 2 + 2) + 2 * (2 + 2)
    assert bench.parameters(shape) == block + (2 + 2) + 5 * 2 == 88
    assert bench.flops_per_token(shape, attended=3) == 6 * 88 + 12 * 1 * 2 * 3
    assert bench.flops_per_token(shape, 3, output_share=0.5) == 6 * (88 - 5) + 12 * 1 * 2 * 3
    assert bench.mean_attended(np.array([1, 3], dtype=np.int32)) == (1 + (1 + 2 + 3)) / 4


@pytest.mark.parametrize("shape", [GPTConfig(n_layer=2, n_embd=24, n_head=2, vocab_size=91, n_ctx=33)])
def test_parameters_are_the_models(bench: Any, peers: Any, shape: GPTConfig) -> None:
    model = GPT(shape)
    assert bench.parameters(shape) == model.parameter_count - model.transformer.wpe.weight.numel()
    theirs = peers._nanogpt_model(shape)
    padding = (128 - 91) * 24
    assert sum(p.numel() for p in theirs.parameters()) - padding == model.parameter_count


def test_a_run_that_does_not_fit_is_a_row(bench: Any, peers: Any, shards: Path) -> None:
    fast, slow = (peers.Measured(seconds=s, cpu_s=s, tokens=100, targets=50, updates=1, filled=0.5) for s in (1.0, 2.0))
    full = peers.Measured(error="out of memory")
    runs = {"dialogpt": [fast, fast], "trainer": [slow, full], "nanogpt": [full]}
    cases = [
        bench.Case("big", work_of(peers, shards), fast, runs),
        bench.Case("too big", work_of(peers, shards), full, {job: [full] for job in runs}),
    ]
    detail, overview = list(bench.table(cases, 10.0, fast)), list(bench.summary(cases, 10.0, fast))
    assert {line.count("|") for line in detail} == {14}
    assert {line.count("|") for line in overview} == {8}
    assert [line.count("out of memory") for line in detail] == [0, 0, 0, 1, 1, 1, 1, 1]
    assert overview[2].startswith("| big | 4 | 100 |")
    assert overview[3].count("out of memory") == 3


def test_without_accelerate_one_sentence(bench: Any, peers: Any, shards: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(peers.importlib.util, "find_spec", lambda name: None)
    monkeypatch.setattr(sys, "argv", ["train.py", str(shards)])
    with pytest.raises(SystemExit) as stopped:
        bench.main()
    assert str(stopped.value) == (
        "error: the Trainer peers need transformers and accelerate (pip install transformers accelerate)"
    )


@pytest.mark.parametrize(
    "options, message",
    [
        (["--n-ctx", "20"], "sessions of up to 71 tokens, n_ctx is 20"),
        (["--n-head", "3"], "--n-embd 256 is not a multiple of --n-head 3"),
        (["--steps", "3", "--batch", "0"], "must be above 0"),
        (["--device", "tpu"], "invalid choice"),
    ],
)
def test_what_cannot_be_measured_is_said(
    bench: Any, peers: Any, shards: Path, options: list[str], message: str, monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:  # fmt: skip
    monkeypatch.setattr(bench, "run", lambda *_: peers.Measured(seconds=1.0, tokens=1.0))
    monkeypatch.setattr(sys, "argv", ["train.py", str(shards), "--peers", "nanogpt", *options])
    with pytest.raises(SystemExit) as stopped:
        bench.main()
    assert message in f"{stopped.value} {capsys.readouterr().err}"


def test_no_cuda_is_a_sentence(bench: Any, peers: Any, shards: Path) -> None:
    if torch.cuda.is_available():
        pytest.skip("there is CUDA")
    measured = bench.run(work_of(peers, shards, job="product", device="cuda"))
    assert measured.error.startswith("failed: --device cuda cannot be used")


def test_a_run_that_takes_too_long_is_left_out(
    bench: Any, peers: Any, shards: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One under way is stopped, a later one is not begun, and the rounds before stand."""
    product = work_of(peers, shards, job="product")
    for left_s in (0.1, -1.0):
        assert bench.run(product, time.monotonic() + left_s).error == bench.TIME_IS_UP
    told = iter([peers.Measured(seconds=1.0, tokens=2.0)] * 3 + [peers.Measured(error=bench.TIME_IS_UP)] * 2)
    monkeypatch.setattr(bench, "run", lambda work, until: next(told))
    case = bench.Case("117M", product, peers.Measured(), {"dialogpt": [], "best": []})
    case.measure(3, math.inf)
    assert [len(measured) for measured in case.runs.values()] == [2, 1]
    assert case.ratio("best", bench.token_rate) == "1.00"
    assert not case.error("best")


def test_a_failing_run_says_why(bench: Any, peers: Any, shards: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert bench.run(work_of(peers, shards, job="none")).error == "failed: KeyError: 'none'"
    assert "Traceback" in capsys.readouterr().err
