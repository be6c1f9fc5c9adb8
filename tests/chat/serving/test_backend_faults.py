"""Engines that refuse, fail, are slow, break off or talk nonsense, played by a fake that answers what it is told to."""

import json
import logging
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

pytest.importorskip("fastapi")
import openai

from dialogpt.decoding import ReplyConfig
from dialogpt.decoding.batcher import Job
from dialogpt.session import Turn


def user(*texts: str) -> list[Any]:
    roles = ["assistant", "user"]
    return [{"role": roles[(len(texts) - i) % 2], "content": text} for i, text in enumerate(texts)]


def piece(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "text": text, "finish_reason": finish, "logprobs": {"token_logprobs": [-0.25]}}
    return b"data: " + json.dumps({"choices": [choice]}, ensure_ascii=False).encode() + b"\n\n"


FAULTS: dict[str, tuple[Callable[[Any], None], int, str]] = {
    "its own error": (lambda r: r.json({"error": {"message": "out of memory"}}, 500), 502, "out of memory"),
    "no JSON of an error": (lambda r: r.raw(b"<html>", 500), 502, "status 500"),
    "the error of another kind": (lambda r: r.json({"detail": "x" * 1000}, 500), 502, "xxx\N{HORIZONTAL ELLIPSIS}"),
    "unavailable": (lambda r: r.json({"error": {"message": "loading"}}, 503, Retry_After="7"), 503, "loading"),
    "a proxy's time-out": (lambda r: r.raw(b"", 504), 504, "status 504"),
    "busy": (lambda r: r.json({"message": "later"}, 429, Retry_After="17"), 429, "later"),
    "a wrong key": (lambda r: r.json({"error": "who?"}, 401), 502, "rejects this server's key"),
    "another model": (lambda r: r.json({"error": "no m"}, 404), 502, "no such model or route: no m"),
    "a redirect": (lambda r: r.raw(b"", 302, Location="http://127.0.0.1:9/"), 502, "status 302"),
    "what it refuses": (lambda r: r.json({"error": {"message": "temperature!"}}, 400), 400, "temperature!"),
    "no JSON": (lambda r: r.raw(b'{"choices": ['), 502, "cannot be read"),
    "no UTF-8": (lambda r: r.raw(b'{"choices": [{"text": "\xff"}]}'), 502, "cannot be read"),
    "another shape": (lambda r: r.json({"choices": {"text": "x"}}), 502, "cannot be read"),
    "a list": (lambda r: r.json([]), 502, "cannot be read"),
    "no choice": (lambda r: r.json({"choices": []}), 502, "made no reply"),
    "half an answer": (lambda r: r.raw(b"{", Content_Length="99"), 502, "broke off"),
    "no answer": (lambda r: r.connection.close(), 502, "broke off"),
}


@pytest.mark.parametrize("stream", [False, True])
def test_faults_are_told_in_openais_form(fake: Any, front: Callable[..., Any], stream: bool) -> None:
    server = front(safety=False)
    for name, (answers, status, message) in FAULTS.items():
        if stream and name in ("no choice", "no JSON", "no UTF-8", "another shape", "a list", "half an answer"):
            continue  # what follows a status of success is another test's
        if name in ("half an answer", "no answer"):

            def closing(request: Any, answers: Callable[[Any], None] = answers) -> None:
                request.close_connection = True
                answers(request)

            fake.answers = closing
        else:
            fake.answers = answers
        answer = server.post({"messages": user("hi"), "stream": stream})
        assert answer.status_code == status, (name, answer.text)
        error = answer.json()["error"]
        assert message in error["message"], name
        assert error["code"] == status
        assert len(error["message"]) < 500
    fake.answers = FAULTS["busy"][0]
    busy = server.post({"messages": user("hi"), "stream": stream})
    assert busy.headers["Retry-After"] == "17"
    assert busy.json()["error"]["type"] == "rate_limit_error"
    fake.answers = FAULTS["unavailable"][0]
    assert server.post({"messages": user("hi"), "stream": stream}).headers["Retry-After"] == "7"
    fake.answers = lambda request: request.complete()
    assert server.post({"messages": user("hi")}).status_code == 200


def test_an_engine_that_is_gone_or_slow(fake: Any, front: Callable[..., Any]) -> None:
    server = front(backend_timeout=0.3, safety=False)
    held = threading.Event()

    def slow(request: Any) -> None:
        if request.body["stream"]:
            request.send_response(200)
            request.end_headers()
            request.wfile.write(piece("be"))
            request.wfile.flush()
        held.wait(30)

    fake.answers = slow
    late = server.post({"messages": user("hi")})
    assert (late.status_code, late.json()["error"]["message"]) == (
        504,
        "the backend takes too long (try again later)",
    )
    streamed = server.post({"messages": user("hi"), "stream": True}).text
    assert '"content":"be"' in streamed
    assert '"code":504' in streamed
    held.set()
    fake.close()
    gone = server.post({"messages": user("hi")})
    assert (gone.status_code, gone.headers["Retry-After"]) == (503, "5")
    assert f"the backend at {fake.url} cannot be reached" in gone.json()["error"]["message"]
    assert server.worker.failures == 3


