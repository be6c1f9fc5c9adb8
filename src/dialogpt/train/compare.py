"""Training runs in numbers, one beside the other: run folders -> a table of text.

Runs are compared at equal numbers of target tokens seen, not steps: one run's step may be twice as large as another's.
Between two validations of a run its loss is interpolated; outside them it is unknown.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import msgspec

from dialogpt.artifact import read_json
from dialogpt.errors import CheckpointError, DataError
from dialogpt.hub import model_folder
from dialogpt.train.metrics import METRICS, MetricsFile, StepLine, ValidationLine, best_validation, perplexity

SETTINGS = "settings.json"
DIGEST = "shards_digest"  # beside the settings: what the shards hold, wherever they are
REPORT = "report.html"
UNKNOWN = "-"
POINTS = 6  # numbers of target tokens at which runs are compared, besides each run's last
SAME_FOR_PERPLEXITY = ("shards", "reverse")  # settings in which runs must agree for perplexities to be comparable


@dataclass(frozen=True, slots=True, kw_only=True)
class TrainingRun:
    """What a run folder says about itself; `model` is its size in words."""

    folder: Path
    settings: Mapping[str, Any]
    steps: Sequence[StepLine]
    validations: Sequence[ValidationLine]
    model: str


def is_run(folder: Path) -> bool:
    return (folder / SETTINGS).is_file() or (folder / METRICS).is_file()


def read_run(folder: Path) -> TrainingRun:
    """Read a run folder, finished or not; DataError when it is none, or naming the file that is damaged."""
    if not is_run(folder):
        raise DataError(f"{folder} is not a run folder", f"it has neither {SETTINGS} nor {METRICS}")
    settings = read_json(folder / SETTINGS, dict[str, Any]) if (folder / SETTINGS).is_file() else {}
    steps, validations = MetricsFile(folder / METRICS).read()
    return TrainingRun(
        folder=folder, settings=settings, steps=steps, validations=validations, model=_model_size(folder)
    )


def numbers(run: TrainingRun) -> dict[str, str]:
    """The run in a few numbers by name; what its files do not say is `-`."""
    lines: list[StepLine | ValidationLine] = [*run.steps, *run.validations]
    last = max(lines, key=lambda line: line.step, default=None)
    best = best_validation(run.validations)
    rates = [line.tokens_per_s for line in run.steps if line.tokens_per_s > 0]
    memory_bytes = max((line.memory_bytes for line in run.steps), default=0)
    elapsed_s = max((line.elapsed_s for line in run.steps), default=0.0)
    return {
        "model": run.model,
        "steps": f"{last.step:,}" if last else UNKNOWN,
        "target tokens seen": f"{last.targets_seen:,}" if last else UNKNOWN,
        "best validation perplexity": f"{best.validation_perplexity:,.2f} at step {best.step:,}" if best else UNKNOWN,
        **({"pairs in the right order": f"{best.pairs_right:.1%}"} if best and best.pairs_right is not None else {}),
        "last training loss": f"{run.steps[-1].loss:.3f} nats" if run.steps else UNKNOWN,
        "target tokens per second": f"{median(rates):,.0f}" if rates else UNKNOWN,
        "peak memory": f"{memory_bytes / 1e9:,.2f} GB" if memory_bytes else UNKNOWN,
        "training time": f"{elapsed_s / 3600:,.2f} hours" if elapsed_s else UNKNOWN,
    }


def compare(folders: Sequence[Path]) -> str:
    """Lay runs side by side, a column each: settings that differ, size, progress, perplexity at equal progress."""
    runs = [read_run(folder) for folder in folders]
    columns = [numbers(run) for run in runs]
    differ = _settings_that_differ(runs)
    like = _perplexity_at_like_targets([run.validations for run in runs])
    rows = [
        ("", _names(folders)),
        *((name, [column.get(name, UNKNOWN) for column in columns]) for name in max(columns, key=len)),
        *([("settings that differ", [""] * len(runs))] if differ else []),
        *((f"  {name}", texts) for name, texts in differ.items()),
        *([("validation perplexity at target tokens", [""] * len(runs))] if like else []),
        *((f"  {targets:,}", texts) for targets, texts in like.items()),
    ]
    lines = _table(rows)
    if like and (others := _other_data(runs)):
        lines.append(f"perplexities cannot be compared where {' and '.join(others)} differ: do not rank by them")
    return "\n".join(lines)


def _settings_that_differ(runs: Sequence[TrainingRun]) -> dict[str, list[str]]:
    """The texts of each setting that differs between runs, except `out`, the run's own name, and the digest."""
    names = dict.fromkeys(name for run in runs for name in run.settings if name not in ("out", DIGEST))
    texts = {name: [setting_text(run.settings, name) for run in runs] for name in names}
    return {name: values for name, values in texts.items() if len(set(values)) > 1}


