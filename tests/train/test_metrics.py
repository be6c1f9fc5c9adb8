"""metrics.jsonl: what is written is read again, damage is named, learning by heart is seen, TensorBoard is fed."""

import json
import math
import sys
import time
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialogpt.errors import DataError, UsageError
from dialogpt.train.metrics import (
    MetricsFile,
    Sample,
    StepLine,
    ValidationLine,
    best_validation,
    memorises,
    perplexity,
    tensorboard_mirror,
)

COUNTS = st.integers(0, 2**63 - 1)
NUMBERS = st.floats(allow_nan=False, allow_infinity=False)
TEXTS = st.text(st.characters(codec="utf-8"), max_size=20)
LOSSES = st.floats(0, 50) | st.just(math.inf)
STEPS = st.builds(
    StepLine, step=COUNTS, epoch=COUNTS, targets_seen=COUNTS, loss=LOSSES, lr=NUMBERS, gradient_norm=LOSSES,
    tokens_per_s=NUMBERS, memory_bytes=COUNTS, elapsed_s=NUMBERS,
)  # fmt: skip
VALIDATIONS = st.builds(
    ValidationLine, step=COUNTS, epoch=COUNTS, targets_seen=COUNTS, validation_loss=LOSSES,
    validation_perplexity=LOSSES, training_loss=st.none() | NUMBERS,
    samples=st.lists(st.builds(Sample, context=st.lists(TEXTS, max_size=3), reply=TEXTS), max_size=3),
)  # fmt: skip


@pytest.fixture
def file(tmp_path: Path) -> MetricsFile:
    return MetricsFile(tmp_path / "metrics.jsonl")


@settings(max_examples=40)
@given(lines=st.lists(STEPS | VALIDATIONS, max_size=8), after=COUNTS)
def test_what_is_written_is_read_again_and_forgotten_after_a_step(
    tmp_path_factory: pytest.TempPathFactory, lines: list[StepLine | ValidationLine], after: int
) -> None:
    file = MetricsFile(tmp_path_factory.mktemp("run") / "metrics.jsonl")
    assert file.read() == ([], [])
    for line in lines:
        file.append(line)
    steps = [line for line in lines if isinstance(line, StepLine)]
    validations = [line for line in lines if isinstance(line, ValidationLine)]
    assert file.read() == (steps, validations)
    file.forget_after(after)
    assert file.read() == ([s for s in steps if s.step <= after], [v for v in validations if v.step <= after])
    assert [path.name for path in file.path.parent.iterdir()] == (["metrics.jsonl"] if lines else [])


def test_each_line_is_strict_json_in_one_line(file: MetricsFile) -> None:
    sample = Sample(["صباح الخير\nكيف حالك؟", "よし"], "Хорошо 😀\u2028\r")
    file.append(ValidationLine(step=3, validation_loss=math.inf, validation_perplexity=math.nan, samples=[sample]))
    (line,) = file.path.read_bytes().split(b"\n")[:-1]
    assert json.loads(line, parse_constant=pytest.fail)["validation_perplexity"] is None
    (validation,) = file.read()[1]
    assert (validation.samples, validation.validation_perplexity) == ([sample], math.inf)


def test_files_of_older_versions_are_read(file: MetricsFile) -> None:
    file.path.write_text(
        '{"step": 3, "loss": 9.0, "lr": 1.5e-05, "gradient_norm": 2.9, "tokens_per_s": 5764, "epoch": 0, '
        '"targets_seen": 19838}\n'
        '{"step": 6, "validation_loss": 800.5, "validation_perplexity": Infinity, "epoch": 1, "targets_seen": 40850}\n'
    )
    steps, validations = file.read()
    expected = StepLine(step=3, targets_seen=19838, loss=9.0, lr=1.5e-5, gradient_norm=2.9, tokens_per_s=5764.0)
    assert steps == [expected]
    assert (steps[0].elapsed_s, steps[0].memory_bytes) == (0.0, 0)
    assert validations == [
        ValidationLine(step=6, epoch=1, targets_seen=40850, validation_loss=800.5, validation_perplexity=math.inf)
    ]
    assert (validations[0].training_loss, validations[0].samples) == (None, [])


