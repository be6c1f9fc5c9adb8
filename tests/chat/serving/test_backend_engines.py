"""Engines of several kinds, played by a fake: what they are asked for, lack and tell, and how it begins."""

import shutil
import threading
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

pytest.importorskip("fastapi")
import httpx

from dialogpt.chat.serving import ServeConfig
from dialogpt.chat.serving.backend.client import BackendError
from dialogpt.chat.serving.backend.opening import open_backend
from dialogpt.chat.serving.backend.wire import seed_of
from dialogpt.tokens.bpe import END_TEXT


def user(*texts: str) -> list[Any]:
    roles = ["assistant", "user"]
    return [{"role": roles[(len(texts) - i) % 2], "content": text} for i, text in enumerate(texts)]


def test_what_is_asked_for_and_told(fake: Any, front: Callable[..., Any], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIALOGPT_BACKEND_KEY", "مفتاح")
    server = front(temperature=0.7, top_k=0, repetition_penalty=1.2, max_new_tokens=40)
    body = {"messages": user("hi <|endoftext|>", "so?", "yes"), "num_hypotheses": 2, "hypotheses": True, "seed": 9,
            "stop": ["!"]}  # fmt: skip
    answer = server.post(body).json()
    assert fake.bodies == [
        {"path": "/v1/completions", "model": "m", "prompt": "hi <| endoftext|>~so?~yes~".replace("~", END_TEXT),
         "max_tokens": 32, "temperature": 0.7, "top_p": 0.9, "seed": 9, "stream": False, "stop": ["!"], "n": 2,
         "logprobs": 1, "top_k": -1, "min_p": 0.0, "min_tokens": 1, "repetition_penalty": 1.2, "repeat_penalty": 1.2}
    ]  # fmt: skip
    assert fake.keys == {"Bearer مفتاح".encode().decode("latin-1")}
    assert answer["choices"][0]["message"]["content"] == "well0"
    assert answer["usage"] == {"prompt_tokens": 5, "completion_tokens": 2, "total_tokens": 7}
    assert [(h["text"], h["forward"], h["tokens"]) for h in answer["hypotheses"]] == [
        ("well0", -1.5, 2), ("well1", -2.5, 2)
    ]  # fmt: skip


def test_messages_for_models_with_other_templates(fake: Any, front: Callable[..., Any]) -> None:
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


@pytest.fixture
def other_end(tiny_checkpoint: Path, tmp_path: Path) -> Path:
    """A checkpoint whose turns end in </s>, which its embedding has a row for."""
    folder = tmp_path / "other-end"
    shutil.copytree(tiny_checkpoint, folder)
    written = (folder / "tokenizer.json").read_text().replace("<|endoftext|>", "</s>")
    (folder / "tokenizer.json").write_text(written)
    for name in ("tokenizer_config.json", "special_tokens_map.json"):
        (folder / name).write_text('{"eos_token": "</s>"}')
    return folder


def test_an_end_token_of_another_name(fake: Any, front: Callable[..., Any], other_end: Path) -> None:
    server = front(model=str(other_end))
    server.post({"messages": user("hi </s>", "so?", "<|endoftext|>")})
    assert fake.bodies[-1]["prompt"] == "hi </ s></s>so?</s><| endoftext|></s>"


def test_an_end_token_told_by_one_of_our_servers(
    serve: Callable[..., Any], front: Callable[..., Any], other_end: Path
) -> None:
    behind = serve(model=str(other_end))
    (card,) = httpx.get(f"{behind.url}/v1/models").json()["data"]
    assert card["dialogpt"]["end_token"] == "</s>"
    before = front(backend=behind.url)
    assert before.worker.facts.end_text == "</s>"
    choices = [
        server.post({"seed": 3, "top_k": 0, "prompt": prompt}, "/v1/completions").json()["choices"]
        for prompt in ("a</s>b</s>c", "a<|endoftext|>b<|endoftext|>c</s>")
        for server in (behind, before)
    ]
    assert choices == [choices[0]] * 4
    told = behind.post({"prompt": "a</s>b</s>c"}, "/v1/completions").json()
    assert told["usage"]["prompt_tokens"] == 6  # a letter and an end token, thrice


def refuses(*names: str, status: int = 400, message: str = "not here") -> Callable[[Any], None]:
    """An engine that refuses requests which say one of these."""

    def answer(request: Any) -> None:
        if any(request.body.get(name, 1) != 1 or (name in request.body and name != "n") for name in names):
            request.json({"error": {"message": message}}, status)
        else:
            request.complete()

    return answer


@pytest.mark.parametrize(
    "answers, lacks, requests",
    [
        (refuses("n"), {"n"}, 3),
        (refuses("n", status=500, message="Only one completion choice is allowed"), {"n"}, 3),
        (lambda request: request.complete(n=1), {"n"}, 3),
        (refuses("logprobs", status=422), {"logprobs"}, 1),
        (refuses("top_k", "min_p"), {"extras"}, 1),
        (refuses("top_k", "logprobs", "n"), {"n", "logprobs", "extras"}, 3),
    ],
)
def test_what_an_engine_lacks_is_done_without(
    fake: Any, front: Callable[..., Any], answers: Callable[[Any], None], lacks: set[str], requests: int
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


def test_more_hypotheses_than_an_engine_makes_at_once(fake: Any, front: Callable[..., Any]) -> None:
    """As llama.cpp's server with few slots."""

    def few(request: Any) -> None:
        if request.body.get("n", 1) > 2 or request.body["temperature"] > 2:
            request.json({"error": {"message": "out of range"}}, 400)
        else:
            request.complete()

    fake.answers = few
    server = front()
    assert len(server.post({"messages": user("hi"), "n": 2}).json()["choices"]) == 2
    assert len(fake.bodies) == 1
    assert len(server.post({"messages": user("hi"), "n": 3}).json()["choices"]) == 3
    assert [body.get("n", 1) for body in fake.bodies[1:]] == [3, 1, 1, 1]
    refused = server.post({"messages": user("hi"), "n": 3, "temperature": 3})
    assert (refused.status_code, "out of range" in refused.text) == (400, True)


def test_models_as_llama_cpp_and_others_tell_them(fake: Any, front: Callable[..., Any]) -> None:
    fake.models = {
        "data": [{"id": "a.gguf", "owned_by": "llamacpp", "meta": {"n_ctx": 512, "n_ctx_train": 1024}}, {"id": "b"}]
    }
    assert front().worker.n_ctx == 512
    assert front(backend_model="b").worker.facts.model == "b"
    assert front(backend_model="b").worker.n_ctx is None
    fake.models = None
    unlisted = front(backend_model="x")
    assert (unlisted.worker.facts.model, unlisted.worker.trouble()) == ("x", None)
    with pytest.raises(BackendError, match="no such model or route: nothing here"):
        open_backend(ServeConfig(backend=fake.url, backend_wait=0.1))


def test_one_of_many_requests_that_fails_ends_the_others(fake: Any, front: Callable[..., Any]) -> None:
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


def test_what_is_too_long_is_known_before_where_the_tokenizer_is(
    fake: Any, front: Callable[..., Any], tiny_checkpoint: Any
) -> None:
    server = front(model=str(tiny_checkpoint), max_new_tokens=30)
    server.post({"messages": user("x " * 40, "does money buy happiness?", "are you sure?")})
    assert fake.bodies[0]["prompt"] == "does money buy happiness?<|endoftext|>are you sure?<|endoftext|>"


def test_seeds_are_others_in_each_attempt_and_reply() -> None:
    assert seed_of(7, 0, 0) == 7
    found = {seed_of(seed, attempt, i) for seed in (7, 2**63 - 1) for attempt in (0, 1) for i in range(16)}
    assert len(found) == 2 * 2 * 16
    assert all(0 <= seed < 2**31 for seed in found)


def test_the_start(fake: Any, caplog: pytest.LogCaptureFixture) -> None:
    """It is waited for what passes; what lasts is told at once."""
    tries = [0]

    def loading(request: Any) -> None:
        tries[0] += 1
        if tries[0] < 3:
            request.json({"error": {"message": "Loading model"}}, 503)
        else:
            request.complete()

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
        (lambda request: request.json({}, 401), "rejects this server's key"),
        (lambda request: request.raw(b"<html>"), "cannot be read"),
        (lambda request: request.json({"error": {"message": "no way"}}, 400), "refuses the request: no way"),
    ):
        fake.answers = answers
        with pytest.raises(BackendError, match=message):
            open_backend(ServeConfig(backend=fake.url, backend_wait=1e6))
    fake.close()
    with pytest.raises(BackendError, match="cannot be reached"):
        open_backend(ServeConfig(backend=fake.url, backend_wait=0.1))
