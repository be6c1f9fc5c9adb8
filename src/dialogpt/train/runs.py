"""A run folder: its settings, its metrics, its checkpoints, and how a run resumes where it stopped."""

import hashlib
import logging
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict, fields
from pathlib import Path

import msgspec
import torch

from dialogpt.artifact import Manifest, atomic_folder, make_manifest, read_json, write_json, write_manifest
from dialogpt.errors import DataError, UsageError
from dialogpt.model import checkpoint
from dialogpt.model.gpt import GPT
from dialogpt.tokens.bpe import Tokenizer
from dialogpt.tokens.pairs import Shards
from dialogpt.train import TrainConfig
from dialogpt.train.compare import DIGEST, SETTINGS
from dialogpt.train.metrics import (
    METRICS,
    MetricsFile,
    StepLine,
    TensorBoardMirror,
    ValidationLine,
    tensorboard_mirror,
)
from dialogpt.train.moments import load_moments, save_moments
from dialogpt.train.parallel import whole
from dialogpt.train.report import write_report
from dialogpt.train.world import World

log = logging.getLogger(__name__)

STATE = "state.json"
MAY_CHANGE = {
    "out", "epochs", "steps", "device", "validate_every", "save_every", "keep", "log_every", "recompute", "shard",
    "compile", "patience", "samples", "tensorboard", DIGEST,
}  # fmt: skip


@contextmanager
def nothing_left_unless_begun(folder: Path) -> Iterator[None]:
    """A run that fails before its first line of metrics or checkpoint leaves nothing in a new folder."""
    new = not folder.exists() or (folder.is_dir() and not any(folder.iterdir()))
    try:
        yield
    except BaseException:
        begun = (folder / METRICS).exists() or any(folder.glob("checkpoints/step-*"))
        if new and not begun and folder.is_dir():
            for path in folder.iterdir():
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        raise