def test_a_key_of_a_later_version_is_kept_when_lines_are_forgotten(file: MetricsFile) -> None:
    file.path.write_text('{"step": 3, "loss": 9.0, "new": [1]}\n\n{"step": 4, "loss": 8.0}\n')
    file.forget_after(3)
    assert file.path.read_text() == '{"step": 3, "loss": 9.0, "new": [1]}\n'


@pytest.mark.parametrize("cut", ["{", '{"step": 13', '{"step": 13, "loss": 2.', "\0\0\0", '{"step": 3, "loss": 9.0'])
def test_a_last_line_cut_by_a_kill_is_passed_over_and_then_forgotten(file: MetricsFile, cut: str) -> None:
    file.append(StepLine(step=3, loss=9.0))
    whole = file.path.read_bytes()
    file.path.write_bytes(whole + cut.encode())
    assert [line.step for line in file.read()[0]] == [3]
    file.forget_after(100)
    assert file.path.read_bytes() == whole


def test_a_whole_last_line_without_its_line_end_counts(file: MetricsFile) -> None:
    file.path.write_text('{"step": 3, "loss": 9.0}')
    file.forget_after(5)
    file.append(StepLine(step=5, loss=8.0))
    assert [line.step for line in file.read()[0]] == [3, 5]


@pytest.mark.parametrize(
    "line",
    [
        b"{a}", b"\xff}", b"[1]", b"7", b'"step"', b"\0\0", b"[" * 100_000, b'{"step": 1', b'{"step": 1}',
        b'{"loss": 1.0}', b'{"step": "1", "loss": 1.0}', b'{"step": -1, "loss": 1.0}', b'{"step": 1, "loss": "x"}',
        b'{"step": 1.5, "loss": 1.0}', b'{"step": 1, "loss": 1.0, "targets_seen": 1' + b"0" * 400 + b"}",
        b'{"step": 1, "validation_loss": [1]}', b'{"step": 1, "validation_loss": 1, "samples": [{"reply": "hi"}]}',
    ],
    ids=lambda line: line[:60].decode("utf-8", "replace").replace("\0", "NUL"),
)  # fmt: skip
def test_damage_is_an_error_that_names_file_and_line(file: MetricsFile, line: bytes) -> None:
    file.path.write_bytes(b'{"step": 1, "loss": 9.0}\n' + line + b"\n" + b'{"step": 2, "loss": 9.0}\n')
    with pytest.raises(DataError, match=r"metrics\.jsonl:2 is not a line of metrics"):
        file.read()


def test_forgetting_names_damage_and_changes_nothing_then(file: MetricsFile) -> None:
    for damage in (b"{a}\n", b'{"loss": 1.0}\n', b'{"step": "x"}\n'):
        file.path.write_bytes(b'{"step": 1, "loss": 9.0}\n' + damage)
        with pytest.raises(DataError, match=r"metrics\.jsonl:2"):
            file.forget_after(0)
        assert file.path.read_bytes().endswith(damage)


def validations(*losses: tuple[float, float | None]) -> list[ValidationLine]:
    """A line for each (validation loss, training loss), every hundred steps."""
    return [
        ValidationLine(step=100 * i, validation_loss=loss, validation_perplexity=perplexity(loss), training_loss=train)
        for i, (loss, train) in enumerate(losses, 1)
    ]


