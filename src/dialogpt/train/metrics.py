"""What a run's metrics.jsonl holds: a line per logged step and a line per validation, typed.

    {"step": 10, "epoch": 0, "targets_seen": 81920, "loss": 5.1, "lr": 0.001, "gradient_norm": 1.2, ...}
    {"step": 250, "epoch": 0, "targets_seen": 2048000, "validation_loss": 4.2, "validation_perplexity": 66.7, ...}

Losses are nats per target token, of a ranker per pair; one that is not finite, or a norm, is written as null, since
JSON has no word for it, and read as infinite. Fields that older files lack have defaults. Without torch, as `info`
reads these files too.
"""

import json
import math
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Annotated, Any

import msgspec

from dialogpt.artifact import atomic_file
from dialogpt.errors import DataError, UsageError
from dialogpt.files import read_chunks

METRICS = "metrics.jsonl"
Count = Annotated[int, msgspec.Meta(ge=0, le=2**63 - 1)]


class StepLine(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured over the steps since the last such line."""

    step: Count
    epoch: Count = 0
    targets_seen: Count = 0  # target tokens, from the run's first step on
    loss: float = math.inf  # mean, in nats per target
    lr: float = 0.0
    gradient_norm: float = math.inf  # of the last step, before clipping; infinite where it overflowed fp16
    tokens_per_s: float = 0.0  # target tokens
    memory_bytes: Count = 0  # peak of the process or device; 0: not known
    elapsed_s: float = 0.0  # of training, over all starts of the run; 0: not known


class Sample(msgspec.Struct, frozen=True):
    """A reply of the model, as it is by now, to a context that stays the same through the run."""

    context: list[str]
    reply: str


class ValidationLine(msgspec.Struct, frozen=True, kw_only=True):
    """What was measured over the sessions held out."""

    step: Count
    epoch: Count = 0
    targets_seen: Count = 0
    validation_loss: float = math.inf  # nats per target
    validation_perplexity: float = math.inf
    training_loss: float | None = None  # mean since the last validation, in nats per target
    pairs_right: float | None = None  # a ranker's share of pairs whose better reply it scores above the worse one
    samples: list[Sample] = []


class MetricsFile:
    """A metrics.jsonl, which need not exist yet: append to it, read it, cut it back to a step."""

    def __init__(self, path: Path) -> None:
        self.path = path

    def append(self, line: StepLine | ValidationLine) -> None:
        """Write one line; it is in the file, not in a buffer of this process, when this returns."""
        with self.path.open("ab") as file:
            file.write(msgspec.json.encode(line) + b"\n")

    def read(self) -> tuple[list[StepLine], list[ValidationLine]]:
        """All lines of each kind, in the file's order; none when there is no file.

        A last line that a kill cut short is ignored; other damage is a DataError naming file and line.
        """
        steps: list[StepLine] = []
        validations: list[ValidationLine] = []
        for _, row, where in self._rows():
            line = _typed(row, where)
            if isinstance(line, StepLine):
                steps.append(line)
            else:
                validations.append(line)
        return steps, validations

    def forget_after(self, step: int) -> None:
        """Leave out, atomically, what came after a step, and a last line that was cut short; errors as `read`."""
        if self.path.exists():
            kept = [line + b"\n" for line, row, where in self._rows() if _step(row, where) <= step]
            with atomic_file(self.path) as partial:
                partial.write_bytes(b"".join(kept))

    def _rows(self) -> Iterator[tuple[bytes, dict[str, Any], str]]:
        """Yield each line, the object it holds, and `file:line`."""
        if not self.path.exists():
            return
        lines = b"".join(read_chunks(self.path)).split(b"\n")
        for number, line in enumerate(lines, 1):
            where = f"{self.path}:{number}"
            if not line.strip():
                continue
            try:  # json, not msgspec: older files say Infinity and NaN
                row = json.loads(line, parse_constant=lambda name: None)
            except (ValueError, RecursionError) as error:
                if number == len(lines):  # it has no line end: cut by a kill
                    return
                raise _damaged(where, error) from error
            if not isinstance(row, dict):
                raise _damaged(where, "it is not a JSON object")
            yield line, row, where


def _typed(row: dict[str, Any], where: str) -> StepLine | ValidationLine:
    """The line that a row is; nulls are left to the defaults."""
    given = {name: value for name, value in row.items() if value is not None}
    try:
        if "validation_loss" in row or "validation_perplexity" in row:
            return msgspec.convert(given, ValidationLine)
        if "loss" in row:
            return msgspec.convert(given, StepLine)
    except msgspec.ValidationError as error:
        raise _damaged(where, error) from error
    raise _damaged(where, "it has no loss")


def _step(row: dict[str, Any], where: str) -> int:
    try:
        return msgspec.convert(row.get("step"), int)
    except msgspec.ValidationError as error:
        raise _damaged(where, f"step: {error}") from error


def _damaged(where: str, why: object) -> DataError:
    return DataError(f"{where} is not a line of metrics: {why}", "delete that line; checkpoints do not depend on it")


def perplexity(loss: float) -> float:
    """exp of nats per target; infinite where that overflows."""
    try:
        return math.exp(loss)
    except OverflowError:
        return math.inf


def best_validation(validations: Sequence[ValidationLine]) -> ValidationLine | None:
    """The first one with the lowest perplexity, or None when there is none."""
    return min(validations, key=lambda line: line.validation_perplexity, default=None)


def memorises(validations: Sequence[ValidationLine]) -> str | None:
    """A warning when the training set begins to be memorised, else None.

    That is: validation loss rose at each of the last two validations, while the training loss of the last one is below
    that of the best one. One rise alone is noise; without training losses nothing can be said.
    """
    if len(validations) < 3:
        return None
    before, middle, last = validations[-3:]
    best = min(validations, key=lambda line: line.validation_loss)
    if best.training_loss is None or last.training_loss is None or last.training_loss >= best.training_loss:
        return None
    if not before.validation_loss < middle.validation_loss < last.validation_loss:
        return None
    return (
        f"the training set begins to be memorised: validation perplexity was lowest at step {best.step:,} "
        f"({perplexity(best.validation_loss):,.2f}) and is {perplexity(last.validation_loss):,.2f} at step "
        f"{last.step:,}, while training perplexity fell from {perplexity(best.training_loss):,.2f} to "
        f"{perplexity(last.training_loss):,.2f}"
    )


class TensorBoardMirror:
    """Writes the lines of a run into a folder that TensorBoard shows."""

    def __init__(self, writer: Any) -> None:
        self._writer = writer

    def add(self, line: StepLine | ValidationLine) -> None:
        """Show a line's numbers, and the samples as text, at its step."""
        for tag, value in _scalars(line).items():
            self._writer.add_scalar(tag, value, line.step)
        if isinstance(line, ValidationLine):
            for number, sample in enumerate(line.samples, 1):
                text = "\n\n".join([*sample.context, f"**{sample.reply}**"])
                self._writer.add_text(f"reply {number}", text, line.step)
            self._writer.flush()

    def close(self) -> None:
        self._writer.close()


def tensorboard_mirror(folder: Path, resumed_at: int = 0) -> TensorBoardMirror:
    """A mirror of the run's lines in `folder` (made if need be); UsageError when TensorBoard is not installed.

    `resumed_at` is the step from which a stopped run resumes: what was shown after it is hidden.
    """
    try:
        from torch.utils.tensorboard import SummaryWriter
    except ImportError as error:
        raise UsageError(
            "the mirror for TensorBoard needs tensorboard", 'pip install "dialogpt[tensorboard]"'
        ) from error
    return TensorBoardMirror(SummaryWriter(str(folder), purge_step=resumed_at + 1 if resumed_at else None))


def _scalars(line: StepLine | ValidationLine) -> dict[str, float]:
    """Numbers by TensorBoard's tag: the part before the slash is a section; what was not measured is left out."""
    if isinstance(line, ValidationLine):
        return {"loss/validation": line.validation_loss, "perplexity/validation": line.validation_perplexity}
    known = {
        "loss/training": line.loss,
        "perplexity/training": perplexity(line.loss),
        "optimizer/learning rate": line.lr,
        "speed/target tokens per second": line.tokens_per_s,
        "speed/target tokens seen": float(line.targets_seen),
    }
    if math.isfinite(line.gradient_norm):
        known["optimizer/gradient norm"] = line.gradient_norm
    if line.memory_bytes:
        known["speed/peak memory in GB"] = line.memory_bytes / 1e9
    return known
