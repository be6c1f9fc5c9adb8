"""Checkpoint folders: ours in `transformers`, theirs here, and the older forms found on the hub."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM, AutoTokenizer, GenerationConfig, GPT2Config, GPT2LMHeadModel

from dialogpt import GPT, Tokenizer
from dialogpt.artifact import make_manifest, read_manifest
from dialogpt.decoding import DecodingConfig
from dialogpt.decoding.hypotheses import make
from dialogpt.errors import CheckpointError, UsageError
from dialogpt.model import checkpoint
from dialogpt.model.engine import TorchEngine

TEXTS = ["Does money buy happiness?", "صباح الخير", "😀👍🏽", "お金で幸せは買えますか？"]
GREEDY = DecodingConfig(temperature=0, no_repeat_ngram=0, min_new_tokens=0, max_new_tokens=16)
Pair = tuple[GPT, Tokenizer]


def assert_same_model(a: GPT, b: GPT) -> None:
    assert a.config == b.config
    assert a.state_dict().keys() == b.state_dict().keys()
    for name, weight in a.state_dict().items():
        assert torch.equal(weight, b.state_dict()[name]), name


def our_replies(model: GPT, tokenizer: Tokenizer) -> list[list[int]]:
    contexts = [[*tokenizer.encode(text), tokenizer.end_id][-48:] for text in TEXTS]
    made = [group[0] for group in make(TorchEngine(model), tokenizer, contexts, GREEDY, [[0]] * len(TEXTS))]
    return [list(hypothesis.tokens) for hypothesis in made]


def their_replies(model: Any, tokenizer: Any) -> list[list[int]]:
    replies = []
    greedy = GenerationConfig(
        do_sample=False, max_new_tokens=16, no_repeat_ngram_size=0, eos_token_id=tokenizer.eos_token_id, pad_token_id=0
    )
    for text in TEXTS:
        ids = torch.tensor([[*tokenizer.encode(text), tokenizer.eos_token_id][-48:]])
        out = model.generate(ids, attention_mask=torch.ones_like(ids), generation_config=greedy)
        replies.append(out[0, ids.shape[1] :].tolist())
    return replies


def test_what_is_saved_loads_as_it_was(tiny_model: Pair, tiny_checkpoint: Path) -> None:
    model, tokenizer = checkpoint.load(tiny_checkpoint)
    assert_same_model(model, tiny_model[0])
    assert tokenizer.digest == tiny_model[1].digest
    assert not model.training
    manifest = read_manifest(tiny_checkpoint)
    assert manifest is not None
    assert manifest.kind == "checkpoint"


def test_transformers_auto_classes_continue_with_the_same_tokens(tiny_model: Pair, tiny_checkpoint: Path) -> None:
    theirs = AutoModelForCausalLM.from_pretrained(tiny_checkpoint)
    assert isinstance(theirs, GPT2LMHeadModel)
    assert theirs.lm_head.weight is theirs.transformer.wte.weight
    expected = their_replies(theirs, AutoTokenizer.from_pretrained(tiny_checkpoint))
    assert our_replies(*tiny_model) == expected
    assert len({tuple(reply) for reply in expected}) > 1  # the model does read its context


def test_we_continue_with_the_same_tokens_as_their_folder(tiny_checkpoint: Path, tmp_path: Path) -> None:
    theirs = AutoModelForCausalLM.from_pretrained(tiny_checkpoint)
    with torch.no_grad():
        theirs.transformer.h[0].mlp.c_fc.weight *= 1.5  # another model than the one that came in
    tokenizer = AutoTokenizer.from_pretrained(tiny_checkpoint)
    theirs.save_pretrained(tmp_path)
    tokenizer.save_pretrained(tmp_path)
    assert our_replies(*checkpoint.load(tmp_path)) == their_replies(theirs, tokenizer)


def test_transformers_is_told_to_decode_as_we_do(tiny_checkpoint: Path, tiny_tokenizer: Tokenizer) -> None:
    theirs, ours = GenerationConfig.from_pretrained(tiny_checkpoint), DecodingConfig()
    assert theirs.do_sample
    assert (theirs.temperature, theirs.top_k, theirs.top_p) == (ours.temperature, ours.top_k, ours.top_p)
    assert theirs.no_repeat_ngram_size == ours.no_repeat_ngram
    assert theirs.eos_token_id == theirs.bos_token_id == theirs.pad_token_id == tiny_tokenizer.end_id


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_folders(tiny_model: Pair, tmp_path: Path, dtype: torch.dtype) -> None:
    checkpoint.save(*tiny_model, tmp_path / "half", make_manifest("checkpoint"), dtype=dtype)
    assert {weight.dtype for weight in load_file(tmp_path / "half/model.safetensors").values()} == {dtype}
    loaded, _ = checkpoint.load(tmp_path / "half")
    for name, weight in tiny_model[0].state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight.to(dtype).float()), name


def old_weights(model: GPT, tiny_checkpoint: Path, *, prefix: bool, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """As in microsoft/DialoGPT-*: with the causal masks and the output layer, in transformers' (in, out) layout."""
    state = load_file(tiny_checkpoint / "model.safetensors")
    n = model.config.n_ctx
    for layer in range(model.config.n_layer):
        state[f"transformer.h.{layer}.attn.bias"] = torch.ones(n, n, dtype=torch.uint8).tril()[None, None]
        state[f"transformer.h.{layer}.attn.masked_bias"] = torch.tensor(-1e4)
    state = {name: w.to(dtype) if w.is_floating_point() else w for name, w in state.items()}
    if not prefix:
        return {name.removeprefix("transformer."): weight for name, weight in state.items()}
    return {**state, "lm_head.weight": state["transformer.wte.weight"]}


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize("prefix", [True, False], ids=["transformer.", "bare"])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float16])
def test_old_pytorch_model_bin_folders(
    tiny_model: Pair, tiny_checkpoint: Path, tmp_path: Path, zipped: bool, prefix: bool, dtype: torch.dtype
) -> None:
    state = old_weights(tiny_model[0], tiny_checkpoint, prefix=prefix, dtype=dtype)
    torch.save(state, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=zipped)
    for name in ("config.json", "tokenizer.json"):
        shutil.copy(tiny_checkpoint / name, tmp_path)
    loaded, _ = checkpoint.load(tmp_path)
    for name, weight in tiny_model[0].state_dict().items():
        assert torch.equal(loaded.state_dict()[name], weight.to(dtype).float()), name


