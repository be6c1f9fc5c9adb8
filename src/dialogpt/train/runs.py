"""A run folder: its settings, its metrics, its checkpoints, and how a run goes on where it stopped."""

import json
import logging
import pickle
import shutil
from collections.abc import Mapping
from dataclasses import asdict
from pathlib import Path
from typing import Any

import msgspec
import torch

from dialogpt.artifact import Manifest, atomic_folder, make_manifest, read_json, write_json, write_manifest
from dialogpt.errors import DataError, UsageError
from dialogpt.model import checkpoint
from dialogpt.model.gpt import GPT
from dialogpt.tokens.bpe import Tokenizer
from dialogpt.train import TrainConfig

log = logging.getLogger(__name__)

MAY_CHANGE = {"out", "epochs", "steps", "device", "validate_every", "save_every", "keep", "log_every"}


SETTINGS = "settings.json"


class TrainState(msgspec.Struct, kw_only=True):
    """All the loop knows besides weights and optimizer; `batch` counts the epoch's micro-batches already used."""

    step: int = 0
    epoch: int = 0
    batch: int = 0
    targets_seen: int = 0
    best_loss: float | None = None  # of validation, in nats per target


class Run:
    """Opens (or begins) the run folder of `config.out`; an existing run with other settings is a UsageError."""

    def __init__(self, config: TrainConfig) -> None:
        self.config, self.folder = config, config.out
        settings = msgspec.to_builtins(asdict(config), enc_hook=str)
        file = self.folder / SETTINGS
        if file.is_file():
            old = read_json(file, dict)
            changed = [k for k in settings if old.get(k) != settings[k] and k not in MAY_CHANGE]
            if changed and self.checkpoints:  # without any, nothing is lost by beginning anew
                shown = ", ".join(f"{k}: {old.get(k)!r} there, {settings[k]!r} here" for k in changed[:3])
                raise UsageError(
                    f"{self.folder} holds another run ({shown})", "name another --out, or delete that folder"
                )
        elif self.folder.exists() and (not self.folder.is_dir() or any(self.folder.iterdir())):
            raise UsageError(f"{self.folder} exists and is no run folder", "name another --out")
        self.folder.mkdir(parents=True, exist_ok=True)
        write_json(file, settings)
        write_manifest(self.folder, make_manifest("training run", config=config, inputs=[config.shards]))

    @property
    def checkpoints(self) -> list[Path]:
        """Complete checkpoints, oldest first."""
        return sorted((self.folder / "checkpoints").glob("step-*"), key=lambda path: (len(path.name), path.name))

    def save(self, model: GPT, tokenizer: Tokenizer, optimizer: torch.optim.Optimizer, state: TrainState) -> Path:
        """Write a checkpoint to resume from, then delete the oldest beyond `keep`."""
        target = self.folder / "checkpoints" / f"step-{state.step:06}"
        with atomic_folder(target, overwrite=True) as folder:
            checkpoint.save_into(model, tokenizer, folder, self.manifest(state), dtype=torch.float32)
            _save_trainer(folder / "trainer.pt", optimizer)
            write_json(folder / "state.json", state)
        for old in self.checkpoints[: -max(self.config.keep, 1)]:
            shutil.rmtree(old)
        return target

    def save_best(self, model: GPT, tokenizer: Tokenizer, state: TrainState) -> None:
        checkpoint.save(model, tokenizer, self.folder / "best", self.manifest(state))

    def resume(self, model: GPT, optimizer: torch.optim.Optimizer) -> TrainState:
        """Put the newest checkpoint into model, optimizer and generators; a new run gets a new state."""
        for stale in (self.folder / "checkpoints").glob(".*.partial-*"):  # a save that was killed
            shutil.rmtree(stale)
        if not self.checkpoints:
            (self.folder / "metrics.jsonl").unlink(missing_ok=True)
            return TrainState()
        folder = self.checkpoints[-1]
        state = read_json(folder / "state.json", TrainState)
        saved, _ = checkpoint.load(folder)
        model.load_state_dict(saved.state_dict())
        try:
            trainer = torch.load(folder / "trainer.pt", map_location="cpu", weights_only=True)
            optimizer.load_state_dict(trainer["optimizer"])
            _set_generators(trainer["generators"])
        except (OSError, RuntimeError, EOFError, KeyError, TypeError, ValueError, pickle.UnpicklingError) as error:
            first_line = str(error).partition("\n")[0]
            raise DataError(
                f"{folder}/trainer.pt does not load: {first_line}", f"delete {folder} to resume from the one before"
            ) from error
        self._forget_metrics_after(state.step)
        log.info("resuming from step %d (%s)", state.step, folder)
        return state

    def append_metrics(self, line: Mapping[str, Any]) -> None:
        with (self.folder / "metrics.jsonl").open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")

    def manifest(self, state: TrainState) -> Manifest:
        counts = {"steps": state.step, "targets": state.targets_seen}
        return make_manifest("checkpoint", config=self.config, inputs=[self.config.shards], counts=counts)

    def _forget_metrics_after(self, step: int) -> None:
        file = self.folder / "metrics.jsonl"
        if file.is_file():
            lines = [line for line in file.read_text(encoding="utf-8").splitlines() if line.endswith("}")]
            kept = [line for line in lines if json.loads(line).get("step", 0) <= step]
            file.write_text("".join(line + "\n" for line in kept), encoding="utf-8")


def _save_trainer(path: Path, optimizer: torch.optim.Optimizer) -> None:
    try:
        torch.save({"optimizer": optimizer.state_dict(), "generators": _generators()}, path)
    except RuntimeError as error:  # torch's word for a full disk
        first_line = str(error).partition("\n")[0]
        raise OSError(f"{path.name}: {first_line}") from error


def _generators() -> dict[str, torch.Tensor]:
    states = {"cpu": torch.get_rng_state()}
    if torch.cuda.is_available():
        states["cuda"] = torch.cuda.get_rng_state()
    return states


def _set_generators(states: Mapping[str, torch.Tensor]) -> None:
    torch.set_rng_state(states["cpu"])
    if "cuda" in states and torch.cuda.is_available():
        torch.cuda.set_rng_state(states["cuda"])
