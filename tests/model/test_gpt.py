"""The network against transformers' GPT-2, and against itself: cached, padded, shared."""

import pytest
import torch
from transformers import GPT2LMHeadModel

from dialogpt.artifact import make_manifest
from dialogpt.model import SIZES, GPTConfig, checkpoint
from dialogpt.model.gpt import GPT, KVCache
from dialogpt.tokens.bpe import Tokenizer

SHAPES = [  # n_layer, n_head, n_embd, n_ctx
    (1, 1, 8, 16),
    (2, 4, 32, 64),
    (3, 2, 48, 33),
    (4, 8, 64, 128),
]


def random_model(vocab_size: int, shape: tuple[int, int, int, int], seed: int = 0) -> GPT:
    """Random weights everywhere, also in biases and norms, so that a wrong one shows."""
    torch.manual_seed(seed)
    n_layer, n_head, n_embd, n_ctx = shape
    model = GPT(GPTConfig(vocab_size=vocab_size, n_ctx=n_ctx, n_layer=n_layer, n_head=n_head, n_embd=n_embd))
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.normal_(std=0.1)
    return model.eval()


@pytest.mark.parametrize("shape", SHAPES)
def test_logits_equal_transformers(shape: tuple[int, int, int, int], tiny_tokenizer: Tokenizer, tmp_path) -> None:
    model = random_model(tiny_tokenizer.vocab_size, shape)
    checkpoint.save(model, tiny_tokenizer, tmp_path / "m", make_manifest("checkpoint"))
    theirs = GPT2LMHeadModel.from_pretrained(tmp_path / "m").eval()
    tokens = torch.randint(tiny_tokenizer.vocab_size, (3, shape[3]))
    with torch.inference_mode():
        torch.testing.assert_close(model(tokens), theirs(tokens).logits, atol=1e-5, rtol=0)


@pytest.mark.parametrize("name, millions", [("117M", 124.4), ("345M", 354.8), ("762M", 774.0)])
def test_the_papers_sizes(name: str, millions: float) -> None:
    with torch.device("meta"):
        assert round(GPT(SIZES[name]).parameter_count / 1e6, 1) == millions


@pytest.mark.parametrize("cuts", [(1,), (7,), (1, 2, 3, 4, 5), (3, 10), tuple(range(1, 16))])
def test_cached_equals_uncached(cuts: tuple[int, ...], tiny_tokenizer: Tokenizer) -> None:
    model = random_model(tiny_tokenizer.vocab_size, (2, 4, 32, 16))
    tokens = torch.randint(tiny_tokenizer.vocab_size, (2, 16))
    with torch.inference_mode():
        cache = KVCache.empty(model, 2, 16)
        parts = [model(part, cache) for part in torch.tensor_split(tokens, cuts, dim=1)]
        torch.testing.assert_close(torch.cat(parts, 1), model(tokens), atol=1e-5, rtol=0)
    assert cache.length == cache.capacity == 16


def test_left_padded_rows_equal_rows_alone(tiny_tokenizer: Tokenizer) -> None:
    model = random_model(tiny_tokenizer.vocab_size, (2, 4, 32, 24))
    lengths = [12, 1, 7]
    tokens = torch.randint(tiny_tokenizer.vocab_size, (3, 12))
    more = torch.randint(tiny_tokenizer.vocab_size, (3, 4))
    with torch.inference_mode():
        cache = KVCache.empty(model, 3, 16, torch.tensor([12 - n for n in lengths]))
        prefilled = model(tokens, cache)
        decoded = torch.cat([model(more[:, i : i + 1], cache) for i in range(4)], 1)
        for row, length in enumerate(lengths):
            alone = model(torch.cat([tokens[row : row + 1, 12 - length :], more[row : row + 1]], 1))
            torch.testing.assert_close(prefilled[row, 12 - length :], alone[0, :length], atol=1e-5, rtol=0)
            torch.testing.assert_close(decoded[row], alone[0, length:], atol=1e-5, rtol=0)


def test_a_selected_cache_continues_like_its_rows(tiny_tokenizer: Tokenizer) -> None:
    model = random_model(tiny_tokenizer.vocab_size, (2, 2, 16, 16))
    tokens = torch.randint(tiny_tokenizer.vocab_size, (3, 8))
    rows = torch.tensor([2, 2, 0])
    with torch.inference_mode():
        cache = KVCache.empty(model, 3, 9, torch.tensor([0, 3, 5]))
        model(tokens, cache)
        chosen = cache.select(rows)
        following = torch.tensor([[1], [2], [3]])
        picked = model(following, chosen)
        for place, row in enumerate(rows.tolist()):
            alone = torch.cat([tokens[row, [0, 3, 5][row] :], following[place]])
            torch.testing.assert_close(picked[place, -1], model(alone[None])[0, -1], atol=1e-5, rtol=0)


def test_what_comes_later_does_not_matter(tiny_tokenizer: Tokenizer) -> None:
    model = random_model(tiny_tokenizer.vocab_size, (2, 2, 16, 16))
    tokens = torch.randint(tiny_tokenizer.vocab_size, (1, 16))
    changed = tokens.clone()
    changed[0, 9:] = 0
    with torch.inference_mode():
        torch.testing.assert_close(model(tokens)[:, :9], model(changed)[:, :9], atol=1e-6, rtol=0)


def test_more_than_n_ctx_is_refused(tiny_tokenizer: Tokenizer) -> None:
    model = random_model(tiny_tokenizer.vocab_size, (1, 1, 8, 16))
    with pytest.raises(ValueError, match="17 tokens do not fit into n_ctx 16"):
        model(torch.zeros((1, 17), dtype=torch.long))


def test_initial_weights_are_those_of_gpt2() -> None:
    torch.manual_seed(0)
    model = GPT(GPTConfig(vocab_size=1000, n_ctx=128, n_layer=8, n_head=4, n_embd=128))
    state = model.state_dict()
    assert state["transformer.wte.weight"].std() == pytest.approx(0.02, rel=0.02)
    assert state["transformer.h.3.mlp.c_fc.weight"].std() == pytest.approx(0.02, rel=0.02)
    assert state["transformer.h.3.attn.c_proj.weight"].std() == pytest.approx(0.02 / 4, rel=0.05)  # sqrt(2 x 8 layers)
    assert state["transformer.h.3.mlp.c_proj.weight"].std() == pytest.approx(0.02 / 4, rel=0.05)
    assert (state["transformer.h.3.ln_1.weight"] == 1).all()
    assert not any(value.any() for name, value in state.items() if name.endswith("bias"))


def test_n_head_must_divide_n_embd() -> None:
    with pytest.raises(ValueError, match="n_embd 10 is no multiple of n_head 4"):
        GPTConfig(n_embd=10, n_head=4)
