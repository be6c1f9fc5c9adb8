"""The network against `transformers`, and against itself: cached, padded, shared."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch._dynamo.testing import CompileCounter
from torch.nn.functional import pad
from transformers import GPT2Config, GPT2LMHeadModel

from dialogpt import GPT, GPTConfig, Tokenizer
from dialogpt.artifact import make_manifest
from dialogpt.model import SIZES, checkpoint
from dialogpt.model.cache import KVCache
from dialogpt.model.gpt import MLP

SHAPES: list[dict[str, Any]] = [
    {},
    {"n_layer": 1, "n_head": 1, "n_embd": 8, "n_ctx": 16},
    {"n_layer": 3, "n_head": 4, "n_embd": 64, "n_ctx": 33},
    {"n_layer": 2, "n_head": 8, "n_embd": 8},  # heads of one dimension
    {"n_layer": 5, "n_head": 3, "n_embd": 24, "layer_norm_eps": 1e-3},
    {"n_layer": 2, "n_head": 2, "n_embd": 48, "vocab_size": 1000},
]
Make = Callable[..., GPT]


def random_tokens(model: GPT, *shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randint(model.config.vocab_size, shape, generator=torch.Generator().manual_seed(seed))


@pytest.mark.parametrize("seed, shape", enumerate(SHAPES))
def test_logits_equal_transformers_which_opens_our_folder(
    make_model: Make, tiny_tokenizer: Tokenizer, tmp_path: Path, seed: int, shape: dict[str, Any]
) -> None:
    ours = make_model(seed, **shape)
    checkpoint.save(ours, tiny_tokenizer, tmp_path / "model", make_manifest("checkpoint"))
    theirs = GPT2LMHeadModel.from_pretrained(tmp_path / "model")
    tokens = random_tokens(ours, 3, ours.config.n_ctx)
    with torch.no_grad():
        torch.testing.assert_close(ours(tokens), theirs(tokens).logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("seed, shape", enumerate(SHAPES))
def test_logits_equal_transformers_whose_folder_we_open(
    tiny_tokenizer: Tokenizer, tmp_path: Path, seed: int, shape: dict[str, Any]
) -> None:
    config = {"vocab_size": 400, "n_ctx": 64, "n_layer": 2, "n_head": 2, "n_embd": 32, **shape}
    theirs = GPT2LMHeadModel(
        GPT2Config(
            n_positions=config.pop("n_ctx"), layer_norm_epsilon=config.pop("layer_norm_eps", 1e-5), **config,
            bos_token_id=0, eos_token_id=0,
        )
    ).eval()  # fmt: skip
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in theirs.parameters():
            parameter.normal_(std=0.2, generator=generator)
    theirs.save_pretrained(tmp_path)
    tiny_tokenizer.save(tmp_path)
    ours, _ = checkpoint.load(tmp_path)
    tokens = random_tokens(ours, 3, ours.config.n_ctx)
    with torch.no_grad():
        torch.testing.assert_close(ours(tokens), theirs(tokens).logits, atol=1e-5, rtol=0)


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(1, 31), max_size=31, unique=True), seed=st.integers(0, 3))
def test_cached_equals_uncached_in_any_split(make_model: Make, cuts: list[int], seed: int) -> None:
    model = make_model(seed)
    tokens = random_tokens(model, 2, 32, seed=seed)
    with torch.no_grad():
        cache = KVCache.empty(model.config, 2, 32, model.transformer.wte.weight)
        parts = [model(part, cache) for part in torch.tensor_split(tokens, sorted(cuts), dim=1)]
        torch.testing.assert_close(torch.cat(parts, dim=1), model(tokens), atol=1e-5, rtol=0)
    assert cache.length == cache.capacity == 32


@settings(max_examples=15, deadline=None)
@given(lengths=st.lists(st.integers(1, 20), min_size=1, max_size=5), first=st.integers(1, 20), seed=st.integers(0, 3))
def test_a_left_padded_row_equals_the_row_alone(make_model: Make, lengths: list[int], first: int, seed: int) -> None:
    """The batch is read in two pieces, the first of which may be nothing but padding for a short row."""
    model = make_model(seed)
    longest = max(lengths)
    rows = [random_tokens(model, length, seed=i) for i, length in enumerate(lengths)]
    batch = torch.stack([pad(row, (longest - len(row), 0), value=7) for row in rows])
    with torch.no_grad():
        cache = KVCache.empty(
            model.config,
            len(rows),
            longest,
            model.transformer.wte.weight,
            [longest - length for length in lengths],
        )
        pieces = [model(piece, cache) for piece in (batch[:, :first], batch[:, first:]) if piece.shape[1]]
        logits = torch.cat(pieces, dim=1)
        for row, padded in zip(rows, logits, strict=True):
            alone = model(row[None])[0]
            torch.testing.assert_close(padded[longest - len(row) :], alone, atol=1e-5, rtol=0)


def test_what_comes_later_does_not_matter(make_model: Make) -> None:
    """Which is why padding on the right needs no mask."""
    model = make_model()
    row = random_tokens(model, 1, 9)
    with torch.no_grad():
        padded = model(pad(row, (0, 5), value=3))
        torch.testing.assert_close(padded[:, :9], model(row), atol=1e-5, rtol=0)


def test_a_cache_takes_rows_in_any_order_and_several_times(make_model: Make) -> None:
    model = make_model(2)
    contexts = [random_tokens(model, n, seed=n) for n in (5, 9, 7)]
    batch = torch.stack([pad(row, (9 - len(row), 0)) for row in contexts])
    rows = [2, 0, 0]
    follow = random_tokens(model, 3, 2, seed=5)
    with torch.inference_mode():
        cache = KVCache.empty(model.config, 3, 11, model.transformer.wte.weight, [4, 0, 2])
        model(batch, cache)
        cache.rearrange(rows)
        logits = model(follow, cache)
        for place, row in enumerate(rows):
            alone = model(torch.cat([contexts[row], follow[place]])[None])[0, -2:]
            torch.testing.assert_close(logits[place], alone, atol=1e-5, rtol=0)
    assert cache.length == 11


def test_more_tokens_than_n_ctx_are_an_error(make_model: Make) -> None:
    model = make_model()
    with torch.no_grad():
        cache = KVCache.empty(model.config, 1, 70, model.transformer.wte.weight)
        model(random_tokens(model, 1, 64), cache)
        with pytest.raises(ValueError, match="65 tokens do not fit into n_ctx 64"):
            model(random_tokens(model, 1, 1), cache)
        with pytest.raises(ValueError, match="65 tokens"):
            model(random_tokens(model, 1, 65))


@pytest.mark.parametrize("size, parameters", [("117M", 124_439_808), ("345M", 354_823_168), ("762M", 774_030_080)])
def test_the_papers_sizes_have_gpt2s_parameters(size: str, parameters: int) -> None:
    """OpenAI's 117M, 345M and 762M are in truth of 124, 355 and 774 million."""
    with torch.device("meta"):
        assert GPT(SIZES[size]).parameter_count == parameters