def test_a_dialogpt_folder_as_on_the_hub(tiny_checkpoint: Path, tiny_model: Pair, tmp_path: Path) -> None:
    """vocab.json and merges.txt alone, and a config.json as microsoft/DialoGPT-small has it (n_ctx, no type)."""
    tokenizer = json.loads((tiny_checkpoint / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(tokenizer["vocab"]), encoding="utf-8")
    merges = [m if isinstance(m, str) else " ".join(m) for m in tokenizer["merges"]]
    (tmp_path / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    shape = tiny_model[0].config
    config = {
        "activation_function": "gelu_new", "architectures": ["GPT2LMHeadModel"], "attn_pdrop": 0.1,
        "bos_token_id": 0, "embd_pdrop": 0.1, "eos_token_id": 0, "initializer_range": 0.02,
        "layer_norm_epsilon": 1e-05, "model_type": "gpt2", "n_ctx": shape.n_ctx, "n_embd": shape.n_embd,
        "n_head": shape.n_head, "n_layer": shape.n_layer, "n_positions": shape.n_ctx, "resid_pdrop": 0.1,
        "summary_activation": None, "task_specific_params": {"conversational": {"max_length": 1000}},
        "vocab_size": shape.vocab_size,
    }  # fmt: skip
    (tmp_path / "config.json").write_text(json.dumps(config), encoding="utf-8")
    state = old_weights(tiny_model[0], tiny_checkpoint, prefix=True, dtype=torch.float32)
    torch.save(state, tmp_path / "pytorch_model.bin", _use_new_zipfile_serialization=False)
    model, ours = checkpoint.load(tmp_path)
    assert_same_model(model, tiny_model[0])
    assert ours.digest == tiny_model[1].digest
    assert our_replies(model, ours) == our_replies(*tiny_model)


def test_a_vocabulary_smaller_than_the_models_is_fine(
    make_model: Callable[..., GPT], tiny_tokenizer: Tokenizer, tmp_path: Path
) -> None:
    """Models are padded to round vocabulary sizes."""
    model = make_model(vocab_size=384)
    checkpoint.save(model, tiny_tokenizer, tmp_path / "padded", make_manifest("checkpoint"))
    assert_same_model(checkpoint.load(tmp_path / "padded")[0], model)


def test_a_run_folder_stands_for_its_best_checkpoint(tiny_checkpoint: Path, tiny_model: Pair, tmp_path: Path) -> None:
    shutil.copytree(tiny_checkpoint, tmp_path / "run" / "best")
    assert_same_model(checkpoint.load(tmp_path / "run")[0], tiny_model[0])


def test_weights_in_several_files(tiny_checkpoint: Path, tmp_path: Path) -> None:
    theirs = AutoModelForCausalLM.from_pretrained(tiny_checkpoint)
    theirs.save_pretrained(tmp_path, max_shard_size="40KB")
    AutoTokenizer.from_pretrained(tiny_checkpoint).save_pretrained(tmp_path)
    parts = sorted(tmp_path.glob("model-*.safetensors"))
    assert len(parts) > 1
    assert_same_model(checkpoint.load(tmp_path)[0], checkpoint.load(tiny_checkpoint)[0])
    parts[0].unlink()
    with pytest.raises(CheckpointError, match=f"holds no {parts[0].name}"):
        checkpoint.load(tmp_path)
    (tmp_path / "model.safetensors.index.json").write_text("{}")
    with pytest.raises(CheckpointError, match="weight_map"):
        checkpoint.load(tmp_path)


def test_a_hub_name_opens_from_the_cache_without_network(
    tiny_checkpoint: Path, tiny_model: Pair, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import huggingface_hub.constants

    repository = tmp_path / "models--someone--DialoGPT-tiny"
    shutil.copytree(tiny_checkpoint, repository / "snapshots" / ("a" * 40))
    (repository / "refs").mkdir()
    (repository / "refs/main").write_text("a" * 40)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_OFFLINE", True)
    monkeypatch.setattr(huggingface_hub.constants, "HF_HUB_CACHE", str(tmp_path))
    assert_same_model(checkpoint.load("someone/DialoGPT-tiny")[0], tiny_model[0])


def test_saving_replaces_a_checkpoint_and_nothing_else(tiny_model: Pair, tmp_path: Path) -> None:
    folder = tmp_path / "model"
    for _ in range(2):
        checkpoint.save(*tiny_model, folder, make_manifest("checkpoint"))
    assert [path.name for path in tmp_path.iterdir()] == ["model"]
    diary = tmp_path / "diary"
    diary.mkdir()
    (diary / "monday.txt").write_text("dear diary")
    with pytest.raises(UsageError, match="not a folder that dialogpt wrote"):
        checkpoint.save(*tiny_model, diary, make_manifest("checkpoint"))
    assert [path.name for path in diary.iterdir()] == ["monday.txt"]


@pytest.mark.parametrize("epsilon, dropout", [(1e-5, 0.1), (1e-3, 0.0)])
def test_the_configuration_survives(
    make_model: Callable[..., GPT], tiny_tokenizer: Tokenizer, tmp_path: Path, epsilon: float, dropout: float
) -> None:
    model = make_model(n_layer=3, n_head=4, n_ctx=32, layer_norm_eps=epsilon, dropout=dropout)
    checkpoint.save(model, tiny_tokenizer, tmp_path / "m", make_manifest("checkpoint"))
    assert checkpoint.load(tmp_path / "m")[0].config == model.config
    theirs = GPT2Config.from_pretrained(tmp_path / "m")
    assert (theirs.n_layer, theirs.n_head, theirs.n_positions, theirs.n_embd) == (3, 4, 32, 32)
    assert (theirs.layer_norm_epsilon, theirs.resid_pdrop, theirs.attn_pdrop) == (epsilon, dropout, dropout)
    assert theirs.activation_function == "gelu_new"
