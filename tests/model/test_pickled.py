"""Single files of weights, as the authors released them: `.pkl`, fp16, no config.json, names of several fashions."""

import json
import os
import shutil
import subprocess
import sys
from collections import OrderedDict
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from safetensors.torch import load_file
from transformers import GPT2Config, GPT2LMHeadModel

from dialogpt import GPT, Chatbot, Tokenizer
from dialogpt.artifact import make_manifest
from dialogpt.decoding.loading import load_engine
from dialogpt.errors import CheckpointError
from dialogpt.export import ExportConfig
from dialogpt.export.export import export
from dialogpt.hub import model_path, tokenizer_folder
from dialogpt.model import checkpoint

Weights = dict[str, torch.Tensor]
OUTPUT = {"lm_head.decoder.weight": "lm_head.decoder.weight", "lm_head.weight": "lm_head.weight", "no output layer": ""}


@pytest.fixture(scope="module")
def released(make_model: Callable[..., GPT]) -> GPT:
    """Two heads of 64: a shape that weights alone tell."""
    return make_model(seed=3, n_embd=128, n_head=2, n_layer=3, n_ctx=48, dropout=0.1)


@pytest.fixture(scope="module")
def weights(released: GPT, tiny_tokenizer: Tokenizer, tmp_path_factory: pytest.TempPathFactory) -> Weights:
    """Its weights in GPT-2's layout, fp16."""
    folder = tmp_path_factory.mktemp("released") / "model"
    checkpoint.save(released, tiny_tokenizer, folder, make_manifest("checkpoint"), dtype=torch.float16)
    return load_file(folder / "model.safetensors")


@pytest.fixture
def file(tmp_path: Path, tiny_tokenizer: Tokenizer) -> Path:
    """Where the file goes; the tokenizer lies there."""
    tiny_tokenizer.save(tmp_path)
    return tmp_path / "medium_ft.pkl"


def as_released(weights: Weights, *, prefix: str = "transformer.", output: str = "lm_head.decoder.weight") -> Weights:
    """The names of a fashion, with the causal masks that old files carry along."""
    state = {name.replace("transformer.", prefix, 1): weight for name, weight in weights.items()}
    n_ctx = len(weights["transformer.wpe.weight"])
    for layer in range(3):
        state[f"{prefix}h.{layer}.attn.bias"] = torch.ones(1, 1, n_ctx, n_ctx).half().tril()
        state[f"{prefix}h.{layer}.attn.masked_bias"] = torch.tensor(-1e4).half()
    if output:
        wrapper = "module." * prefix.count("module.")
        state[wrapper + output] = weights["transformer.wte.weight"]
    return OrderedDict(state)


@pytest.mark.parametrize("prefix", ["transformer.", "", "module.transformer.", "module.", "module.module.transformer."])
@pytest.mark.parametrize("output", OUTPUT)
@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
def test_every_fashion_of_names_opens(
    released: GPT, weights: Weights, file: Path, prefix: str, output: str, zipped: bool
) -> None:
    state = as_released(weights, prefix=prefix, output=OUTPUT[output])
    torch.save(state, file, _use_new_zipfile_serialization=zipped)
    model, tokenizer = checkpoint.load(file)
    assert model.config == released.config
    assert not model.training
    assert tokenizer.digest == Tokenizer.load(file.parent).digest
    for name, weight in released.state_dict().items():
        assert model.state_dict()[name].dtype == torch.float32
        assert torch.equal(model.state_dict()[name], weight.half().float()), name


def test_the_logits_are_those_of_transformers(weights: Weights, file: Path) -> None:
    shape = {"vocab_size": len(weights["transformer.wte.weight"]), "n_positions": 48, "n_embd": 128, "n_head": 2}
    theirs = GPT2LMHeadModel(GPT2Config(n_layer=3, bos_token_id=0, eos_token_id=0, **shape)).eval()
    theirs.load_state_dict(weights, strict=False)
    torch.save(theirs.half().state_dict(), file, _use_new_zipfile_serialization=False)  # a real one, with metadata
    ours, tokenizer = checkpoint.load(file)
    tokens = torch.tensor([tokenizer.encode("does money buy happiness? نعم، أحيانا 😀 да")[:48]])
    with torch.inference_mode():
        torch.testing.assert_close(ours(tokens), theirs.float()(tokens).logits, atol=2e-4, rtol=1e-4)


