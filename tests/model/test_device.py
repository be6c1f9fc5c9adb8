"""Which device is taken, of those that are not here: torch is made to say that they are."""

import logging
import math
import shutil
import sysconfig
from collections.abc import Iterator
from typing import Any

import pytest
import torch

from dialogpt.errors import UsageError
from dialogpt.model.device import choose_device, compiler_missing

CUDA = torch.device("cuda")


@pytest.fixture
def card(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[Any]]:
    """Tensors on "cuda" are made on the CPU; the devices that became the current one."""
    made, taken = torch.zeros, []
    monkeypatch.setattr(torch, "zeros", lambda *size, device: made(*size, device="cpu"))
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "set_device", taken.append)
    before = torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
    yield taken
    torch.backends.cuda.enable_cudnn_sdp(before)  # type: ignore[no-untyped-call]


def test_cuda_is_taken_first_and_without_cudnns_attention(card: list[Any]) -> None:
    torch.backends.cuda.enable_cudnn_sdp(True)  # type: ignore[no-untyped-call]
    assert choose_device("cpu").type == "cpu"
    assert torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
    assert choose_device("auto") == CUDA
    assert not torch.backends.cuda.cudnn_sdp_enabled()  # type: ignore[no-untyped-call]
    assert card == []
    assert choose_device("cuda:1") == torch.device("cuda:1")
    assert card == [torch.device("cuda:1")]


def test_a_card_without_kernels_is_passed_over_unless_it_is_named(
    card: list[Any], monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    class Held:
        def add_(self, number: float) -> None:
            raise RuntimeError("CUDA error: no kernel image is available for execution on the device\nCompile with ...")

    made = torch.zeros
    monkeypatch.setattr(
        torch, "zeros", lambda *size, device: Held() if device.type == "cuda" else made(*size, device=device)
    )
    with pytest.raises(UsageError, match=r"--device cuda cannot be used: CUDA error: no kernel image .* the device \("):
        choose_device("cuda")
    with caplog.at_level(logging.WARNING):
        assert choose_device("auto").type == "cpu"
    assert [text.endswith("on the device; going on without it") for text in caplog.messages] == [True]


def test_torch_has_no_more_threads_than_time(monkeypatch: pytest.MonkeyPatch) -> None:
    limits = []
    monkeypatch.setattr(torch, "get_num_threads", lambda: 64)
    monkeypatch.setattr(torch, "set_num_threads", limits.append)
    for share in (math.inf, 1.5, 0.1):
        monkeypatch.setattr("dialogpt.model.device.time_share", lambda share=share: share)
        choose_device("cpu")
    assert limits == [2, 1]


def test_what_compiling_lacks_is_named(monkeypatch: pytest.MonkeyPatch, tmp_path: Any) -> None:
    monkeypatch.delenv("CC", raising=False)
    monkeypatch.setattr("dialogpt.model.device.find_spec", lambda name: None)
    assert compiler_missing(CUDA) == "Triton is not installed"
    monkeypatch.setattr("dialogpt.model.device.find_spec", lambda name: name)
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (6, 1))
    assert compiler_missing(CUDA) == "Triton has no code for a card this old"
    monkeypatch.setattr(torch.cuda, "get_device_capability", lambda device: (7, 0))
    monkeypatch.setattr(shutil, "which", lambda name: None)
    assert compiler_missing(CUDA) == "there is no C compiler (gcc or clang)"
    monkeypatch.setattr(shutil, "which", lambda name: name)
    monkeypatch.setattr(sysconfig, "get_path", lambda name: str(tmp_path))
    assert compiler_missing(CUDA) == "Python's headers are missing (Debian and Ubuntu: python3-dev)"
    (tmp_path / "Python.h").touch()
    assert compiler_missing(CUDA) is None
