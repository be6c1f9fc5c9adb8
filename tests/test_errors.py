"""Errors go from one process to another as they are."""

import pickle

import pytest

from dialogpt.chat.serving.replier import ReplyError
from dialogpt.chat.serving.worker import BusyError
from dialogpt.errors import CheckpointError, DataError, DialoGPTError, UsageError


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