BROKEN: dict[str, tuple[tuple[bytes, ...], bool, str]] = {
    "the connection breaks": ((piece("well"), piece(" then")), False, "the backend broke off its answer"),
    "it ends without an end": ((piece("well"), piece(" then")), True, "the backend broke off its answer"),
    "it says so": (
        (piece("well"), piece(" then"), b'data: {"error": {"message": "no memory"}}\n\n'),
        True,
        "no memory",
    ),
    "nonsense": ((piece("well"), piece(" then"), b"data: {nonsense\n\n"), True, "cannot be read"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_client_is_told_when_a_stream_breaks(fake: Any, front: Callable[..., Any], name: str) -> None:
    pieces, whole, message = BROKEN[name]
    server = front(safety=False)
    fake.answers = lambda request: request.stream(*pieces, whole=whole)
    heard: list[str | None] = []
    with server.client() as client, client.chat.completions.create(
        model="", messages=user("hi"), stream=True
    ) as chunks, pytest.raises(openai.APIError, match=message):  # fmt: skip
        heard.extend(chunk.choices[0].delta.content for chunk in chunks)
    assert "".join(filter(None, heard)) == "well then"
    text = server.post({"messages": user("hi"), "stream": True}).text
    assert '"code":502' in text
    assert "[DONE]" not in text


def test_a_stream_in_any_pieces(fake: Any, front: Callable[..., Any]) -> None:
    """Characters that Unicode takes for ends of lines are none here; comments and other fields are passed over."""
    usage = b'data: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}\n\n'
    sent = b": hello\n\nevent: x\n" + piece("one\u2028two\x85") + piece("😀", "length") + usage + b"data: [DONE]\n\n"
    server = front(safety=False)
    body = {"messages": user("hi"), "stream": True, "hypotheses": True, "stream_options": {"include_usage": True}}
    for size in (1, 7, len(sent)):
        parts = [sent[i : i + size] for i in range(0, len(sent), size)]
        fake.answers = lambda request, parts=parts: request.stream(*parts)
        lines = server.post(body).content.split(b"\n")
        events = [json.loads(line[6:]) for line in lines if line.startswith(b"data: {")]
        said = [event["choices"][0]["delta"].get("content", "") for event in events[:-1]]
        assert "".join(said) == "one\u2028two\x85😀"
        assert events[-2]["choices"][0]["finish_reason"] == "length"
        assert events[-2]["hypotheses"][0]["forward"] == -0.5
        assert events[-1]["usage"] == {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    assert fake.bodies[-1]["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize(
    "message",
    [
        "This model's maximum context length is 8 tokens. However, you requested 99 tokens",
        "the request exceeds the available context size, try increasing it",
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_what_is_too_long_loses_its_oldest_turns(
    fake: Any, front: Callable[..., Any], message: str, stream: bool
) -> None:
    def answer(request: Any) -> None:
        if request.body["prompt"].count("<|endoftext|>") > 2:
            request.json({"error": {"message": message}}, 400)
        elif request.body["stream"]:
            request.stream(piece("ok", "stop"))
        else:
            request.complete()

    fake.answers = answer
    server = front(safety=False)
    assert server.post({"messages": user(*"abcdefg"), "stream": stream}).status_code == 200
    sent = [body["prompt"].replace("<|endoftext|>", "") for body in fake.bodies]
    assert sent == ["abcdefg", "defg", "fg"]
    fake.answers = lambda request: request.json({"error": {"message": message}}, 400)
    refused = server.post({"messages": user("a"), "stream": stream})
    assert refused.status_code == 400
    assert message in refused.json()["error"]["message"]


def test_too_many_are_told_to_come_again(fake: Any, front: Callable[..., Any]) -> None:
    server = front(rows=2, queue=1)
    go = threading.Event()

    def held(request: Any) -> None:
        go.wait(30)
        request.complete()

    fake.answers = held
    with ThreadPoolExecutor(3) as pool:
        first = pool.submit(server.post, {"messages": user("a"), "n": 2})
        while server.worker.rows < 2:
            threading.Event().wait(0.01)
        second = pool.submit(server.post, {"messages": user("b")})
        while not server.worker.waiting:
            threading.Event().wait(0.01)
        refused = server.post({"messages": user("c")})
        assert (refused.status_code, refused.headers["Retry-After"]) == (429, "1")
        assert len(fake.bodies) == 1
        go.set()
        assert [future.result().status_code for future in (first, second)] == [200, 200]
    assert (server.worker.rows, server.worker.waiting) == (0, 0)


def test_a_job_that_is_done_does_not_wait(front: Callable[..., Any]) -> None:
    """With a full queue, whoever asks again at once would be told to come later."""
    worker, seen, done = front().worker, [], threading.Event()

    def on_done(_: object) -> None:
        seen.append((worker.rows, worker.waiting))
        done.set()

    worker.submit(Job(context=[Turn("a")], config=ReplyConfig(), seed=1, on_done=on_done))
    assert done.wait(30)
    assert seen == [(0, 0)]


def test_nothing_of_what_is_said_is_logged(
    fake: Any, front: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        server = front(safety=False)
        server.post({"messages": user("a secret")})
        fake.answers = lambda request: request.json({"error": {"message": request.body["prompt"]}}, 500)
        assert "a secret" in server.post({"messages": user("a secret")}).text
    assert fake.bodies
    assert "a secret" not in caplog.text
