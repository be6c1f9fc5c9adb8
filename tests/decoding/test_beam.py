"""Beam search against `transformers.generate`, token for token, all of the best."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GenerationConfig, GPT2LMHeadModel

from dialogpt import GPT, Tokenizer
from dialogpt.artifact import make_manifest
from dialogpt.decoding import DecodingConfig
from dialogpt.decoding.hypotheses import make, make_from
from dialogpt.model import checkpoint
from dialogpt.model.engine import TorchEngine

CONTEXTS = [[5, 6, 0], [7, 0], [*range(1, 30), 0], [9, 9, 9, 9, 0, 3, 0]]


@pytest.fixture(scope="module", params=[(0, 2.0), (1, 3.5)], ids=str)
def pair(
    request: pytest.FixtureRequest, make_model: Callable[..., GPT], tiny_tokenizer: Tokenizer,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[GPT, Any]:  # fmt: skip
    """A random model, ours and theirs."""
    seed, end_logit = request.param
    model = make_model(seed, end_logit=end_logit)
    folder: Path = tmp_path_factory.mktemp("pair") / "model"
    checkpoint.save(model, tiny_tokenizer, folder, make_manifest("checkpoint"))
    return model, GPT2LMHeadModel.from_pretrained(folder)


def theirs(
    model: Any, context: Sequence[int], end_id: int, width: int, **settings: Any
) -> list[tuple[list[int], float]]:
    """Their best replies, each up to its end token, with their scores."""
    beams = GenerationConfig(
        do_sample=False, num_beams=width, num_return_sequences=width, eos_token_id=end_id, pad_token_id=end_id,
        return_dict_in_generate=True, output_scores=True, **{"no_repeat_ngram_size": 0, **settings},
    )  # fmt: skip
    ids = torch.tensor([context])
    out = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=beams)
    rows = out.sequences[:, len(context) :].tolist()
    replies = [row[: row.index(end_id) + 1] if end_id in row else row for row in rows]
    return list(zip(replies, out.sequences_scores.tolist(), strict=True))


def ours(width: int, **settings: Any) -> DecodingConfig:
    return DecodingConfig(**{"num_beams": width, "no_repeat_ngram": 0, "min_new_tokens": 0, **settings})


@pytest.mark.parametrize("width", [2, 4, 10])
@pytest.mark.parametrize("penalty", [0.0, 1.0, 2.0, -1.0])
def test_the_best_replies_are_theirs(
    pair: tuple[GPT, Any], tiny_tokenizer: Tokenizer, width: int, penalty: float
) -> None:
    end = tiny_tokenizer.end_id
    config = ours(width, length_penalty=penalty, max_new_tokens=12)
    together = make(TorchEngine(pair[0]), tiny_tokenizer, CONTEXTS, config, [list(range(width))] * len(CONTEXTS))
    for context, made in zip(CONTEXTS, together, strict=True):
        expected = theirs(pair[1], context, end, width, max_new_tokens=12, length_penalty=penalty)
        assert [list(hypothesis.tokens) for hypothesis in made] == [tokens for tokens, _ in expected]
        for hypothesis, (_, score) in zip(made, expected, strict=True):
            assert hypothesis.logprob / len(hypothesis.tokens) ** penalty == pytest.approx(score, abs=1e-4)


@pytest.mark.parametrize(
    "changes", [{"min_new_tokens": 6}, {"no_repeat": 2}, {"min_new_tokens": 3, "no_repeat": 1}], ids=str
)
def test_shortest_lengths_and_repetitions(
    pair: tuple[GPT, Any], tiny_tokenizer: Tokenizer, changes: dict[str, int]
) -> None:
    shortest, n = changes.get("min_new_tokens", 0), changes.get("no_repeat", 0)
    config = ours(4, max_new_tokens=14, min_new_tokens=shortest, no_repeat_context=n)
    made = make(TorchEngine(pair[0]), tiny_tokenizer, CONTEXTS, config, [[0, 1, 2, 3]] * len(CONTEXTS))
    for context, found in zip(CONTEXTS, made, strict=True):
        expected = theirs(
            pair[1],
            context,
            tiny_tokenizer.end_id,
            4,
            max_new_tokens=14,
            min_new_tokens=shortest,
            no_repeat_ngram_size=n,
        )
        assert [list(hypothesis.tokens) for hypothesis in found] == [tokens for tokens, _ in expected]


@pytest.mark.parametrize("batch_size", [1, 10, 25])
def test_a_search_is_the_same_in_a_batch_alone_and_in_a_conversation(
    pair: tuple[GPT, Any], tiny_tokenizer: Tokenizer, batch_size: int
) -> None:
    engine, config = TorchEngine(pair[0]), ours(5, max_new_tokens=20)
    together = make(engine, tiny_tokenizer, CONTEXTS, config, [[0, 1, 2]] * len(CONTEXTS), batch_size)
    for context, made in zip(CONTEXTS, together, strict=True):
        alone, _ = make_from(engine, tiny_tokenizer, context, config, [0, 1, 2], None)
        assert [hypothesis.tokens for hypothesis in made] == [hypothesis.tokens for hypothesis in alone]
        assert len(made) == 3


def test_beams_are_likelier_than_greedy(tiny_model: tuple[GPT, Tokenizer]) -> None:
    engine = TorchEngine(tiny_model[0])
    wide, greedy = (
        make(engine, tiny_model[1], CONTEXTS, config, [[0]] * len(CONTEXTS))
        for config in (ours(10, length_penalty=0.0), DecodingConfig(temperature=0, no_repeat_ngram=0, min_new_tokens=0))
    )
    better = [b.logprob - g.logprob for (b,), (g,) in zip(wide, greedy, strict=True)]
    assert min(better) > -1e-4
    assert max(better) > 0.01
