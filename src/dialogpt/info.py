"""`dialogpt info PATH`: what a file or folder is, what it was made from, how many, what was dropped and why.

Several training runs are laid side by side. `--cpu`: what runs models on this processor.
"""

import json
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import msgspec

from dialogpt.artifact import describe_manifest, is_backward, read_manifest
from dialogpt.errors import CheckpointError, DataError, UsageError
from dialogpt.files import read_lines
from dialogpt.hub import BUNDLED, OTHERS
from dialogpt.model.files import PICKLED, SAFE
from dialogpt.session import Session
from dialogpt.train.compare import REPORT, compare, is_run
from dialogpt.train.metrics import METRICS, MetricsFile, best_validation

BINARY = {pattern: what for pattern, (what, _) in OTHERS.items()} | {"*.safetensors": "weights of a folder"}


@dataclass(frozen=True, slots=True, kw_only=True)
class InfoConfig:
    """Settings of `info`: say what files and folders are, what they were made from, what was dropped; compare runs."""

    path: Annotated[
        tuple[Path, ...], "files or folders that the commands read or write; several runs are shown side by side"
    ] = ()
    cpu: Annotated[bool, "say what runs models on this processor, and why"] = False


def info(config: InfoConfig) -> str:
    """Describe each path in a few lines, or compare several that are all runs; DataError when one is not there."""
    if config.cpu:
        from dialogpt.native.library import describe_cpu  # numpy, 60 ms, which `--help` need not spend

        return "\n\n".join([describe_cpu(), *map(_describe, config.path)])
    if not config.path:
        raise UsageError("PATH is missing", "see `dialogpt info --help`")
    if len(config.path) > 1 and all(map(is_run, config.path)):
        return compare(config.path)
    return "\n\n".join(map(_describe, config.path))


def _describe(path: Path) -> str:
    if str(path) == "bundled" and not path.exists():
        path = BUNDLED
    describe = _describe_folder if path.is_dir() else _describe_pickled if path.suffix in PICKLED else _describe_file
    if path.suffix == SAFE and (path.parent / "config.json").is_file():
        path, describe = path.parent, _describe_folder  # the folder says whose weights they are
    return "\n".join([str(path), *describe(path)])


def _describe_folder(folder: Path) -> list[str]:
    lines = []
    manifest = read_manifest(folder)
    if manifest is not None:
        lines += describe_manifest(manifest).splitlines()
    if is_backward(folder):
        lines.append("backward: it reads turns last to first, for --backward")
    if (folder / "config.json").is_file():
        lines += _describe_checkpoint(folder)
    if (folder / METRICS).is_file():
        lines += _describe_metrics(folder / METRICS)
    if lines and (folder / REPORT).is_file():
        lines.append(f"report: {folder / REPORT}")
    if not lines:
        names = sorted(p.name for p in folder.iterdir())[:5]
        raise DataError(f"{folder} is not a folder that dialogpt writes", f"it holds {', '.join(names) or 'nothing'}")
    return lines


def _describe_checkpoint(folder: Path) -> list[str]:
    """Shape and size of a Hugging Face GPT-2 folder, and what is wrong with its weights, without loading them."""
    from dialogpt.model.config import SCORE  # these bring tokenizers and more, which `--help` need not wait for
    from dialogpt.native.opcodes import NotKnown  # 10 ms, which `--help` need not spend
    from dialogpt.native.weights import open_weights

    try:
        hf = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    except OSError as error:
        raise DataError(f"{folder}/config.json cannot be read: {error.strerror}", "check its permissions") from error
    except ValueError as error:
        raise DataError(f"{folder}/config.json does not load: {error}", "the folder is damaged") from error
    if not isinstance(hf, dict):
        raise DataError(f"{folder}/config.json is not a JSON object", "the folder is damaged")
    keys = ("model_type", "n_layer", "n_head", "n_embd", "n_positions", "vocab_size", "torch_dtype")
    size_bytes = sum(file.stat().st_size for file in folder.iterdir() if file.suffix in (".safetensors", ".bin"))
    weights = f"weights: {size_bytes / 1e6:.1f} MB"
    try:
        with suppress(NotKnown), open_weights(folder) as mapped:
            weights += ", of a ranker, for --ranker" if SCORE in mapped.tensors else ""
    except CheckpointError as error:
        weights += f", but {error.message}"
    return ["checkpoint: " + ", ".join(f"{key} {hf[key]}" for key in keys if key in hf), weights]


def _describe_pickled(file: Path) -> list[str]:
    """Shape and size of a single file of weights, such as the authors' medium_ft.pkl; CheckpointError if damaged."""
    from dialogpt.native.packed import readable

    config = readable(file, ranker=None)
    keys = ("n_layer", "n_head", "n_embd", "n_ctx", "vocab_size")
    shape = ", ".join(f"{key} {getattr(config, key)}" for key in keys) if config else "of a kind that torch may read"
    return [f"checkpoint: {shape}", f"weights: {file.stat().st_size / 1e6:.1f} MB"]


def _describe_metrics(file: Path) -> list[str]:
    steps, validations = MetricsFile(file).read()
    logged = [*(line.step for line in steps), *(line.step for line in validations)]
    lines = [f"steps logged: up to {max(logged):,}"] if logged else ["no steps logged yet"]
    if best := best_validation(validations):
        lines.append(f"best validation perplexity: {best.validation_perplexity:.2f} at step {best.step:,}")
        if best.pairs_right is not None:
            lines.append(f"pairs in the right order: {best.pairs_right:.1%}")
    return lines


def _describe_file(path: Path) -> list[str]:
    """Count a file's lines by what they are: sessions, comments, submissions, other JSON, other text."""
    for pattern, what in BINARY.items():
        if path.match(pattern):
            return [f"{what}, {path.stat().st_size / 1e6:.1f} MB"]
    kinds: Counter[str] = Counter()
    for line in read_lines(path):
        if line.strip():
            kinds[_kind_of_line(line)] += 1
    total = sum(kinds.values())
    if not total:
        return ["empty"]
    return [f"  {kind:<20} {count:>14,}" for kind, count in kinds.most_common()]


_session = msgspec.json.Decoder(Session)


def _kind_of_line(line: bytes) -> str:
    try:
        record = msgspec.json.decode(line)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError):
        return "lines of bytes that are not text" if b"\0" in line else "lines of text"
    if not isinstance(record, dict):
        return "other JSON lines"
    for key, kind in (
        ("messages", "chats (messages)"),
        ("better", "preferences"),
        ("chosen", "preferences"),
        ("context", "contexts"),
        ("body", "comments"),
        ("title", "submissions"),
    ):
        if key in record:
            return kind
    if "turns" not in record:
        return "other JSON lines"
    try:
        _session.decode(line)
    except msgspec.DecodeError:
        return "chats (turns)"
    return "sessions"
