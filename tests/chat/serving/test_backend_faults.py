"""Engines that refuse, fail, are slow, break off or talk nonsense, played by a fake that answers what it is told to."""

import json
import logging
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pytest

pytest.importorskip("fastapi")
import openai

from dialogpt.chat.serving import ServeConfig
from dialogpt.chat.serving.backend.client import BackendError
from dialogpt.chat.serving.backend.opening import open_backend
from dialogpt.chat.serving.backend.wire import seed_of
from dialogpt.tokens.bpe import END_TEXT

Body = dict[str, Any]


def user(*texts: str) -> list[Any]:
    roles = ["assistant", "user"]
    return [{"role": roles[(len(texts) - i) % 2], "content": text} for i, text in enumerate(texts)]


def completion(body: Body, text: str = "well", **more: Any) -> Body:
    """As vLLM answers: a choice for each of `n`, with the log-probabilities of its tokens where they are asked for."""
    choices = [
        {"index": i, "text": f" {text}{i}", "finish_reason": "stop",
         "logprobs": {"token_logprobs": [-1.0, -0.5 - i]} if body.get("logprobs") else None}
        for i in range(body.get("n", 1))
    ]  # fmt: skip
    return {"choices": choices, "usage": {"prompt_tokens": 5, "completion_tokens": 2 * len(choices)}, **more}


class Fake:
    """An engine; `answers(request)` has the request's body, and answers by the request's methods."""

    def __init__(self) -> None:
        self.bodies: list[Body] = []
        self.keys: set[str] = set()
        self.models: Any = {"data": [{"id": "m", "owned_by": "vllm", "max_model_len": 64}]}
        self.answers: Callable[[Any], None] = lambda request: request.json(completion(request.body))
        fake = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            body: Body

            def do_GET(self) -> None:
                if fake.models is None:
                    self.json({"error": {"message": "nothing here"}}, 404)
                else:
                    self.json(fake.models)

            def do_POST(self) -> None:
                self.body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                self.body["path"] = self.path
                fake.bodies.append(self.body)
                fake.keys.add(self.headers.get("Authorization", ""))
                fake.answers(self)

            def json(self, answer: Any, status: int = 200, **headers: str) -> None:
                self.raw(json.dumps(answer).encode(), status, **headers)

            def raw(self, content: bytes, status: int = 200, **headers: str) -> None:
                self.send_response(status)
                for name, value in {"Content-Length": str(len(content)), **headers}.items():
                    self.send_header(name.replace("_", "-"), value)
                self.end_headers()
                self.wfile.write(content)

            def stream(self, *pieces: bytes, whole: bool = True) -> None:
                self.send_response(200)
                self.send_header("Transfer-Encoding", "chunked")
                self.end_headers()
                for piece in pieces:
                    self.wfile.write(b"%x\r\n%b\r\n" % (len(piece), piece))
                if whole:
                    self.wfile.write(b"0\r\n\r\n")
                self.wfile.flush()
                self.close_connection = True

            def log_message(self, *arguments: Any) -> None:
                pass

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()


@pytest.fixture
def fake() -> Iterator[Fake]:
    made = Fake()
    yield made
    made.close()


@pytest.fixture
def front(fake: Fake, serve: Callable[..., Any]) -> Callable[..., Any]:
    """Starts servers in front of the fake."""

    def start(**settings: Any) -> Any:
        server = serve(**{"backend": fake.url, "model": "", "backend_wait": 0.1, **settings})
        fake.bodies.clear()
        return server

    return start


def piece(text: str, finish: str | None = None) -> bytes:
    choice = {"index": 0, "text": text, "finish_reason": finish, "logprobs": {"token_logprobs": [-0.25]}}
    return b"data: " + json.dumps({"choices": [choice]}, ensure_ascii=False).encode() + b"\n\n"