def test_gpt2s_two_files_beside_it(weights: Weights, file: Path) -> None:
    model = json.loads((file.parent / "tokenizer.json").read_text(encoding="utf-8"))["model"]
    before = Tokenizer.load(file.parent).digest
    (file.parent / "tokenizer.json").unlink()
    (file.parent / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
    merges = [merge if isinstance(merge, str) else " ".join(merge) for merge in model["merges"]]
    (file.parent / "merges.txt").write_text("#version: 0.2\n" + "\n".join(merges) + "\n", encoding="utf-8")
    torch.save(as_released(weights), file)
    assert checkpoint.load(file)[1].digest == before


def test_a_tokenizer_is_asked_for(weights: Weights, tmp_path: Path) -> None:
    torch.save(as_released(weights), tmp_path / "small_ft.pkl")
    with pytest.raises(CheckpointError, match=r"small_ft\.pkl has no tokenizer.json beside it"):
        tokenizer_folder(tmp_path / "small_ft.pkl")
    with pytest.raises(CheckpointError, match=r"small_ft\.pkl needs its tokenizer beside it") as caught:
        checkpoint.load(tmp_path / "small_ft.pkl")
    assert "vocab.json and merges.txt" in caught.value.hint
    assert str(tmp_path) in caught.value.hint


def test_it_exports_and_chats(released: GPT, weights: Weights, file: Path, tmp_path: Path) -> None:
    torch.save(as_released(weights), file, _use_new_zipfile_serialization=False)
    out = export(ExportConfig(model=str(file), out=tmp_path / "out", dtype="fp16"))
    stored = load_file(out / "model.safetensors")
    assert all(torch.equal(stored[name], weight) for name, weight in weights.items())
    assert stored.keys() == weights.keys()
    assert checkpoint.load(out)[0].config == released.config
    bot = Chatbot.load(file)
    bot.reply("does money buy happiness?")
    assert len(bot.history) == 2


def test_chat_opens_it(weights: Weights, file: Path) -> None:
    torch.save(as_released(weights), file)
    command = [sys.executable, "-m", "dialogpt", "chat", str(file), "--device", "cpu", "--max-new-tokens", "4"]
    done = subprocess.run(command, input="hello\n", capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_the_names_lead_where_they_should(weights: Weights, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    torch.save(as_released(weights), file)
    assert model_path(str(file)) == file
    assert tokenizer_folder(file) == file.parent
    monkeypatch.chdir(file.parent)
    assert model_path("medium_ft.pkl") == Path("medium_ft.pkl")
    checkpoint.load("medium_ft.pkl")
    shutil.copy(file, "bundled")
    assert model_path("bundled") == model_path(None) == model_path("")
    assert model_path("bundled").is_dir()


def spoiled(weights: Weights, **changes: torch.Tensor | None) -> Weights:
    state = {**as_released(weights), **changes}
    return {name: weight for name, weight in state.items() if weight is not None}


WTE, WPE = "transformer.wte.weight", "transformer.wpe.weight"


@pytest.mark.parametrize(
    "changes, words",
    [
        ({WTE: None}, "lack transformer.wte.weight"),
        ({WTE: None, WPE: None}, "lack transformer.wte.weight, transformer.wpe.weight"),
        ({"transformer.h.1.ln_2.bias": None}, "lack transformer.h.1.ln_2.bias"),
        ({"transformer.h.1.ln_2.bias": torch.zeros(127)}, "transformer.h.1.ln_2.bias has shape (127,)"),
        ({"transformer.h.0.mlp.c_fc.weight": torch.zeros(512, 128)}, "transformer.h.0.mlp.c_fc.weight has shape"),
        ({"transformer.h.987654321987.ln_1.bias": torch.zeros(128)}, "lack transformer.h.3.attn.c_attn.bias"),
        ({"encoder.weight": torch.zeros(2)}, "surplus transformer.encoder.weight"),
        ({WTE: torch.zeros(360)}, "transformer.wte.weight has shape (360,), a matrix is expected"),
        ({WPE: torch.zeros(0, 128)}, "transformer.wpe.weight has shape (0, 128)"),
        ({WTE: torch.zeros(360, 100)}, "the width 100 is not a multiple of 64"),
        ({WPE: torch.zeros(48, 64)}, "transformer.wpe.weight has shape (48, 64)"),
        ({WTE: torch.zeros(300, 128), "lm_head.decoder.weight": None}, "the tokenizer has 360 tokens, the model 300"),
        ({"lm_head.decoder.weight": torch.ones(360, 128).half()}, "lm_head.weight is not the token embedding"),
        ({"lm_head.decoder.weight": torch.ones(361, 128).half()}, "lm_head.weight is not the token embedding"),
        ({"module.transformer.wte.weight": torch.zeros(2)}, "two of its names mean one weight"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("opened", [checkpoint.load, lambda file: load_engine(str(file), device="cpu")])
def test_what_is_no_gpt2(
    weights: Weights, file: Path, changes: dict[str, Any], words: str, opened: Callable[[Path], Any]
) -> None:
    torch.save(spoiled(weights, **changes), file)
    with pytest.raises(CheckpointError) as caught:
        opened(file)
    assert words in caught.value.message
    assert str(file) in caught.value.message
    assert "config.json" not in caught.value.message  # there is none


class Trap:
    """Unpickled, it calls a function, or makes an object of a class."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self.call = function, arguments

    def __reduce__(self) -> tuple[Any, ...]:
        return self.call


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
@pytest.mark.parametrize("function, name", [(os.mkdir, "mkdir"), (eval, "eval"), (Path.touch, "getattr")])
def test_pickled_code_is_never_run(
    weights: Weights, file: Path, tmp_path: Path, function: Callable[..., Any], name: str, zipped: bool
) -> None:
    marker = tmp_path / "it ran"
    argument: Any = {"mkdir": str(marker), "eval": f"open({str(marker)!r}, 'w')", "getattr": marker}[name]
    torch.save({**as_released(weights), "z": Trap(function, argument)}, file, _use_new_zipfile_serialization=zipped)
    with pytest.raises(CheckpointError, match=r"names code to run.*never run") as caught:
        checkpoint.load(file)
    assert not marker.exists()
    assert name in caught.value.message
    assert "weights_only" not in str(caught.value)  # torch's own words say how to run it all the same


@pytest.mark.parametrize("data", [b"", b"\x80\x02.", b"PK\x03\x04", b"{}", "سلام عليكم".encode(), b"\0" * 4096])
def test_files_of_something_else(file: Path, data: bytes) -> None:
    file.write_bytes(data)
    with pytest.raises(CheckpointError, match=r"do not load: .") as caught:
        checkpoint.load(file)
    assert "\n" not in caught.value.message
    assert "weights_only" not in caught.value.message


@pytest.mark.parametrize("zipped", [True, False], ids=["zip", "before torch 1.6"])
@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_a_damaged_file_is_an_error_or_other_numbers(
    weights: Weights, file: Path, zipped: bool, data: st.DataObject
) -> None:
    """Bytes of the pickle are changed: never another exception than ours."""
    torch.save({WTE: weights[WTE][:2], WPE: weights[WPE][:2]}, file, _use_new_zipfile_serialization=zipped)
    content = bytearray(file.read_bytes())
    for _ in range(data.draw(st.integers(1, 4))):
        content[data.draw(st.integers(0, min(len(content), 700) - 1))] = data.draw(st.integers(0, 255))
    file.write_bytes(content)
    with pytest.raises(CheckpointError):  # at best two embeddings without a block
        checkpoint.load(file)
