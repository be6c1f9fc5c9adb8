"""Errors go from one process to another as they are, and say what would be right."""

import math
import pickle
from types import SimpleNamespace

import pytest

from dialogpt.chat.serving.replier import ReplyError
from dialogpt.chat.serving.worker import BusyError
from dialogpt.errors import CheckpointError, DataError, DialoGPTError, UsageError, check_least, did_you_mean


@pytest.mark.parametrize(
    "error",
    [
        UsageError("--x 1 is none", "name another"), DataError("f: damaged"), CheckpointError("m", "h"), BusyError(),
        ReplyError("late", "wait", status=503, retry_after="1"),
    ],
)  # fmt: skip
def test_an_error_is_the_same_in_another_process(error: DialoGPTError) -> None:
    there = pickle.loads(pickle.dumps(error))
    assert (type(there), str(there), vars(there)) == (type(error), str(error), vars(error))


@pytest.mark.parametrize("value", [-1, -1e-9, math.nan])
def test_a_setting_below_its_least_is_named(value: float) -> None:
    config = SimpleNamespace(rows=1, cache_mb=value)
    check_least(config, rows=1)
    with pytest.raises(UsageError, match=f"--cache-mb {value} is below 0") as caught:
        check_least(config, rows=1, cache_mb=0)
    assert caught.value.hint == "name 0 or more"


def test_the_nearest_of_what_is_known_is_proposed() -> None:
    assert did_you_mean("trian", {"train": 1, "chat": 2}, "see --help") == "did you mean 'train'?"
    assert did_you_mean("xyz", ("train", "chat"), "see --help") == "see --help"
