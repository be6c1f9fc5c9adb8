"""The objective, by hand: nats of every turn but the first, end tokens included, and no more."""

import math
from collections.abc import Callable

import numpy as np
import pytest
import torch

from dialogpt.model import loss
from dialogpt.model.gpt import GPT
from dialogpt.model.loss import nats
from dialogpt.tokens.batches import IGNORE, collate
from dialogpt.tokens.bpe import Tokenizer
from dialogpt.tokens.shards import TokenSession


def session(*turns: list[int], learn: tuple[bool, ...]) -> TokenSession:
    return TokenSession(tuple(np.array(turn, dtype=np.uint16) for turn in turns), learn)


def by_hand(model: GPT, row: list[int], learned: range) -> float:
    """-sum of log p(row[i] | row[:i]) over the given places, one forward pass each."""
    with torch.inference_mode():
        return -sum(float(model(torch.tensor([row[:i]]))[0, -1].log_softmax(-1)[row[i]]) for i in learned)


def test_nats_are_those_of_the_later_turns(tiny_model: tuple[GPT, Tokenizer]) -> None:
    batch = collate([session([5, 6, 0], [7, 8, 9, 0], [10, 0], learn=(True, True, True))])
    assert batch.target_count == 6  # 7 8 9 end, 10 end
    with torch.inference_mode():
        total = float(nats(tiny_model[0], torch.tensor(batch.tokens), torch.tensor(batch.targets)))
    assert math.isclose(total, by_hand(tiny_model[0], [5, 6, 0, 7, 8, 9, 0, 10, 0], range(3, 9)), rel_tol=1e-5)


def test_turns_that_are_not_to_be_learned_carry_none(tiny_model: tuple[GPT, Tokenizer]) -> None:
    batch = collate([session([5, 0], [7, 8, 0], [10, 0], learn=(True, False, True))])
    assert batch.target_count == 2
    with torch.inference_mode():
        total = float(nats(tiny_model[0], torch.tensor(batch.tokens), torch.tensor(batch.targets)))
    assert math.isclose(total, by_hand(tiny_model[0], [5, 0, 7, 8, 0, 10, 0], range(5, 7)), rel_tol=1e-5)


def test_padding_changes_nothing(tiny_model: tuple[GPT, Tokenizer]) -> None:
    one = session([5, 0], [7, 8, 0], learn=(True, True))
    two = session([5, 6, 7, 8, 9, 0], [7, 8, 9, 10, 11, 12, 0], learn=(True, True))
    with torch.inference_mode():
        totals = []
        for members in ([one], [two], [one, two]):
            batch = collate(members)
            totals.append(float(nats(tiny_model[0], torch.tensor(batch.tokens), torch.tensor(batch.targets))))
    assert math.isclose(totals[0] + totals[1], totals[2], rel_tol=1e-5)
    assert (collate([one, two]).targets[0, 4:] == IGNORE).all()


@pytest.mark.parametrize(("rows", "in_cache"), [(512, 16), (4, 3), (1, 1)])
def test_gradients_are_those_of_the_loss_on_all_logits(
    make_model: Callable[..., GPT], monkeypatch: pytest.MonkeyPatch, rows: int, in_cache: int
) -> None:
    """Leaving out the positions without a target changes no gradient, nor does taking some rows at a time."""
    monkeypatch.setattr(loss, "ROWS", rows)
    monkeypatch.setattr(loss, "ROWS_IN_CACHE", in_cache)
    batch = collate([session([5, 6, 0], [7, 8, 9, 0], learn=(True, True)), session([5, 0], [9, 0], learn=(True, True))])
    tokens, targets = torch.from_numpy(batch.tokens), torch.from_numpy(batch.targets)
    ours, plain = make_model(4), make_model(4)
    (nats(ours, tokens, targets) / 3).backward()
    logits = plain(tokens).flatten(0, 1)
    total = torch.nn.functional.cross_entropy(logits, targets.flatten(), ignore_index=IGNORE, reduction="sum")
    (total / 3).backward()
    for mine, its in zip(ours.parameters(), plain.parameters(), strict=True):
        assert mine.grad is not None
        torch.testing.assert_close(mine.grad, its.grad, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("vocabulary", [63, 64, 65])
def test_logits_in_aligned_rows_are_the_logits(vocabulary: int) -> None:
    """What is added to reach a multiple of 64 is in no result and in no gradient."""
    generator = torch.Generator().manual_seed(0)
    hidden, weight = (torch.randn(size, 8, generator=generator, requires_grad=True) for size in (5, vocabulary))
    logits = loss.aligned_logits(hidden, weight)
    assert logits.stride() == (-(-vocabulary // 64) * 64, 1)
    torch.testing.assert_close(logits, hidden @ weight.T)
    answers = torch.tensor([0, 1, vocabulary - 1, 3, 62])
    found = torch.autograd.grad(torch.nn.functional.cross_entropy(logits, answers), (hidden, weight))
    expected = torch.autograd.grad(torch.nn.functional.cross_entropy(hidden @ weight.T, answers), (hidden, weight))
    torch.testing.assert_close(found, expected)


def test_nothing_to_learn_is_no_loss(tiny_model: tuple[GPT, Tokenizer]) -> None:
    batch = collate([session([5, 0], [7, 8, 0], learn=(True, False))])
    with torch.inference_mode():
        total = float(nats(tiny_model[0], torch.tensor(batch.tokens), torch.tensor(batch.targets)))
    assert (total, batch.target_count) == (0.0, 0)


def test_the_backward_model_learns_the_turns_last_to_first(tiny_model: tuple[GPT, Tokenizer]) -> None:
    batch = collate([session([5, 6, 0], [7, 0], [10, 11, 0], learn=(True, True, False))], reverse=True)
    assert batch.target_count == 5  # 7 end, 5 6 end; the words inside a turn keep their order
    with torch.inference_mode():
        total = float(nats(tiny_model[0], torch.tensor(batch.tokens), torch.tensor(batch.targets)))
    assert math.isclose(total, by_hand(tiny_model[0], [10, 11, 0, 7, 0, 5, 6, 0], range(3, 8)), rel_tol=1e-5)
