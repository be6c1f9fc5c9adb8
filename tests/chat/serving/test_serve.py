"""The command as a user starts it: a real process, its port, its end."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from pathlib import Path

import pytest

pytest.importorskip("fastapi")
import httpx

Process = subprocess.Popen[str]
HI = {"messages": [{"role": "user", "content": "hi"}]}


@pytest.fixture
def started(tiny_checkpoint: Path) -> Iterator[Callable[..., tuple[Process, str]]]:
    """Start `dialogpt serve` on a free port; returns the process and its address."""
    processes: list[Process] = []

    def start(*arguments: str, **environment: str) -> tuple[Process, str]:
        command = [sys.executable, "-m", "dialogpt", "serve", str(tiny_checkpoint), "--port", "0", "--device", "cpu"]
        process = subprocess.Popen(
            [*command, *arguments], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
            env=os.environ | {"OMP_NUM_THREADS": "1"} | environment,
        )  # fmt: skip
        processes.append(process)
        assert process.stderr is not None
        line = process.stderr.readline()
        found = re.fullmatch(r"tiny is at (http://127\.0\.0\.1:\d+)\n", line)
        if not found:
            process.kill()
            raise AssertionError(line + process.stderr.read())
        until = time.monotonic() + 60
        while True:
            try:
                assert httpx.get(f"{found[1]}/health").status_code == 200
                return process, found[1]
            except httpx.TransportError:
                assert time.monotonic() < until
                time.sleep(0.02)

    yield start
    for process in processes:
        process.kill()
        process.communicate()


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_it_serves_until_it_is_told_to_end(started: Callable[..., tuple[Process, str]], number: int) -> None:
    process, url = started()
    answer = httpx.post(f"{url}/v1/chat/completions", json=HI, timeout=60)
    assert answer.json()["choices"][0]["message"]["content"]
    process.send_signal(number)
    stdout, stderr = process.communicate(timeout=60)
    assert process.returncode in (0, -number, 128 + number), stderr
    assert stdout == ""
    assert "Traceback" not in stderr
    with pytest.raises(httpx.TransportError):
        httpx.get(f"{url}/health")


def decoder_of(process: Process) -> int:
    """The process that decodes for a server."""
    (child,) = Path(f"/proc/{process.pid}/task/{process.pid}/children").read_text().split()
    return int(child)


def until_gone(process_id: int) -> None:
    """Until it has ended: who adopts it may leave it a zombie."""
    until, stat = time.monotonic() + 30, Path(f"/proc/{process_id}/stat")
    while stat.exists() and ") Z " not in stat.read_text():
        assert time.monotonic() < until
        time.sleep(0.02)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="no /proc")
def test_the_model_ends_with_the_server_and_the_server_not_with_the_model(
    started: Callable[..., tuple[Process, str]],
) -> None:
    process, url = started()
    first = decoder_of(process)
    os.kill(first, signal.SIGKILL)
    until = time.monotonic() + 60
    statuses = set()
    while 200 not in statuses:
        statuses.add(httpx.post(f"{url}/v1/chat/completions", json=HI, timeout=60).status_code)
        assert time.monotonic() < until
    assert statuses <= {200, 429, 503}
    assert httpx.get(f"{url}/health").status_code == 200
    second = decoder_of(process)
    assert second != first
    process.kill()
    process.wait()
    until_gone(second)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="no /proc")
def test_a_signal_to_all_its_processes_lets_replies_be_completed(started: Callable[..., tuple[Process, str]]) -> None:
    process, url = started("--max-new-tokens", "32", "--min-new-tokens", "32", "--no-safety")
    decoder = decoder_of(process)
    with httpx.stream("POST", f"{url}/v1/chat/completions", json=HI | {"stream": True}, timeout=60) as answer:
        lines = answer.iter_lines()
        next(lines)
        for number in (decoder, process.pid):
            os.kill(number, signal.SIGINT)
        assert "data: [DONE]" in list(lines)
    until_gone(decoder)


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="no /proc")
def test_a_decoder_that_is_stopped_does_not_hold_up_the_end(started: Callable[..., tuple[Process, str]]) -> None:
    process, _ = started()
    decoder = decoder_of(process)
    os.kill(decoder, signal.SIGSTOP)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert "Traceback" not in stderr
    until_gone(decoder)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
@pytest.mark.parametrize("twice", [False, True])
def test_a_client_that_never_ends_does_not_hold_up_the_end(
    started: Callable[..., tuple[Process, str]], twice: bool, number: signal.Signals
) -> None:
    """It has sent half a request; the end gives it up after a while, or at once when it is asked for twice."""
    process, url = started("--end-timeout", "3600" if twice else "1")
    with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))) as client:
        client.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n{")
        assert httpx.get(f"{url}/health").status_code == 200  # by now the other one has been heard
        process.send_signal(number)
        if twice:
            listening = True
            while listening:
                try:
                    socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2]))).close()
                except ConnectionError:  # refused, or reset where it closes just then
                    listening = False
            process.send_signal(number)
        _, stderr = process.communicate(timeout=60)
    assert process.returncode in (0, -number, 128 + number), stderr
    assert ("Cancel 1 running task" in stderr) is not twice
    assert "Traceback" not in stderr


@pytest.mark.skipif(not Path("/proc").is_dir(), reason="no /proc")
def test_an_interrupt_while_decoding_begins_is_quiet(tiny_checkpoint: Path) -> None:
    """Of the whole group, as a terminal sends it, at any time of the decoder's life."""
    for wait_s in (0, 0.01, 0.03, 0.06, 0.1, 0.15, 0.3):
        process = subprocess.Popen(
            [sys.executable, "-m", "dialogpt", "serve", str(tiny_checkpoint), "--port", "0", "--device", "cpu"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, process_group=0,
        )  # fmt: skip
        children = Path(f"/proc/{process.pid}/task/{process.pid}/children")
        while not children.read_text():
            assert process.poll() is None
        time.sleep(wait_s)
        os.killpg(process.pid, signal.SIGINT)
        _, stderr = process.communicate(timeout=60)
        assert "Traceback" not in stderr
        assert process.returncode in (0, -signal.SIGINT, 128 + signal.SIGINT)


def test_messages_that_no_socket_holds(started: Callable[..., tuple[Process, str]]) -> None:
    """There and back, of several at once."""
    _, url = started("--max-new-tokens", "32", "--min-new-tokens", "32", "--temperature", "2")
    large = {"messages": [{"role": "user", "content": "x " * 500_000}]}
    many = HI | {"num_hypotheses": 16, "hypotheses": True}
    with ThreadPoolExecutor(9) as pool:
        asked = [
            pool.submit(httpx.post, f"{url}/v1/chat/completions", json=b, timeout=60) for b in (large, *[many] * 8)
        ]
        assert {each.result().status_code for each in asked} == {200}


@pytest.mark.parametrize("told", [False, True])
def test_what_is_said_is_in_the_log_where_that_is_asked_for(
    started: Callable[..., tuple[Process, str]], told: bool
) -> None:
    process, url = started(*(["--log-text"] if told else []))
    secret = {"messages": [{"role": "user", "content": "my secret"}]}
    assert httpx.post(f"{url}/v1/chat/completions", json=secret, timeout=60).status_code == 200
    for wrong in ({"stop": 1}, {"n": 2, "temperature": 0}, {"model": "none"}):
        assert httpx.post(f"{url}/v1/chat/completions", json=secret | wrong, timeout=60).status_code in (400, 404, 422)
    process.send_signal(signal.SIGTERM)
    _, stderr = process.communicate(timeout=60)
    assert ("asked: my secret" in stderr) == told
    assert ("secret" in stderr) == told


def test_a_head_that_never_ends_is_refused(started: Callable[..., tuple[Process, str]]) -> None:
    """It would be kept, and looked through anew with each piece, before anybody has asked for a key."""
    _, url = started("--api-key", "secret")
    body = json.dumps(HI | {"user": "x" * 900_000}).encode()
    large = httpx.post(
        f"{url}/v1/chat/completions", content=(body[i : i + 1000] for i in range(0, len(body), 1000)), timeout=60,
        headers={"Authorization": "Bearer secret", "Content-Type": "application/json", "X": "x" * 60_000},
    )  # fmt: skip
    assert large.status_code == 200, large.text
    asked = b"POST /v1/models HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\nX: "
    for sent in (b"GET /", b"GET / HTTP/1.1\r\nX: ", b"GET / HTTP/1.1\r\n" + b"X: x\r\n" * 20_000, asked):
        answer = b""
        with socket.create_connection(("127.0.0.1", int(url.rpartition(":")[2])), timeout=20) as client:
            with suppress(ConnectionError):  # it is not read to its end
                client.sendall(sent + b"x" * 2_000_000)
            with suppress(ConnectionError):
                while piece := client.recv(1 << 16):
                    answer += piece
        assert not answer or b"larger than 65536 bytes" in answer, answer
    assert httpx.get(f"{url}/health").status_code == 200


def test_other_addresses_of_this_machine_are_closed(started: Callable[..., tuple[Process, str]]) -> None:
    _, url = started()
    port = int(url.rpartition(":")[2])
    socket.create_connection(("127.0.0.1", port)).close()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.2", port))


def test_the_key_comes_from_the_environment(started: Callable[..., tuple[Process, str]]) -> None:
    _, url = started(DIALOGPT_API_KEY="k")
    assert httpx.post(f"{url}/v1/chat/completions", json=HI).status_code == 401
    headers = {"Authorization": "Bearer k"}
    assert httpx.post(f"{url}/v1/chat/completions", json=HI, headers=headers, timeout=60).status_code == 200


@pytest.mark.parametrize(
    "host, key, warned", [("0.0.0.0", "", True), ("0.0.0.0", "k", False), ("127.0.0.1", "", False)]
)
def test_it_is_said_that_others_may_use_it_without_a_key(
    tiny_checkpoint: Path, host: str, key: str, warned: bool
) -> None:
    process = subprocess.Popen(
        [sys.executable, "-m", "dialogpt", "serve", str(tiny_checkpoint), "--port", "0", "--host", host],
        stderr=subprocess.PIPE, text=True, env=os.environ | {"OMP_NUM_THREADS": "1", "DIALOGPT_API_KEY": key},
    )  # fmt: skip
    assert process.stderr is not None
    told = []
    for line in process.stderr:
        told.append(line)
        if " is at " in line:
            break
    process.kill()
    process.communicate()
    assert " is at " in told[-1]
    assert (f"whoever can reach {host} may use this server (set DIALOGPT_API_KEY)" in "".join(told)) == warned


def test_the_openapi_document_is_held_to(started: Callable[..., tuple[Process, str]]) -> None:
    schemathesis = pytest.importorskip("schemathesis")
    assert schemathesis
    _, url = started("--max-new-tokens", "4")
    command = [sys.executable, "-m", "schemathesis.cli", "run", f"{url}/openapi.json", "--max-examples", "25"]
    checks = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"
    done = subprocess.run(
        [*command, "--checks", checks, "--phases", "examples,fuzzing", "--seed", "1"],
        capture_output=True, text=True, timeout=240, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stdout[-6000:] + done.stderr[-2000:]