def test_what_is_asked_for_and_told(fake: Fake, front: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIALOGPT_BACKEND_KEY", "a key")
    server = front(temperature=0.7, top_k=0, repetition_penalty=1.2, max_new_tokens=40)
    body = {"messages": user("hi <|endoftext|>", "so?", "yes"), "num_hypotheses": 2, "hypotheses": True, "seed": 9,
            "stop": ["!"]}  # fmt: skip
    answer = server.post(body).json()
    assert fake.bodies == [
        {"path": "/v1/completions", "model": "m", "prompt": "hi <| endoftext|>~so?~yes~".replace("~", END_TEXT),
         "max_tokens": 32, "temperature": 0.7, "top_p": 0.9, "seed": 9, "stream": False, "stop": ["!"], "n": 2,
         "logprobs": 1, "top_k": -1, "min_p": 0.0, "min_tokens": 1, "repetition_penalty": 1.2, "repeat_penalty": 1.2}
    ]  # fmt: skip
    assert fake.keys == {"Bearer a key"}
    assert answer["choices"][0]["message"]["content"] == "well0"
    assert answer["usage"] == {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    assert [(h["text"], h["forward"], h["tokens"]) for h in answer["hypotheses"]] == [
        ("well0", -1.5, 2), ("well1", -2.5, 2)
    ]  # fmt: skip


def test_messages_for_models_with_other_templates(fake: Fake, front: Callable[..., Any]) -> None:
    def chat(request: Any) -> None:
        logprobs = {"content": [{"token": "so", "logprob": -0.5}, {"token": "", "logprob": -0.25}]}
        choice = {"message": {"content": "so"}, "finish_reason": "length", "logprobs": logprobs}
        request.json({"choices": [choice] * request.body.get("n", 1)})

    fake.answers = chat
    server = front(backend_route="chat")
    answer = server.post({"prompt": "a<|endoftext|>b<|endoftext|>c", "hypotheses": True}, "/v1/completions").json()
    (body,) = fake.bodies
    assert body["path"] == "/v1/chat/completions"
    assert body["messages"] == user("a", "b", "c")
    assert body["logprobs"] is True
    assert answer["choices"][0]["text"] == "so"
    assert answer["choices"][0]["finish_reason"] == "length"
    assert answer["hypotheses"][0]["forward"] == -0.75


def refuses(*names: str, status: int = 400, message: str = "not here") -> Callable[[Any], None]:
    """An engine that refuses requests which say one of these."""

    def answer(request: Any) -> None:
        if any(request.body.get(name, 1) != 1 or (name in request.body and name != "n") for name in names):
            request.json({"error": {"message": message}}, status)
        else:
            request.json(completion(request.body))

    return answer


@pytest.mark.parametrize(
    "answers, lacks, requests",
    [
        (refuses("n"), {"n"}, 3),
        (refuses("n", status=500, message="Only one completion choice is allowed"), {"n"}, 3),
        (lambda request: request.json(completion(request.body | {"n": 1})), {"n"}, 3),
        (refuses("logprobs", status=422), {"logprobs"}, 1),
        (refuses("top_k", "min_p"), {"extras"}, 1),
        (refuses("top_k", "logprobs", "n"), {"n", "logprobs", "extras"}, 3),
    ],
)
def test_what_an_engine_lacks_is_done_without(
    fake: Fake, front: Callable[..., Any], answers: Callable[[Any], None], lacks: set[str], requests: int
) -> None:
    fake.answers = answers
    server = front()
    assert server.worker.facts.lacks == lacks
    answer = server.post({"messages": user("hi"), "n": 3, "hypotheses": True, "seed": 4}).json()
    assert len(answer["choices"]) == 3
    assert ["forward" in hypothesis for hypothesis in answer["hypotheses"]] == [not lacks & {"logprobs"}] * 3
    assert len(fake.bodies) == requests
    if requests == 3:
        assert {body["seed"] for body in fake.bodies} == {4, seed_of(4, 0, 1), seed_of(4, 0, 2)}
        assert len({body["seed"] for body in fake.bodies}) == 3


def test_models_as_llama_cpp_and_others_tell_them(fake: Fake, front: Callable[..., Any]) -> None:
    fake.models = {"data": [{"id": "a.gguf", "owned_by": "llamacpp", "meta": {"n_ctx_train": 512}}, {"id": "b"}]}
    assert front().worker.n_ctx == 512
    assert front(backend_model="b").worker.facts.model == "b"
    assert front(backend_model="b").worker.n_ctx is None
    fake.models = None
    assert front(backend_model="x").worker.facts.model == "x"
    with pytest.raises(BackendError, match="no such model or route: nothing here"):
        open_backend(ServeConfig(backend=fake.url, backend_wait=0.1))


FAULTS: dict[str, tuple[Callable[[Any], None], int, str]] = {
    "its own error": (lambda r: r.json({"error": {"message": "out of memory"}}, 500), 502, "out of memory"),
    "no JSON of an error": (lambda r: r.raw(b"<html>", 500), 502, "status 500"),
    "the error of another kind": (lambda r: r.json({"detail": "x" * 1000}, 500), 502, "xxx\N{HORIZONTAL ELLIPSIS}"),
    "unavailable": (lambda r: r.json({"error": {"message": "loading"}}, 503, Retry_After="7"), 503, "loading"),
    "a proxy's time-out": (lambda r: r.raw(b"", 504), 504, "status 504"),
    "busy": (lambda r: r.json({"message": "later"}, 429, Retry_After="17"), 429, "later"),
    "a wrong key": (lambda r: r.json({"error": "who?"}, 401), 502, "does not take this server's key"),
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
def test_faults_are_told_in_openais_form(fake: Fake, front: Callable[..., Any], stream: bool) -> None:
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
    fake.answers = lambda request: request.json(completion(request.body))
    assert server.post({"messages": user("hi")}).status_code == 200


def test_an_engine_that_is_gone_or_slow(fake: Fake, front: Callable[..., Any]) -> None:
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
        "the backend takes too long (try again in a while)",
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
    "the connection breaks": ((piece("well"), piece(" then")), False, "the backend broke off"),
    "it ends without an end": ((piece("well"), piece(" then")), True, "the backend broke off"),
    "it says so": (
        (piece("well"), piece(" then"), b'data: {"error": {"message": "no memory"}}\n\n'),
        True,
        "no memory",
    ),
    "nonsense": ((piece("well"), piece(" then"), b"data: {nonsense\n\n"), True, "cannot be read"),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_client_is_told_when_a_stream_breaks(fake: Fake, front: Callable[..., Any], name: str) -> None:
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


def test_a_stream_in_any_pieces(fake: Fake, front: Callable[..., Any]) -> None:
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
    fake: Fake, front: Callable[..., Any], message: str, stream: bool
) -> None:
    def answer(request: Any) -> None:
        if request.body["prompt"].count("<|endoftext|>") > 2:
            request.json({"error": {"message": message}}, 400)
        elif request.body["stream"]:
            request.stream(piece("ok", "stop"))
        else:
            request.json(completion(request.body))

    fake.answers = answer
    server = front(safety=False)
    assert server.post({"messages": user(*"abcdefg"), "stream": stream}).status_code == 200
    sent = [body["prompt"].replace("<|endoftext|>", "") for body in fake.bodies]
    assert sent == ["abcdefg", "defg", "fg"]
    fake.answers = lambda request: request.json({"error": {"message": message}}, 400)
    refused = server.post({"messages": user("a"), "stream": stream})
    assert refused.status_code == 400
    assert message in refused.json()["error"]["message"]


def test_what_is_too_long_is_known_before_where_the_tokenizer_is(
    fake: Fake, front: Callable[..., Any], tiny_checkpoint: Any
) -> None:
    server = front(model=str(tiny_checkpoint), max_new_tokens=30)
    server.post({"messages": user("x " * 40, "does money buy happiness?", "are you sure?")})
    assert fake.bodies[0]["prompt"] == "does money buy happiness?<|endoftext|>are you sure?<|endoftext|>"


def test_too_many_are_told_to_come_again(fake: Fake, front: Callable[..., Any]) -> None:
    server = front(rows=2, queue=1)
    go = threading.Event()

    def held(request: Any) -> None:
        go.wait(30)
        request.json(completion(request.body))

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


def test_one_of_many_requests_that_fails_ends_the_others(fake: Fake, front: Callable[..., Any]) -> None:
    fake.answers = refuses("n")
    server = front()
    held = threading.Event()

    def answer(request: Any) -> None:
        if request.body["seed"] == 4:
            request.json({"error": {"message": "no memory"}}, 500)
        else:
            held.wait(30)

    fake.answers = answer
    failed = server.post({"messages": user("hi"), "n": 3, "seed": 4})
    assert failed.status_code == 502
    assert "no memory" in failed.json()["error"]["message"]
    held.set()


def test_the_start(fake: Fake, caplog: pytest.LogCaptureFixture) -> None:
    """It is waited for what passes; what lasts is told at once."""
    tries = [0]

    def loading(request: Any) -> None:
        tries[0] += 1
        if tries[0] < 3:
            request.json({"error": {"message": "Loading model"}}, 503)
        else:
            request.json(completion(request.body))

    fake.answers = loading
    with caplog.at_level("INFO", logger="dialogpt"):
        backend, name = open_backend(ServeConfig(backend=fake.url, backend_wait=30, name="Ann"))
    backend.close()
    backend.close()
    assert not backend.alive
    assert name == "Ann"
    assert [record.message for record in caplog.records] == [
        "waiting for the backend: the backend has failed: Loading model"
    ] * 2
    for answers, message in (
        (lambda request: request.json({}, 401), "does not take this server's key"),
        (lambda request: request.raw(b"<html>"), "cannot be read"),
        (lambda request: request.json({"error": {"message": "no way"}}, 400), "the backend refuses: no way"),
    ):
        fake.answers = answers
        with pytest.raises(BackendError, match=message):
            open_backend(ServeConfig(backend=fake.url, backend_wait=1e6))
    fake.close()
    with pytest.raises(BackendError, match="cannot be reached"):
        open_backend(ServeConfig(backend=fake.url, backend_wait=0.1))


def test_nothing_of_what_is_said_is_logged(
    fake: Fake, front: Callable[..., Any], caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.DEBUG):
        server = front(safety=False)
        server.post({"messages": user("a secret")})
        fake.answers = lambda request: request.json({"error": {"message": request.body["prompt"]}}, 500)
        assert "a secret" in server.post({"messages": user("a secret")}).text
    assert fake.bodies
    assert "a secret" not in caplog.text


def test_seeds_are_others_in_each_attempt_and_reply() -> None:
    assert seed_of(7, 0, 0) == 7
    found = {seed_of(seed, attempt, i) for seed in (7, 2**63 - 1) for attempt in (0, 1) for i in range(16)}
    assert len(found) == 2 * 2 * 16
    assert all(0 <= seed < 2**31 for seed in found)