def _other_data(runs: Sequence[TrainingRun]) -> list[str]:
    """The settings by which perplexities are of different things; shards are known by what they hold."""
    known = all(DIGEST in run.settings for run in runs)
    keys = {name: DIGEST if name == "shards" and known else name for name in SAME_FOR_PERPLEXITY}
    return [name for name, key in keys.items() if len({setting_text(run.settings, key) for run in runs}) > 1]


def setting_text(settings: Mapping[str, Any], name: str) -> str:
    """A setting as shown: text without quotes unless it is empty; `-` where the run has no such setting."""
    value = settings.get(name, UNKNOWN)
    return value if value and isinstance(value, str) else msgspec.json.encode(value).decode()


def _perplexity_at_like_targets(validations: Sequence[Sequence[ValidationLine]]) -> dict[int, list[str]]:
    """Validation perplexities of the runs by target tokens seen: at each run's last, and at some of the longest run's.

    Those are spread evenly on a logarithmic scale, as learning is, so that a much shorter run gets its share.
    """
    curves = [_losses_by_targets(lines) for lines in validations]
    ends = {max(curve) for curve in curves if curve}
    if not ends:
        return {}
    longest = max(filter(None, curves), key=max)
    low, high = max(min(longest), 1), max(max(longest), 1)
    wanted = (low * (high / low) ** (i / (POINTS - 1)) for i in range(POINTS))
    points = ends | {min(longest, key=lambda targets: abs(targets - near)) for near in wanted}
    return {targets: [_perplexity_at(curve, targets) for curve in curves] for targets in sorted(points)}


def _losses_by_targets(validations: Sequence[ValidationLine]) -> dict[int, float]:
    known = ((line.targets_seen, line.validation_loss) for line in validations if math.isfinite(line.validation_loss))
    return dict(sorted(known))


def _perplexity_at(curve: Mapping[int, float], targets: int) -> str:
    import numpy as np

    if not curve or not min(curve) <= targets <= max(curve):
        return UNKNOWN
    return f"{perplexity(float(np.interp(targets, list(curve), list(curve.values())))):,.2f}"


def _model_size(folder: Path) -> str:
    """The parameters of the run's checkpoint, counted by the headers of its weights; `-` before the first one."""
    from safetensors import SafetensorError, safe_open

    try:
        file = model_folder(folder.resolve()) / "model.safetensors"  # resolved: a run may be called `bundled`
    except CheckpointError:
        return UNKNOWN
    if not file.is_file():
        return UNKNOWN
    try:
        with safe_open(file, framework="np") as weights:
            shapes = {name: weights.get_slice(name).get_shape() for name in weights.keys()}  # noqa: SIM118
    except (OSError, SafetensorError) as error:
        raise DataError(f"{file} does not load: {error}", "the checkpoint is damaged") from error
    return f"{sum(map(math.prod, shapes.values())) / 1e6:,.1f}M parameters"


def _names(folders: Sequence[Path]) -> list[str]:
    """The folders' own names if they differ, else the whole paths."""
    names = [folder.name for folder in folders]
    return names if all(names) and len(set(names)) == len(names) else [str(folder) for folder in folders]


def _table(rows: Sequence[tuple[str, Sequence[str]]]) -> list[str]:
    """Lines with the names to the left and the columns to the right, each as wide as its longest text."""
    left = max(len(name) for name, _ in rows)
    widths = [max(map(len, column)) for column in zip(*(texts for _, texts in rows), strict=True)]
    lines = (
        f"{name:<{left}}  " + "  ".join(f"{text:>{width}}" for text, width in zip(texts, widths, strict=True))
        for name, texts in rows
    )
    return [line.rstrip() for line in lines]