def _digest(shards: Shards) -> str:
    """Equal for a copy, and for the same sessions tokenized again; made of all lengths and a thousand sessions."""
    told = hashlib.sha256(shards.lengths.data)
    for session in map(shards.__getitem__, range(0, len(shards), len(shards) // 1000 + 1)):
        told.update(bytes(session.learn) + b"".join(turn.tobytes() for turn in session.turns))
    return told.hexdigest()[:16]


class TrainState(msgspec.Struct, kw_only=True):
    """The loop's state besides weights and optimizer; `batch` counts the epoch's micro-batches already used."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    targets_seen: int = 0
    elapsed_s: float = 0.0  # of training, over all starts
    best_loss: float | None = None  # of validation, in nats per target
    stale: int = 0  # validations since then
    nats: float = 0.0  # of training since the last validation, over this many targets
    targets: int = 0
    window_nats: float = 0.0  # the same since the last line of metrics, and how long it took
    window_targets: int = 0
    window_s: float = 0.0
    scale: float = 65536.0  # of gradients in fp16 (scaling.py), and the steps since it was changed
    scale_steps: int = 0
    skipped: int = 0  # steps that overflowed and changed nothing


class Run:
    """Opens (or begins) the run folder of `config.out`; an existing run with other settings is a UsageError."""

    def __init__(self, config: TrainConfig, world: World, shards: Shards) -> None:
        self.config, self.folder, self.world = config, config.out, world
        self.metrics = MetricsFile(self.folder / METRICS)
        self._board: TensorBoardMirror | None = None
        if world.leads:
            self._open(_digest(shards))
        world.wait()

    def _open(self, digest: str) -> None:
        settings = msgspec.to_builtins(asdict(self.config), enc_hook=str)
        settings |= {"shards": str(self.config.shards.resolve()), DIGEST: digest}
        file = self.folder / SETTINGS
        if file.is_file():
            old = {field.name: field.default for field in fields(self.config)} | read_json(file, dict)  # newer settings
            if old.get(DIGEST, digest) != digest:
                old["shards"] = f"{old['shards']}, with other sessions"
            elif DIGEST in old:  # the same sessions, wherever they are now
                old["shards"] = settings["shards"]
            changed = [k for k in settings if old.get(k) != settings[k] and k not in MAY_CHANGE]
            if changed and self.checkpoints:  # without any, nothing is lost by starting again
                shown = ", ".join(f"{k}: {old.get(k)!r} there, {settings[k]!r} here" for k in changed[:3])
                raise UsageError(
                    f"{self.folder} holds another run ({shown})", "name another --out, or delete that folder"
                )
        elif self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
            raise UsageError(f"{self.folder} exists and is not a run folder", "name another --out")
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(file, settings)
        write_manifest(self.folder, make_manifest("training run", config=self.config, inputs=[self.config.shards]))
        for partial in (self.folder / "checkpoints").glob(".*.partial-*"):  # a save that was killed
            shutil.rmtree(partial)
        if not self.checkpoints:
            self.metrics.path.unlink(missing_ok=True)

    @property
    def checkpoints(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        return sorted((self.folder / "checkpoints").glob("step-*"), key=lambda path: (len(path.name), path.name))

    def save(self, model: GPT, tokenizer: Tokenizer, optimizer: torch.optim.Optimizer, state: TrainState) -> Path:
        """Write a checkpoint to resume from, every rank its share, then delete the oldest beyond `keep`."""
        target = self.folder / "checkpoints" / f"step-{state.step:06}"
        copy = whole(model, self.world)
        if not self.world.leads:
            save_moments(Path(self.world.tell("")), model, optimizer, self.world.rank, self.world.size)
            self.world.wait()
            return target
        assert copy is not None
        with atomic_folder(target, overwrite=True) as folder:
            save_moments(Path(self.world.tell(str(folder))), model, optimizer, 0, self.world.size)
            checkpoint.save_into(copy, tokenizer, folder, self.manifest(state), dtype=torch.float32)
            write_json(folder / STATE, state)
            self.world.wait()
        for old in self.checkpoints[: -max(self.config.keep, 1)]:
            shutil.rmtree(old)
        return target

    def save_best(self, model: GPT, tokenizer: Tokenizer, state: TrainState) -> None:
        copy = whole(model, self.world)
        if copy is not None and self.world.leads:
            checkpoint.save(copy, tokenizer, self.folder / "best", self.manifest(state))

    def restore_weights(self, model: GPT) -> TrainState:
        """Put the newest checkpoint's weights into a model that is not sharded yet; a new run gets a new state."""
        state = TrainState()
        if self.checkpoints:
            folder = self.checkpoints[-1]
            state = read_json(folder / STATE, TrainState)
            saved, _ = checkpoint.load(folder, ranker=model.config.ranks)
            model.load_state_dict(saved.state_dict())
            log.info("resuming from step %d (%s)", state.step, folder)
        if self.world.leads:
            self.metrics.forget_after(state.step)
            if self.config.tensorboard:
                self._board = tensorboard_mirror(self.folder / "tensorboard", state.step)
        return state

    def restore_optimizer(self, model: GPT, optimizer: torch.optim.Optimizer, state: TrainState) -> None:
        """The newest checkpoint's moments, if the run was resumed from it and it has any."""
        if updates := state.step - state.skipped:
            load_moments(self.checkpoints[-1], model, optimizer, updates)

    def append(self, line: StepLine | ValidationLine) -> None:
        """Write a line of metrics."""
        self.metrics.append(line)
        if self._board is not None:
            self._board.add(line)

    def report(self) -> None:
        """Update report.html; a run does not end if that fails."""
        if self.world.leads:
            try:
                write_report(self.folder)
            except DataError as error:
                log.warning("no report: %s", error.message)

    def manifest(self, state: TrainState) -> Manifest:
        counts = {"steps": state.step, "targets": state.targets_seen}
        return make_manifest("checkpoint", config=self.config, inputs=[self.config.shards], counts=counts)
