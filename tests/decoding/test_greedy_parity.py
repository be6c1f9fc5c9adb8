"""Greedy decoding against `transformers.generate`, token for token."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch
from transformers import GenerationConfig, GPT2LMHeadModel

from dialogpt import GPT, Tokenizer
from dialogpt.artifact import make_manifest
from dialogpt.decoding import DecodingConfig
from dialogpt.decoding.hypotheses import make
from dialogpt.model import checkpoint
from dialogpt.model.engine import TorchEngine

SHAPES: list[dict[str, Any]] = [
    {"end_logit": 2.0},
    {"n_layer": 3, "n_head": 4, "n_embd": 48, "end_logit": 2.5},
    {"n_layer": 1, "n_head": 1, "n_embd": 16, "end_logit": 0.5},
]


@pytest.fixture(scope="module", params=range(len(SHAPES)))
def pair(
    request: pytest.FixtureRequest, make_model: Callable[..., GPT], tiny_tokenizer: Tokenizer,
    tmp_path_factory: pytest.TempPathFactory,
) -> tuple[GPT, Any]:  # fmt: skip
    """A random model, ours and theirs."""
    model = make_model(request.param, **SHAPES[request.param])
    folder: Path = tmp_path_factory.mktemp("pair") / "model"
    checkpoint.save(model, tiny_tokenizer, folder, make_manifest("checkpoint"))
    return model, GPT2LMHeadModel.from_pretrained(folder)


def random_contexts(model: GPT, lengths: Sequence[int], end_id: int) -> list[list[int]]:
    generator = torch.Generator().manual_seed(sum(lengths))
    rows = [torch.randint(1, model.config.vocab_size, (n - 1,), generator=generator).tolist() for n in lengths]
    return [[*row, end_id] for row in rows]


def theirs(model: Any, contexts: Sequence[Sequence[int]], end_id: int, **settings: Any) -> list[list[int]]:
    """Their replies, each up to its end token; rows are padded on the left."""
    width = max(map(len, contexts))
    ids = torch.tensor([[end_id] * (width - len(context)) + list(context) for context in contexts])
    mask = torch.tensor([[0] * (width - len(context)) + [1] * len(context) for context in contexts])
    greedy = GenerationConfig(
        **{"do_sample": False, "eos_token_id": end_id, "pad_token_id": end_id, "no_repeat_ngram_size": 0, **settings}
    )
    out = model.generate(ids, attention_mask=mask, generation_config=greedy)[:, width:].tolist()
    return [row[: row.index(end_id) + 1] if end_id in row else row for row in out]


def ours(model: GPT, tokenizer: Tokenizer, contexts: Sequence[Sequence[int]], **settings: Any) -> list[list[int]]:
    config = DecodingConfig(**{"temperature": 0, "no_repeat_ngram": 0, "min_new_tokens": 0, **settings})
    made = make(TorchEngine(model), tokenizer, contexts, config, [[0]] * len(contexts))
    return [list(hypothesis.tokens) for (hypothesis,) in made]


@pytest.mark.parametrize("lengths", [[1], [12], [3, 17, 1, 8], [5] * 3])
@pytest.mark.parametrize("shortest", [0, 6])
def test_greedy_replies_to_batches_of_unequal_contexts(
    pair: tuple[GPT, Any], tiny_tokenizer: Tokenizer, lengths: list[int], shortest: int
) -> None:
    end = tiny_tokenizer.end_id
    contexts = random_contexts(pair[0], lengths, end)
    expected = theirs(pair[1], contexts, end, max_new_tokens=24, min_new_tokens=shortest)
    assert ours(pair[0], tiny_tokenizer, contexts, max_new_tokens=24, min_new_tokens=shortest) == expected
    alone = [theirs(pair[1], [c], end, max_new_tokens=24, min_new_tokens=shortest)[0] for c in contexts]
    assert expected == alone
    assert all(len(reply) > shortest for reply in expected)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_no_repeat_ngram(pair: tuple[GPT, Any], tiny_tokenizer: Tokenizer, n: int) -> None:
    """Theirs counts the context's n-grams too; with a context of one end token, which no reply holds, both agree."""
    end = tiny_tokenizer.end_id
    settings = {"max_new_tokens": 30, "min_new_tokens": 30}
    expected = theirs(pair[1], [[end]], end, no_repeat_ngram_size=n, **settings)
    assert ours(pair[0], tiny_tokenizer, [[end]], no_repeat_ngram=n, **settings) == expected
    assert ours(pair[0], tiny_tokenizer, [[end]], no_repeat_context=n, **settings) == expected
    assert expected != theirs(pair[1], [[end]], end, **settings)


@pytest.mark.parametrize("n", [1, 2, 3])
def test_no_repeat_context_is_their_no_repeat_ngram(pair: tuple[GPT, Any], tiny_tokenizer: Tokenizer, n: int) -> None:
    end = tiny_tokenizer.end_id
    settings = {"max_new_tokens": 30, "min_new_tokens": 30}
    said = theirs(pair[1], [[7, end]], end, **settings)[0]
    context = [7, end, *said[:12], end]  # a context that the reply would repeat
    expected = theirs(pair[1], [context], end, no_repeat_ngram_size=n, **settings)
    assert ours(pair[0], tiny_tokenizer, [context], no_repeat_context=n, **settings) == expected
