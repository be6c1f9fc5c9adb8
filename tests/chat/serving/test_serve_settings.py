"""What `dialogpt serve` refuses before it serves: settings, ports, addresses, models; and what the model is called."""

import shutil
import socket
import sys
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("fastapi")

from dialogpt.chat.serving import ServeConfig
from dialogpt.chat.serving.serve import model_name, serve, warn_of_mmi
from dialogpt.errors import CheckpointError, UsageError
from dialogpt.hub import BUNDLED


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"rows": 0}, "--rows 0 is below 1"),
        ({"max_body": 0}, "--max-body 0 is below 1"),
        ({"num_beams": 4}, "serve draws its replies"),
        ({"port": 70_000}, "--port 70000 is not a port"),
        ({"backend": "localhost:8000"}, "--backend localhost:8000 is not a server's address"),
        ({"longest_step": -1}, "--longest-step -1 is not a time"),
        ({"end_timeout": -1}, "--end-timeout -1 is below 0"),
        ({"backend_timeout": 0}, "--backend-timeout 0 is not a time"),
        ({"backend_model": "x"}, "--backend-model without --backend"),
        ({"backend_route": "chat"}, "--backend-route without --backend"),
        ({"backend_timeout": 30}, "--backend-timeout without --backend"),
        ({"backend": "http://localhost:8000", "cache_mb": 9}, "--cache-mb with --backend"),
        ({"backend": "http://localhost:8000", "longest_step": 9}, "--longest-step with --backend"),
        ({"length_penalty": 0.5}, "--length-penalty is for generate and chat"),
        ({"cors": ("https://example.org", "example.org")}, "--cors example.org is not an origin"),
        ({"cors": ("https://example.org/",)}, "--cors https://example.org/ is not an origin"),
        ({"cors": ("https://Example.org",)}, "--cors https://Example.org is not an origin"),
        ({"host": "no.such.host.invalid"}, "--host no.such.host.invalid"),
    ],
)
def test_what_cannot_be_served(settings: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError) as caught:
        serve(ServeConfig(**{"port": 0, **settings}))
    assert message in caught.value.message


def test_settings_for_mmi_without_a_backward_model(caplog: pytest.LogCaptureFixture) -> None:
    for ranks, settings in ((True, {"mmi_source": "all"}), (False, {}), (False, {"mmi_source": "all"})):
        warn_of_mmi(ServeConfig(**settings), SimpleNamespace(ranks=ranks))  # type: ignore[arg-type]
    (warning,) = caplog.records
    assert warning.getMessage().startswith("--mmi-source is not used")


def test_a_port_that_is_taken(tmp_path: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(UsageError, match=f"--port {port} cannot be listened on: Address already in use"):
            serve(ServeConfig(model=str(tmp_path / "never looked at"), port=port))


@pytest.mark.parametrize("host", ["[::1]", "no.such.host.invalid", "192.0.2.1"])
def test_an_address_that_is_not_here(host: str) -> None:
    with pytest.raises(UsageError) as caught:
        serve(ServeConfig(host=host, port=0))
    assert caught.value.hint.startswith("--host is an address of this machine: 127.0.0.1, ::1 (without brackets)")


def test_a_model_that_is_not_there(tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    with pytest.raises(CheckpointError, match="is not a checkpoint folder"):
        serve(ServeConfig(model=str(tmp_path / "empty"), port=0))


def test_without_fastapi_one_sentence(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "uvicorn", None)
    with pytest.raises(UsageError) as caught:
        serve(ServeConfig())
    needs = "serve needs FastAPI, httptools, httpx, psutil and uvicorn"
    assert str(caught.value) == f'{needs} (pip install "dialogpt[server]")'


def test_what_the_model_is_called(tiny_checkpoint: Path, tmp_path: Path) -> None:
    assert model_name(ServeConfig()) == "dialogpt-bundled"
    assert model_name(ServeConfig(model=str(BUNDLED))) == "dialogpt-bundled"
    assert model_name(ServeConfig(model=str(tiny_checkpoint))) == "tiny"
    assert model_name(ServeConfig(model=str(tiny_checkpoint), name="Ann")) == "Ann"
    run = tmp_path / "my-bot"
    shutil.copytree(tiny_checkpoint, run / "best")
    assert model_name(ServeConfig(model=str(run))) == "my-bot"