def test_heads_must_divide_the_width() -> None:
    with pytest.raises(ValueError, match="n_embd 10 is not a multiple of n_head 3"):
        GPTConfig(n_embd=10, n_head=3)


def test_gelu_is_the_tanh_form() -> None:
    """With weights that pass one number through, the feed-forward part is the activation itself."""
    mlp = MLP(GPTConfig(n_embd=1, n_head=1)).eval()
    with torch.no_grad():
        mlp.c_fc.weight.copy_(torch.tensor([[1.0], [0], [0], [0]]))
        mlp.c_proj.weight.copy_(torch.tensor([[1.0, 0, 0, 0]]))
        mlp.c_fc.bias.zero_()
        mlp.c_proj.bias.zero_()
        x = torch.linspace(-5, 5, 201)
        y = mlp(x[:, None])[:, 0]
    tanh_form = [0.5 * v * (1 + math.tanh(math.sqrt(2 / math.pi) * (v + 0.044715 * v**3))) for v in x.tolist()]
    erf_form = [0.5 * v * (1 + math.erf(v / math.sqrt(2))) for v in x.tolist()]
    assert max(abs(a - b) for a, b in zip(y.tolist(), tanh_form, strict=True)) < 1e-6
    assert max(abs(a - b) for a, b in zip(y.tolist(), erf_form, strict=True)) > 1e-4


def test_initial_weights() -> None:
    """N(0, 0.02); projections back into the residual stream smaller by sqrt(2 layers); biases zero, norms one."""
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=500, n_ctx=128, n_layer=8, n_head=4, n_embd=128))
    for name, parameter in model.named_parameters():
        if name.endswith("bias"):
            assert not parameter.any(), name
        elif ".ln_" in name:
            assert torch.equal(parameter, torch.ones_like(parameter)), name
        else:
            expected = 0.02 / 4 if name.endswith("c_proj.weight") else 0.02
            assert parameter.std().item() == pytest.approx(expected, rel=0.03), name
            assert abs(parameter.mean().item()) < expected * 0.03, name


def test_dropout_works_in_training_alone(make_model: Make) -> None:
    model = make_model(dropout=0.5)
    tokens = random_tokens(model, 1, 8)
    with torch.no_grad():
        assert torch.equal(model(tokens), model(tokens))
        model.train()
        assert not torch.equal(model(tokens), model(tokens))


def test_batches_of_all_shapes_are_one_compiled_graph(make_model: Callable[..., GPT]) -> None:
    """Nothing breaks the graph, and a new shape is no reason to compile again: `train` on a GPU relies on it."""
    model, counter = make_model(2), CompileCounter()
    run = torch.compile(model, backend=counter, fullgraph=True, dynamic=True)
    for rows, length in ((3, 8), (5, 13), (2, 64), (7, 4)):
        tokens = torch.randint(1, 300, (rows, length), generator=torch.Generator().manual_seed(rows))
        torch.testing.assert_close(run(tokens), model(tokens))
    assert counter.frame_count == 1
    torch.compiler.reset()
