"""A model's name -> the engine that runs it, with its tokenizer.

On a CPU that is the native engine, in 8 bits or 4, if this installation has it; for all else torch is imported.
"""

import logging
import math
import sys
from dataclasses import replace
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from dialogpt.artifact import is_backward
from dialogpt.decoding import ReplyConfig
from dialogpt.decoding.dialogrpt import DialogRPT
from dialogpt.decoding.rerank import Ranker
from dialogpt.engine import Engine
from dialogpt.errors import UsageError, needs_torch
from dialogpt.hub import model_path
from dialogpt.model.config import check_vocabulary, expected_shapes, load_config, load_tokenizer
from dialogpt.tokens.bpe import Tokenizer

if TYPE_CHECKING:
    from dialogpt.native.engine import NativeEngine

log = logging.getLogger(__name__)

BACKWARD = "backward"  # the folder of the backward companion, inside a checkpoint's
FORWARD_WEIGHT = 20.0  # used when MMI is on by default; chosen on recipes/bundled/references, as is the next
MANY_HYPOTHESES = 64  # of models with at most so many parameters, for which they take no time that a person notices
SMALL = 30_000_000
GPU_FILES = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # NVIDIA's driver, WSL's, AMD's

BITS = {"auto": 8, "int8": 8, "int4": 4}  # of the native engine's weights, by precision

Config = TypeVar("Config", bound=ReplyConfig)


def load_engine(
    name: str | None, *, device: str = "auto", precision: str = "auto", backward: bool = False, ranker: bool = False
) -> tuple[Engine, Tokenizer]:
    """Open a model (see `hub.model_path`) on a device; `auto` precision is the fastest that costs next to no quality.

    Warns if its manifest says that it was trained for the other direction. UsageError if it needs torch, and torch is
    not installed.
    """
    _check_direction(name, backward=backward)
    if (bits := BITS.get(precision)) and (device == "cpu" or (device == "auto" and not _may_have_gpu())):
        source = model_path(name or None)
        if (engine := native_engine(source, bits, ranker=ranker)) is not None:
            tokenizer = load_tokenizer(source)
            check_vocabulary(source, tokenizer, engine.vocabulary)
            return engine, tokenizer
    if precision == "int4":
        raise UsageError(
            f"--precision int4 needs the native engine, which does not run {name or 'the bundled model'} here",
            "see `dialogpt info --cpu`; add --device cpu if there is a GPU; or use --precision auto",
        )
    with needs_torch(f"{name or 'the bundled model'} with --device {device} and --precision {precision}"):
        from dialogpt.model.opening import open_engine
    return open_engine(name or None, device, precision, ranker=ranker)


def _check_direction(name: str | None, *, backward: bool) -> None:
    found = is_backward(model_path(name or None))
    if found and not backward:
        log.warning(
            "%s is a backward model, which does not reply: name it with --backward, and a forward one here", name
        )
    if found is False and backward:
        log.warning("--backward %s is a forward model: train a backward one with `dialogpt train --reverse`", name)


def native_engine(source: Path, bits: int = 8, *, ranker: bool = False) -> "NativeEngine | None":
    """The native engine of a model, in that many bits; None if it is not built, or cannot read this one."""
    from dialogpt.native.engine import open_native  # not imported if torch runs models

    return open_native(source, bits, ranker=ranker)


def _may_have_gpu() -> bool:
    """Whether importing torch to look for a GPU is worth the time.

    A Mac's has to be named (`mps`): its memory is the CPU's, and torch reads four times as much of it per token.
    """
    if find_spec("torch") is None:
        return False
    return sys.platform == "win32" or any(Path(file).exists() for file in GPU_FILES)


def load_backward(
    name: str, forward: str | None, *, device: str = "auto", precision: str = "auto"
) -> tuple[Engine, Tokenizer]:
    """Open the backward model of that name, or the companion of the forward model.

    It reads texts, so its vocabulary may be its own.
    """
    if not name:
        companion = companion_of(forward)
        if companion is None:
            raise UsageError(
                f"{forward} has no backward companion, which --mmi asks for",
                "train one with `dialogpt train --reverse` and name it with --backward",
            )
        name = str(companion)
    return load_engine(name, device=device, precision=precision, backward=True)


def load_ranker(config: ReplyConfig, *, device: str = "auto") -> list[tuple[Ranker, float]]:
    """The ranker that the settings name, with its weight; none if they name none. It reads texts, as MMI does."""
    if not config.ranker:
        return []
    opened = load_engine(config.ranker, device=device, precision=config.precision, ranker=True)
    return [(DialogRPT(*opened), config.ranker_weight)]


def companion_of(model: str | None) -> Path | None:
    """The folder of a model's backward companion, or None where it has none."""
    companion = model_path(model) / BACKWARD  # of a single file there is none
    return companion if (companion / "config.json").is_file() else None


def with_companion(config: Config, model: str | None) -> Config:
    """The settings with MMI, if they leave it open, replies are drawn, and the model has a backward companion.

    A small model's replies are then chosen from many. A ranker that is named takes the companion's place.
    """
    plain = config.temperature == 0 or config.num_beams > 1 or config.num_hypotheses or config.ranker
    if config.mmi is not None or plain or companion_of(model) is None:
        return config
    shapes = expected_shapes(load_config(model_path(model)))
    many = MANY_HYPOTHESES if sum(map(math.prod, shapes.values())) <= SMALL else 0
    return replace(config, mmi=True, forward_weight=config.forward_weight or FORWARD_WEIGHT, num_hypotheses=many)
