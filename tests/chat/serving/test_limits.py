"""What the server does not let in, let out, or let be known."""

import hmac
import json
import socket
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

pytest.importorskip("fastapi")
import httpx

from dialogpt import limits
from dialogpt.chat.serving import ServeConfig

SAID = "a secret"
HI = [{"role": "user", "content": "hi"}]

MALFORMED: dict[str, bytes] = {
    "nothing": b"",
    "deeply nested": b'{"messages": ' + b"[" * 100_000,
    "a number without end": b'{"messages": [], "seed": ' + b"9" * 5000 + b"}",
    "no number": b'{"messages": [{"role": "user", "content": "hi"}], "temperature": NaN}',
    "an infinite one": b'{"messages": [{"role": "user", "content": "hi"}], "temperature": Infinity}',
    "half a character in a stop": b'{"messages": [{"role": "user", "content": "hi"}], "stop": "\\ud83d"}',
    "half a character in a name": b'{"messages": [{"role": "user", "content": "hi"}], "model": "\\ud83d"}',
    "UTF-16": '{"messages": []}'.encode("utf-16-be"),
}


def test_malformed_bodies(serve: Callable[..., Any]) -> None:
    server = serve()
    for name, content in MALFORMED.items():
        for path in ("/v1/chat/completions", "/v1/completions"):
            answer = httpx.post(server.url + path, content=content, timeout=60)
            assert 400 <= answer.status_code < 500, (name, answer.text)
            assert answer.json()["error"]["type"] == "invalid_request_error", name
            assert answer.json()["error"]["message"]
    assert server.post({"messages": HI}).status_code == 200


HALF = {
    "nothing": b"",
    "half a head": b"GET /health HTTP/1.1\r\nHost:",
    "half a body": b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: 500\r\n\r\n{",
    "half a second one": b"GET /health HTTP/1.1\r\nHost: x\r\n\r\nGET",
}


@pytest.mark.parametrize("name", HALF)
def test_a_request_that_does_not_come_is_not_waited_for(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, name: str
) -> None:
    monkeypatch.setattr(limits, "REQUEST_S", 0.2)
    server = serve()
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2])), timeout=20) as client:
        client.sendall(HALF[name])
        while client.recv(1 << 16):
            pass


def test_a_reply_that_takes_longer_than_its_request_may_is_waited_for(
    serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch, slowed: Any
) -> None:
    monkeypatch.setattr(limits, "REQUEST_S", 0.1)
    server = serve(safety=False, min_new_tokens=6)
    slowed(server.worker.batcher.engine, 0.05)
    with httpx.Client() as client:
        for _ in range(2):
            answer = client.post(f"{server.url}/v1/chat/completions", json={"messages": HI}, timeout=60)
            assert answer.json()["usage"]["completion_tokens"] >= 6


@pytest.mark.parametrize(
    "body, message",
    [
        ({"stop": ["x"] * 17}, "stop"),
        ({"stop": "x" * 257}, "stop"),
        ({"stop": ["x" * 257]}, "stop"),
        ({"num_hypotheses": 17}, "num_hypotheses"),
        ({"no_repeat_ngram": -1}, "no_repeat_ngram"),
        ({"seed": 2**63}, "seed"),
        ({"seed": -(2**63) - 1}, "seed"),
    ],
)
def test_limits_of_a_request(serve: Callable[..., Any], body: dict[str, Any], message: str) -> None:
    answer = serve().post({"messages": HI} | body)
    assert answer.status_code == 422
    assert message in answer.json()["error"]["message"]


def test_what_is_no_setting_of_a_request_changes_nothing(serve: Callable[..., Any]) -> None:
    """Not the server's own settings either, whatever form they have."""
    server = serve(safety=False)
    plain = server.post({"messages": HI, "seed": 1}).json()["choices"]
    other = {"min_new_tokens": "many", "num_beams": 4, "backward": "x", "blocklist": 3, "precision": "int8", "host": ""}
    assert server.post({"messages": HI, "seed": 1} | other).json()["choices"] == plain