@pytest.mark.parametrize(
    "losses, warns",
    [
        ([], False),
        ([(3.0, 3.0)], False),
        ([(3.0, 3.0), (3.1, 2.0)], False),
        ([(3.0, 3.0), (3.1, 2.0), (3.2, 1.0)], True),
        ([(5.0, 5.0), (3.0, 3.0), (3.1, 2.0), (3.2, 1.0)], True),
        ([(3.0, 3.0), (3.3, 2.5), (3.1, 2.0), (3.2, 1.0)], False),  # one rise alone
        ([(3.0, 3.0), (3.3, 2.5), (3.1, 2.0), (3.2, 1.5), (3.3, 1.0)], True),  # the lowest was long ago
        ([(3.0, 3.0), (3.1, 2.0), (3.1, 1.0)], False),  # level
        ([(3.0, 3.0), (3.1, 2.0), (3.05, 1.0)], False),
        ([(3.0, 3.0), (3.1, 3.1), (3.2, 3.2)], False),  # training rises too: it diverges
        ([(3.0, 3.0), (3.1, 3.0), (3.2, 3.0)], False),
        ([(3.0, None), (3.1, 2.0), (3.2, 1.0)], False),
        ([(3.0, 3.0), (3.1, 2.0), (3.2, None)], False),
        ([(3.0, 3.0), (3.1, None), (3.2, 1.0)], True),
        ([(3.0, 3.0), (3.1, 2.0), (math.inf, 1.0)], True),
        ([(math.inf, 3.0), (math.inf, 2.0), (math.inf, 1.0)], False),
    ],
)
def test_learning_by_heart_is_seen(losses: list[tuple[float, float | None]], warns: bool) -> None:
    assert (memorises(validations(*losses)) is not None) == warns


def test_the_warning_says_the_numbers() -> None:
    words = memorises(validations((5.0, 6.0), (math.log(20), math.log(16)), (3.1, 2.0), (math.log(25), math.log(4))))
    assert words is not None
    for part in ("lowest at step 200 (20.00)", "is 25.00 at step 400", "from 16.00 to 4.00"):
        assert part in words
    assert "\n" not in words


def test_the_best_validation_is_the_first_of_the_lowest() -> None:
    assert best_validation([]) is None
    best = best_validation(validations((3.0, None), (2.0, None), (2.0, None), (2.5, None)))
    assert best is not None
    assert best.step == 200


def test_tensorboard_shows_numbers_and_replies(tmp_path: Path) -> None:
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    mirror = tensorboard_mirror(tmp_path / "board")
    mirror.add(StepLine(step=10, loss=1.5, lr=0.01, gradient_norm=3.0, tokens_per_s=900.0, targets_seen=70))
    mirror.add(StepLine(step=20, loss=1.25, memory_bytes=2_000_000_000))
    mirror.add(
        ValidationLine(step=20, validation_loss=2.0, validation_perplexity=7.5, samples=[Sample(["hi"], "مرحبا")])
    )
    mirror.close()
    board = loader.EventAccumulator(str(tmp_path / "board")).Reload()
    shown = {tag: [(e.step, e.value) for e in board.Scalars(tag)] for tag in board.Tags()["scalars"]}
    assert shown["loss/training"] == [(10, 1.5), (20, 1.25)]
    assert shown["optimizer/gradient norm"] == [(10, 3.0)], "of a step that overflowed there is none"
    assert shown["perplexity/validation"] == [(20, 7.5)]
    assert shown["speed/peak memory in GB"] == [(20, 2.0)]
    (text,) = board.Tensors("reply 1/text_summary")
    assert text.step == 20
    assert "مرحبا".encode() in text.tensor_proto.string_val[0]


def test_what_a_resumed_run_does_again_is_shown_once(tmp_path: Path) -> None:
    loader = pytest.importorskip("tensorboard.backend.event_processing.event_accumulator")
    for resumed_at, steps in ((0, (10, 20, 30)), (20, (30, 40))):
        mirror = tensorboard_mirror(tmp_path, resumed_at)
        for step in steps:
            mirror.add(StepLine(step=step, loss=step + resumed_at))
        mirror.close()
        time.sleep(1.1)  # the files are named by the second, and read in the order of their names
    board = loader.EventAccumulator(str(tmp_path)).Reload()
    assert [(e.step, e.value) for e in board.Scalars("loss/training")] == [(10, 10), (20, 20), (30, 50), (40, 60)]


def test_without_tensorboard_an_error_says_what_to_install(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorboard", None)
    monkeypatch.delitem(sys.modules, "torch.utils.tensorboard", raising=False)
    with pytest.raises(UsageError) as caught:
        tensorboard_mirror(tmp_path / "board")
    assert caught.value.hint == 'pip install "dialogpt[tensorboard]"'
    assert not (tmp_path / "board").exists()
