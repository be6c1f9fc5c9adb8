"""The server under load and faults: who waits, who goes away, who fails; none of it is another's business."""

import asyncio
import json
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace
from typing import Any

import pytest

pytest.importorskip("fastapi")
import httpx
import openai

from dialogpt.chat.serving.http.talk import Mail, Talk, Told
from dialogpt.decoding import Reply, ReplyConfig
from dialogpt.decoding.batcher import Job
from dialogpt.session import Turn

SAID = ["does money buy happiness?", "صباح الخير", "are you sure? 😀👍🏽"]


def user(*texts: str) -> list[Any]:
    roles = ["assistant", "user"]
    return [{"role": roles[(len(texts) - i) % 2], "content": text} for i, text in enumerate(texts)]


class Slow:
    """Holds the engine at each token until it is let go."""

    def __init__(self, server: Any) -> None:
        engine = server.worker.batcher.engine
        self.steps, self.go = 0, threading.Event()
        decode = engine.decode

        def held(*given: Any) -> Any:
            self.steps += 1
            self.go.wait(30)
            return decode(*given)

        engine.decode = held  # type: ignore[method-assign]


def test_too_many_are_told_to_come_again(serve: Callable[..., Any]) -> None:
    server = serve(rows=1, queue=2, safety=False, min_new_tokens=4)
    slow = Slow(server)
    with ThreadPoolExecutor(3) as pool:
        running = pool.submit(server.post, {"messages": user("hi"), "seed": 1})
        while not slow.steps:
            time.sleep(0.01)
        waiting = [pool.submit(server.post, {"messages": user("hi"), "seed": 1}) for _ in range(2)]
        while server.worker.waiting < 2:
            time.sleep(0.01)
        refused = server.post({"messages": user("hi")})
        assert refused.status_code == 429
        assert refused.headers["Retry-After"] == "1"
        assert refused.json()["error"]["type"] == "rate_limit_error"
        with pytest.raises(openai.RateLimitError):
            server.client().chat.completions.create(model="tiny", messages=user("hi"))
        slow.go.set()
        answers = [future.result().json() for future in (running, *waiting)]
    assert len({answer["choices"][0]["message"]["content"] for answer in answers}) == 1


def test_when_one_prompt_is_turned_away_the_others_are_given_up(serve: Callable[..., Any]) -> None:
    server = serve(safety=False, rows=4, queue=2, max_new_tokens=50, min_new_tokens=50)
    slow = Slow(server)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(server.post, {"prompt": "hi"}, "/v1/completions")
        while not slow.steps:
            time.sleep(0.01)
        refused = server.post({"prompt": ["hi"] * 6}, "/v1/completions")
        assert (refused.status_code, "Retry-After" in refused.headers) == (429, True)
        with pytest.raises(openai.RateLimitError):
            server.client().completions.create(model="", prompt=["hi"] * 6, stream=True)
        assert server.worker.waiting == 0
        slow.go.set()
        assert running.result().status_code == 200
    while "dialogpt_rows 0.0" not in (numbers := httpx.get(f"{server.url}/metrics").text):
        assert "dialogpt_rows" in numbers
    assert "dialogpt_reply_seconds_count 1.0" in numbers


@pytest.mark.parametrize("stream", [False, True])
def test_whoever_goes_away_takes_his_rows_along(serve: Callable[..., Any], stream: bool) -> None:
    server = serve(safety=False, min_new_tokens=10)
    slow = Slow(server)
    body = json.dumps({"messages": user("hi"), "stream": stream, "num_hypotheses": 3}).encode()
    with socket.create_connection(("127.0.0.1", int(server.url.rpartition(":")[2]))) as connection:
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
        connection.sendall(f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        while not slow.steps:
            time.sleep(0.01)
        assert server.worker.batcher.rows == 3
    time.sleep(0.3)  # for the server to see it
    before = slow.steps
    slow.go.set()
    until = time.monotonic() + 30
    while server.worker.batcher.rows:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert slow.steps <= before + 1
    assert server.post({"messages": user("hi")}).status_code == 200


def test_many_at_once_get_what_each_would_alone(serve: Callable[..., Any]) -> None:
    server = serve(safety=False, rows=8)
    contexts = [SAID[: 1 + i % 3] for i in range(24)]
    with ThreadPoolExecutor(12) as pool:
        bodies = [{"messages": user(*context), "seed": seed} for seed, context in enumerate(contexts)]
        answers = [answer.json() for answer in pool.map(server.post, bodies)]
    for body, answer in zip(bodies, answers, strict=True):
        assert server.post(body).json()["choices"] == answer["choices"]


def test_a_request_that_fails_takes_no_other_along(serve: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    server = serve()

    def guard(context: Any, text: str) -> str | None:
        if context[-1].text == "boom":
            raise ValueError("internal matters")
        return None

    server.worker.batcher.guards = [guard]
    failed = server.post({"messages": user("boom")})
    assert failed.status_code == 500
    assert failed.json()["error"] == {"message": "the reply failed", "type": "server_error", "code": 500}
    assert "internal matters" not in failed.text
    streamed = server.post({"messages": user("boom"), "stream": True})
    assert (streamed.status_code, streamed.json()) == (500, failed.json())
    assert server.post({"messages": user("fine")}).status_code == 200
    assert [record.name for record in caplog.records] == ["dialogpt.chat.serving.http.talk"] * 2
    assert all("a reply failed: ValueError" in record.message for record in caplog.records)


def test_replies_under_way_are_completed_at_the_end(serve: Callable[..., Any]) -> None:
    server = serve(safety=False, min_new_tokens=6)
    slow = Slow(server)
    with ThreadPoolExecutor(1) as pool:
        running = pool.submit(server.post, {"messages": user("hi")})
        while not slow.steps:
            time.sleep(0.01)
        server.end()
        time.sleep(0.2)
        slow.go.set()
        assert running.result().status_code == 200


def test_a_job_may_be_done_before_it_is_handed_over() -> None:
    """The worker's thread can be faster than the request's."""

    async def talk() -> Any:
        seconds = SimpleNamespace(observe=lambda value: None)
        worker = SimpleNamespace(submit=lambda job: job.on_done(Reply(text="at once", hypotheses=())))
        request = SimpleNamespace(receive=asyncio.Event().wait)  # it stays
        told = Talk(worker, SimpleNamespace(first_token=seconds, reply=seconds), Mail())  # type: ignore[arg-type]
        told.begin(Job(context=[Turn("hi")], config=ReplyConfig(), seed=1, on_done=told.on_done), request)  # type: ignore
        try:
            return await asyncio.wait_for(told.next(), 10)
        finally:
            told.leave()

    assert isinstance(asyncio.run(talk()), Told)