def test_the_key_is_compared_in_constant_time(serve: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    compared: list[tuple[bytes, bytes]] = []
    compare = hmac.compare_digest
    monkeypatch.setattr(hmac, "compare_digest", lambda a, b: compared.append((a, b)) or compare(a, b))
    server = serve(api_key="s3cret")
    for key, status in (("s3cret", 200), ("s3cre", 401), ("", 401)):
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        assert httpx.get(f"{server.url}/v1/models", headers=headers).status_code == status
    assert compared == [(b"s3cret", b"s3cret"), (b"s3cre", b"s3cret"), (b"", b"s3cret")]


def test_no_other_origin_reads_an_answer(serve: Callable[..., Any]) -> None:
    headers = {"Origin": "https://example.org"}
    answer = serve().post({"messages": HI}, headers=headers)
    assert answer.status_code == 200
    assert not [name for name in answer.headers if name.startswith("access-control")]


def test_it_listens_at_this_machine_alone() -> None:
    assert ServeConfig().host == "127.0.0.1"


def test_an_engine_that_fails_fails_those_in_it_and_no_later_one(
    serve: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    """Where it failed is in the log; what was said is not."""
    server = serve(safety=False, min_new_tokens=6)
    engine = server.worker.batcher.engine
    decode, together = engine.decode, threading.Event()

    def fails(tokens: Any, cache: Any, joining: Any = ()) -> Any:
        if len(tokens) + len(joining) == 2:
            together.set()
        if together.is_set():
            raise RuntimeError(SAID)
        return decode(tokens, cache)

    def held(tokens: Any, cache: Any, joining: Any = ()) -> Any:
        while server.worker.waiting == 0 and len(tokens) + len(joining) == 1 and not together.is_set():
            threading.Event().wait(0.01)
        return fails(tokens, cache, joining)

    engine.decode = held
    with caplog.at_level("DEBUG", logger="dialogpt.chat"), ThreadPoolExecutor(2) as pool:
        bodies = [{"messages": [{"role": "user", "content": text}]} for text in (SAID, f"{SAID} too")]
        answers = list(pool.map(server.post, bodies))
    assert [answer.status_code for answer in answers] == [500, 500]
    assert {answer.json()["error"]["message"] for answer in answers} == {"the reply failed"}
    told = [record.message for record in caplog.records if record.name.startswith("dialogpt.chat")]
    assert len(told) == 2
    assert all("RuntimeError" in line and "in fails" in line for line in told)
    assert "secret" not in "".join(told)
    engine.decode = decode
    assert server.post(bodies[0]).status_code == 200


def test_health_when_decoding_has_ended(serve: Callable[..., Any]) -> None:
    server = serve()
    server.worker.close()
    health = httpx.get(f"{server.url}/health")
    assert (health.status_code, health.json()["status"]) == (503, "decoding has ended")
    refused = server.post({"messages": HI})
    assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")


def test_streams_under_way_are_completed_at_the_end(serve: Callable[..., Any]) -> None:
    server = serve(safety=False, min_new_tokens=6)
    whole = server.post({"messages": HI, "seed": 2}).json()["choices"][0]["message"]["content"]
    begun, go, engine = threading.Event(), threading.Event(), server.worker.batcher.engine
    decode = engine.decode

    def held(*given: Any) -> Any:
        begun.set()
        go.wait(30)
        return decode(*given)

    engine.decode = held
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(server.post, {"messages": HI, "seed": 2, "stream": True})
        assert begun.wait(30)
        server.end()
        go.set()
        lines = running.result().text.splitlines()
    events = [json.loads(line[6:]) for line in lines if line.startswith("data: {")]
    assert "".join(event["choices"][0]["delta"].get("content", "") for event in events).strip() == whole
    assert lines[-2] == "data: [DONE]"


def test_a_page_whose_name_was_made_to_lead_here_is_closed_out(serve: Callable[..., Any]) -> None:
    """DNS rebinding: to its browser the page and the server have one host."""
    evil, proxied = "http://evil.example:8000", {"Origin": "https://example.org", "Host": "example.org"}
    server, admitting, keyed = serve(), serve(cors=(evil,)), serve(api_key="secret")

    def status(server: Any, headers: dict[str, str]) -> int:
        url = f"{server.url}/v1/chat/completions"
        return httpx.post(url, json={"messages": HI}, headers=headers, timeout=60).status_code

    rebound = {"Origin": evil, "Host": "evil.example:8000"}
    answer = httpx.post(f"{server.url}/v1/chat/completions", json={"messages": HI}, headers=rebound)
    assert (answer.status_code, answer.json()["error"]["code"]) == (403, 403)
    assert answer.json()["error"]["message"].startswith(f"pages at {evil} may not use this server (--cors {evil}")
    assert status(server, proxied) == status(server, {"Origin": "http://x..[", "Host": "x..["}) == 403
    assert status(admitting, rebound) == 200
    assert status(keyed, rebound | {"Authorization": "Bearer secret"}) == 200
    for own in ("127.0.0.1:8000", "localhost:8000", "a.localhost", "[::1]:8000", "192.168.0.7"):
        assert status(server, {"Origin": f"http://{own}", "Host": own}) == 200
    assert status(server, {"Host": "evil.example"}) == 200  # no browser's
