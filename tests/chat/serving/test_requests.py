"""What is wrong with a request is told, by the status and the words that OpenAI's clients expect."""

import math
from collections.abc import Callable, Iterator
from typing import Any

import pytest

pytest.importorskip("fastapi")
import httpx
import openai

from dialogpt.chat.serving.http.messages import ChatRequest
from dialogpt.decoding import RANGES, ReplyConfig
from dialogpt.errors import UsageError


def user(*texts: str) -> list[Any]:
    roles = ["assistant", "user"]
    return [{"role": roles[(len(texts) - i) % 2], "content": text} for i, text in enumerate(texts)]


BAD: dict[str, tuple[Any, int, str]] = {
    "no messages": ({}, 422, "messages: Field required"),
    "an empty list": ({"messages": []}, 422, "messages"),
    "an empty message": ({"messages": user(" \n\t")}, 400, "the last message is empty"),
    "control characters only": ({"messages": user("\u0000\u0007")}, 400, "the last message is empty"),
    "system alone": ({"messages": [{"role": "system", "content": "x"}]}, 400, "all messages are the system's"),
    "another role": ({"messages": [{"role": "narrator", "content": "x"}]}, 422, "messages.0.role"),
    "a tool's at the end": (
        {"messages": [*user("hi"), {"role": "tool", "content": "x"}]},
        400,
        "the last message is of role tool, which is not read",
    ),
    "no content": (
        {"messages": [{"role": "user", "text": "hi"}]},
        422,
        "a message of role user needs a text as its content",
    ),
    "an image": ({"messages": [{"role": "user", "content": [{"type": "image_url"}]}]}, 400, "reads text only"),
    "another model": ({"model": "gpt-4", "messages": user("hi")}, 404, "no model 'gpt-4' here"),
    "temperature": ({"messages": user("hi"), "temperature": -1}, 422, "temperature"),
    "top_p": ({"messages": user("hi"), "top_p": 0}, 422, "top_p"),
    "n": ({"messages": user("hi"), "n": 1000}, 422, "n: "),
    "greedy n": (
        {"messages": user("hi"), "n": 2, "temperature": 0},
        400,
        "temperature 0 gives the same hypothesis 2 times",
    ),
    "tools": (
        {"messages": user("hi"), "tools": [{"type": "function"}]},
        422,
        "tools is not supported here (leave them out: ",
    ),
    "json": (
        {"messages": user("hi"), "response_format": {"type": "json_object"}},
        422,
        "response_format is not supported here",
    ),
    "best_of": ({"messages": user("hi"), "best_of": 2}, 422, "best_of is not supported here: num_hypotheses"),
    "echo": ({"messages": user("hi"), "echo": True}, 422, "echo is not supported here"),
    "suffix": ({"messages": user("hi"), "suffix": "!"}, 422, "suffix is not supported here"),
    "speech": ({"messages": user("hi"), "audio": {"voice": "x", "format": "wav"}}, 422, "audio is not supported"),
    "penalty": ({"messages": user("hi"), "presence_penalty": 1}, 422, "presence_penalty is not supported here"),
    "another engine's": ({"messages": user("hi"), "guided_regex": "a"}, 422, "guided_regex is not supported here"),
    "speech, by its mode": ({"messages": user("hi"), "modalities": ["text", "audio"]}, 422, "audio is not supported"),
    "a string": ("hi", 422, ""),
    "a number of tokens": ({"messages": user("hi"), "max_tokens": 0}, 422, "max_tokens"),
}


def test_bad_requests_are_told_what_is_wrong(serve: Callable[..., Any]) -> None:
    server = serve()
    for name, (body, status, message) in BAD.items():
        answer = server.post(body)
        assert answer.status_code == status, (name, answer.text)
        error = answer.json()["error"]
        assert message in error["message"], name
        assert error["type"] == "invalid_request_error"
    headers = {"Content-Type": "application/json"}
    answer = httpx.post(f"{server.url}/v1/chat/completions", content=b"hi", headers=headers, timeout=60)
    assert answer.json()["error"]["message"].startswith("the body is not JSON, at character 0: Expecting value (send")
    for content in ('{"messages": "صباح"}'.encode("cp1256"), b'{"a":' * 5000):  # as old shells of Windows send it
        answer = httpx.post(f"{server.url}/v1/chat/completions", content=content, headers=headers, timeout=60)
        assert (answer.status_code, "send one JSON object in UTF-8" in answer.text) == (400, True)
    for content in (b"{", b"\xff\xfe", b'{"messages": [{"role": "user", "content": "\\ud83d"}]}'):
        answer = httpx.post(f"{server.url}/v1/chat/completions", content=content, timeout=60)
        assert answer.status_code in (200, 422), answer.text
    for more in ({}, {"Content-Type": "application/x-www-form-urlencoded"}):  # the latter is curl's
        answer = httpx.post(f"{server.url}/v1/chat/completions", content=b'{"messages": []}', headers=more, timeout=60)
        assert answer.status_code == 422
        assert "Content-Type: application/json" in answer.json()["error"]["message"]
    answer = httpx.post(f"{server.url}/v1/chat/completions", headers=headers, timeout=60)
    assert answer.json()["error"]["message"].startswith("the body is empty (send one JSON object")
    nowhere = server.post({}, "/chat/completions")
    assert (nowhere.status_code, "a client's base URL ends in /v1" in nowhere.text) == (404, True)
    answer = httpx.get(f"{server.url}/v1/chat/completions")
    assert (answer.status_code, answer.headers["allow"]) == (405, "POST")
    assert answer.json()["error"]["message"] == "GET is not allowed at /v1/chat/completions (send POST)"
    assert answer.json()["error"]["type"] == "invalid_request_error"
    assert httpx.get(f"{server.url}/v1/nowhere").json()["error"]["code"] == 404
    with pytest.raises(openai.NotFoundError, match="no model 'x' here"):
        server.client().chat.completions.create(model="x", messages=user("hi"))
    assert server.post({"messages": user("hi")}).status_code == 200


def test_requests_have_the_ranges_of_the_command_line(serve: Callable[..., Any]) -> None:
    server = serve(num_hypotheses=1)
    names = {"max_new_tokens": "max_tokens"}
    for name, allowed in RANGES.items():
        field = names.get(name, name)
        if field not in ChatRequest.model_fields:
            continue
        for value in (allowed.least - 1, allowed.most + 1):
            if math.isfinite(value):
                with pytest.raises(UsageError, match="is out of range"):
                    ReplyConfig(**{name: value})
                answer = server.post({"messages": user("hi"), field: value})
                assert (answer.status_code, field in answer.json()["error"]["message"]) == (422, True)
        for value in (allowed.least, allowed.most):
            if math.isfinite(value) and value in allowed:
                ReplyConfig(**{name: value, "min_new_tokens": 1})
                assert server.post({"messages": user("hi"), field: value}).status_code == 200


def test_what_is_too_long_is_cut_or_refused(serve: Callable[..., Any]) -> None:
    server = serve(max_body=20_000)
    long = server.post({"messages": user("money " * 2000)})
    assert long.status_code == 200
    assert long.json()["usage"]["prompt_tokens"] <= 64
    refused = server.post({"messages": user("money " * 5000)})
    assert refused.status_code == 413
    assert "larger than 20,000 bytes" in refused.json()["error"]["message"]

    def pieces() -> Iterator[bytes]:
        for _ in range(100):
            yield b"x" * 1000

    streamed = httpx.post(f"{server.url}/v1/chat/completions", content=pieces(), timeout=60)
    assert streamed.status_code == 413
