"""The n-gram baselines: probabilities that sum to one, a hand-computed case, a run over shards."""

import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
import pytest

from dialogpt.session import Session, Turn
from dialogpt.tokens import TokenizeConfig
from dialogpt.tokens.shards import tokenize

BENCHMARK = "baselines"
SCRIPT = Path(__file__).parents[2] / "bench" / "baselines.py"


@pytest.mark.parametrize("context", [(0, 1), (4, 4), (6, 6)])
def test_probabilities_of_all_tokens_sum_to_one(bench: Any, context: tuple[int, int]) -> None:
    drawn = np.random.default_rng(0).integers(0, 5, (400, 3))  # 5 and 6 are never seen
    model = bench.Trigrams(drawn, 7)
    everything = np.array([[*context, token] for token in range(7)])
    found = model.probabilities(everything)
    assert (found > 0).all()
    assert found.sum() == pytest.approx(1)


def test_a_hand_computed_case(bench: Any) -> None:
    """Triples 001, 001, 002, 112 of 3 tokens.

    Three: 001 twice, 002 and 112 once: d = 2 / (2 + 2 * 1) = 1/2. Two, in kinds of places: 01, 02, 12 once each: d = 1.
    One: token 1 after one kind, 2 after two: d = 1 / (1 + 2 * 1) = 1/3.
    """
    model = bench.Trigrams(np.array([[0, 0, 1], [0, 0, 1], [0, 0, 2], [1, 1, 2]]), 3)
    assert (model.three.discount, model.two.discount, model.one.discount) == (1 / 2, 1, pytest.approx(1 / 3))
    one = (1 - 1 / 3) / 3 + 1 / 3 * 2 / 3 * 1 / 3  # of token 1
    two = 0 / 2 + 1 * 2 / 2 * one  # 1 after 0: everything goes to the lower order
    three = (2 - 1 / 2) / 3 + 1 / 2 * 2 / 3 * two  # 1 after 0 0
    assert model.probabilities(np.array([[0, 0, 1]]))[0] == pytest.approx(three)
    assert model.probabilities(np.array([[2, 2, 1]]))[0] == pytest.approx(one)  # neither context was seen


def test_targets_are_every_turn_but_the_first(bench: Any, tiny_tokenizer: Any, tmp_path: Path) -> None:
    tiny_tokenizer.save(tmp_path)
    sessions = [
        Session((Turn(f"hello {i}"), Turn(f"how are you {i}"), Turn("not learned", learn=False)), id=str(i))
        for i in range(40)
    ]
    (tmp_path / "sessions.jsonl").write_bytes(b"\n".join(map(msgspec.json.encode, sessions)))
    config = TokenizeConfig(
        sessions=(tmp_path / "sessions.jsonl",), out=tmp_path / "shards", tokenizer=str(tmp_path), validation=0.2
    )
    tokenize(config)
    held_out = bench.TokenShards(tmp_path / "shards" / "validation")
    triples, targets = bench.read(held_out, tiny_tokenizer.end_id)
    expected = [held_out[i].turns[1] for i in range(len(held_out))]
    assert triples[targets][:, 2].tolist() == np.concatenate(expected).tolist()
    done = subprocess.run(
        [sys.executable, str(SCRIPT), str(tmp_path / "shards")], capture_output=True, text=True, check=True
    )
    found = [float(number.replace(",", "")) for number in re.findall(r"perplexity ([\d.,]+)", done.stdout)]
    assert f"{int(targets.sum()):,} held-out targets" in done.stdout
    assert 1 < found[1] < found[0] < tiny_tokenizer.vocab_size
