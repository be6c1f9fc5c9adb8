"""Where a model's name leads: the bundled model, a folder, a run folder, a Hugging Face hub name, or a single file."""

from contextlib import suppress
from functools import cache
from pathlib import Path

from dialogpt.errors import CheckpointError

BUNDLED = Path(__file__).parent / "bundled"
HUB_FILES = ("*.json", "model.safetensors", "model-*.safetensors", "merges.txt")
OLD_WEIGHTS = ("pytorch_model.bin", "pytorch_model-*.bin")  # of models older than safetensors, such as DialoGPT's
TAKE = "take the same model with model.safetensors or pytorch_model.bin"
OTHERS = {  # files that are not read here: what they are, the way out
    "adapter_config.json": (
        "an adapter of PEFT, which is a part of a model",
        "merge it into its base model with peft: merge_and_unload, save_pretrained",
    ),
    "*.gguf": ("a model for llama.cpp (GGUF)", TAKE),
    "*.onnx": ("a model for ONNX", TAKE),
    "onnx/*.onnx": ("a model for ONNX", TAKE),
    "tf_model*.h5": ("weights for TensorFlow", f"{TAKE}; transformers 4 converts it: from_tf=True, save_pretrained"),
    "flax_model*.msgpack": ("weights for Flax", f"{TAKE}; transformers 4 converts it: from_flax=True, save_pretrained"),
}


def model_path(name: str | Path | None) -> Path:
    """A file of weights, such as the authors' medium_ft.pkl, as it is; every other name by `model_folder`."""
    file = Path(str(name))
    if name is None or str(name) == "bundled" or not file.is_file():
        return model_folder(name)
    for pattern, (what, way_out) in OTHERS.items():
        if file.match(pattern):
            raise CheckpointError(f"{file} is {what}", way_out)
    if file.suffix == ".safetensors":
        raise CheckpointError(
            f"{file} holds only a folder's weights", "name the folder, whose config.json gives their shape"
        )
    return file


def model_folder(name: str | Path | None) -> Path:
    """The checkpoint folder of a name: None and "bundled" are the model that ships.

    A run folder is its best checkpoint, or its newest while there is no best. A name that is no folder is
    looked up on the hub (its cache where that fails); CheckpointError when neither has it.
    """
    bundled = name is None or str(name) in ("", "bundled")
    folder = BUNDLED if bundled else Path(str(name))
    if (folder / "config.json").is_file():
        return folder
    if (folder / "best" / "config.json").is_file():
        return folder / "best"
    if saved := [path for path in (folder / "checkpoints").glob("step-*") if (path / "config.json").is_file()]:
        return max(saved, key=lambda path: (len(path.name), path.name))
    if bundled:
        raise CheckpointError("this installation has no bundled model", "name a model folder or a hub name")
    if not folder.exists():
        folder = _from_hub(str(name))
        if not folder.is_dir():  # it was deleted since this process asked
            _from_hub.cache_clear()
            folder = _from_hub(str(name))
        if (folder / "config.json").is_file():
            return folder
    raise CheckpointError(*other_weights(folder, f"{name} is not a checkpoint folder: it has no config.json"))


def other_weights(folder: Path, otherwise: str) -> tuple[str, str]:
    """What to say about a folder without a readable model, and the way out: what it holds instead, if known."""
    for pattern, (what, way_out) in OTHERS.items():
        if any(folder.glob(pattern)):
            return f"{folder} holds {what}", way_out
    saved = [path.parent for path in folder.glob("*/config.json")]
    if saved:  # as left by transformers' Trainer
        return otherwise, f"name a folder in it: {max(saved, key=lambda path: (len(path.name), path.name))}"
    return otherwise, "name a folder that `dialogpt train` or save_pretrained wrote, or a single .pkl file"


def tokenizer_folder(name: str | Path) -> Path:
    """The folder of a tokenizer's files: a folder that holds them alone, or that of a model (see `model_folder`).

    The tokenizer of a single file of weights lies beside it.
    """
    folder = Path(name)
    if str(name) == "bundled":
        return model_folder(name)
    if folder.is_file():
        file, folder = folder, folder.parent
        if not (folder / "tokenizer.json").is_file() and not (folder / "vocab.json").is_file():
            raise CheckpointError(
                f"{file} has no tokenizer.json beside it, nor vocab.json and merges.txt",
                "name a folder that holds them; `dialogpt tokenizer` makes one",
            )
    if (folder / "tokenizer.json").is_file() or (folder / "vocab.json").is_file():
        return folder
    if folder.is_dir() and not any((folder / part).is_dir() for part in ("best", "checkpoints")):
        raise CheckpointError(
            f"{folder} holds no tokenizer.json, nor vocab.json and merges.txt", "make one with `dialogpt tokenizer`"
        )
    return model_folder(name)


@cache
def _from_hub(name: str) -> Path:
    """The folder of a model from the hub, asked once per process; if that fails, what its cache has."""
    from huggingface_hub.errors import GatedRepoError, HFValidationError, RepositoryNotFoundError

    try:
        return _fetched(name)
    except RuntimeError as error:  # of pathlib: a mere number in a container, say
        raise CheckpointError(
            f"{name!r} is not a folder here, and there is no home folder to keep the hub's files in",
            "set HF_HOME to a folder",
        ) from error
    except HFValidationError as error:
        raise CheckpointError(f"{name!r} is neither a folder nor a hub name", _path_or(name)) from error
    except GatedRepoError as error:
        raise CheckpointError(
            f"the Hugging Face hub gives {name!r} only to people whom its owners have admitted",
            "request access on the model's page, and set HF_TOKEN to your token",
        ) from error
    except RepositoryNotFoundError as error:
        raise CheckpointError(
            f"the Hugging Face hub has no model {name!r}",
            "check the name; for a private one, set HF_TOKEN to your token",
        ) from error
    except Exception as error:  # from HTTP, a proxy, a login page instead of JSON: nearly any error
        with suppress(Exception):
            return _fetched(name, local_files_only=True)
        raise CheckpointError(*_failure(name, error)) from error


def _fetched(name: str, *, local_files_only: bool = False) -> Path:
    from huggingface_hub import snapshot_download

    def fetch(*patterns: str) -> Path:
        return Path(snapshot_download(name, allow_patterns=list(patterns), local_files_only=local_files_only))

    folder = fetch(*HUB_FILES)
    return folder if any(folder.glob("*.safetensors")) else fetch(*OLD_WEIGHTS, *HUB_FILES)


def _path_or(name: str) -> str:
    """The way out for a name that the hub cannot have."""
    model, _, revision = name.partition("@")
    return f"to get a revision: hf download {model} --revision {revision}" if revision else "check the path"


def _failure(name: str, error: BaseException) -> tuple[str, str]:
    """What to say when a model was not fetched, and the way out: by the hub's status, if it answered."""
    found: BaseException | None = error
    while found is not None and not hasattr(found, "response"):
        found = found.__cause__
    if found is not None:
        status = found.response.status_code
        hint = "check your token (HF_TOKEN)" if status in (401, 403) else "try again later"
        return f"the Hugging Face hub does not give {name!r}: it answers with status {status}", hint
    if isinstance(error, OSError) and error.errno is not None and not isinstance(error, ConnectionError):
        place = f" at {error.filename}" if error.filename else ""
        return f"{name!r} cannot be saved{place}: {error.strerror}", "set HF_HOME to a folder with room"
    return (
        f"{name!r} is not a folder here, and the Hugging Face hub cannot be reached",
        "go online once, or name a folder",
    )
