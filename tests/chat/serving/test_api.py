"""The server by its real clients: OpenAI's own, and plain HTTP."""

import json
import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any
from urllib.parse import urljoin

import pytest

pytest.importorskip("fastapi")
import httpx
import openai

from dialogpt.chat.bot import Chatbot
from dialogpt.chat.serving import ServeConfig
from dialogpt.chat.serving.http.messages import ChatRequest
from dialogpt.decoding import ReplyConfig
from dialogpt.decoding.responder import Responder
from dialogpt.decoding.safety import POLITE
from dialogpt.session import Turn

SAID = ["does money buy happiness?", "صباح الخير", "are you sure? 😀👍🏽"]


def user(*texts: str) -> list[Any]:
    roles = ["assistant", "user"]
    return [{"role": roles[(len(texts) - i) % 2], "content": text} for i, text in enumerate(texts)]


def expected(server: Any, *texts: str, seed: int, **settings: Any) -> Any:
    """What the same model replies without a server."""
    batcher = server.worker.batcher
    config = ReplyConfig(**{"max_new_tokens": 12, **settings})
    responder = Responder(batcher.engine, batcher.tokenizer, config, guards=batcher.guards if config.safety else ())
    return responder.replies([list(map(Turn, texts))], [seed])[0]


def test_a_reply_by_the_openai_client(serve: Callable[..., Any]) -> None:
    server = serve()
    for context in (SAID[:1], SAID[1:2], SAID):
        answer = server.client().chat.completions.create(model="tiny", messages=user(*context), seed=5)
        reply = expected(server, *context, seed=5)
        (choice,) = answer.choices
        said = next((h for h in reply.hypotheses if h.rejected is None), None)
        assert choice.message.content == reply.text
        assert choice.message.role == "assistant"
        if said is not None:
            assert choice.finish_reason == ("stop" if said.ended else "length")
            assert answer.usage is not None
            assert answer.usage.completion_tokens == len(said.tokens)
            tokens = server.worker.batcher.tokenizer.encode_turns(map(Turn, context))
            assert answer.usage.prompt_tokens == sum(map(len, tokens))
    models = server.client().models.list().data
    assert server.client().models.retrieve(models[0].id) == models[0]
    with pytest.raises(openai.NotFoundError, match="no model 'another/one' here"):
        server.client().models.retrieve("another/one")
    assert [model.id for model in models] == ["tiny"]


@pytest.mark.parametrize("settings", [{}, {"safety": False}, {"safety": False, "num_hypotheses": 3}])
def test_a_seed_gives_the_first_reply_of_a_chatbot(serve: Callable[..., Any], settings: dict[str, Any]) -> None:
    server = serve(**settings)
    batcher, config = server.worker.batcher, ReplyConfig(**{"max_new_tokens": 12, "seed": 5, **settings})
    for context in (SAID[:1], SAID, [*SAID, "no", "why?"]):
        guards = batcher.guards if config.safety else ()
        bot = Chatbot(Responder(batcher.engine, batcher.tokenizer, config, guards=guards))
        bot.history = list(map(Turn, context[:-1]))
        answer = server.client().chat.completions.create(model="tiny", messages=user(*context), seed=5)
        first, later = bot.reply(context[-1]), bot.retry()
        assert answer.choices[0].message.content == first
        assert later != first


@pytest.mark.parametrize("safety", [False, True])
def test_a_stream_by_the_openai_client(serve: Callable[..., Any], safety: bool) -> None:
    server = serve(safety=safety)
    options: dict[str, Any] = {"stream": True, "stream_options": {"include_usage": True}, "extra_body": {"top_k": 0}}
    for seed, text in enumerate(SAID):
        chunks = list(server.client().chat.completions.create(model="", messages=user(text), seed=seed, **options))
        *pieces, last = chunks
        deltas = [chunk.choices[0].delta.content or "" for chunk in pieces]
        reply = expected(server, text, seed=seed, safety=safety, top_k=0)
        assert "".join(deltas) == reply.text
        if not safety and len(reply.text) > 8:
            assert sum(map(bool, deltas)) > 1
        assert [chunk.choices[0].finish_reason for chunk in pieces[:-1]] == [None] * (len(pieces) - 1)
        assert pieces[-1].choices[0].finish_reason in ("stop", "length", "content_filter")
        assert last.choices == []
        assert last.usage is not None
        assert last.usage.total_tokens > 0
        assert len({chunk.id for chunk in chunks}) == 1


def test_settings_are_the_requests_own(serve: Callable[..., Any]) -> None:
    server = serve(safety=False)
    create = server.client().chat.completions.create
    settings: dict[str, Any] = {"temperature": 1.5, "top_p": 0.7}
    answer = create(model="tiny", messages=user(*SAID), max_tokens=5, seed=3, extra_body={"min_p": 0.01}, **settings)
    reply = expected(server, *SAID, seed=3, safety=False, max_new_tokens=5, min_p=0.01, **settings)
    assert answer.choices[0].message.content == reply.text
    several = create(model="tiny", messages=user("hi"), n=3, seed=1)
    texts = [h.text for h in expected(server, "hi", seed=1, safety=False, num_hypotheses=3).hypotheses]
    assert [choice.message.content for choice in several.choices] == texts
    assert [choice.index for choice in several.choices] == [0, 1, 2]
    text = expected(server, "hi", seed=4, safety=False, max_new_tokens=30, top_k=0).text
    stop = text[len(text) // 2 :][:3]
    if stop.strip():
        body = {"top_k": 0}
        cut = create(model="tiny", messages=user("hi"), seed=4, stop=stop, max_tokens=30, extra_body=body)
        assert cut.choices[0].message.content == text[: text.index(stop)].strip()
        assert cut.choices[0].finish_reason == "stop"


def test_hypotheses_and_mmi(serve: Callable[..., Any], tiny_checkpoint: Path) -> None:
    server = serve(safety=False, mmi=True, backward=str(tiny_checkpoint), num_hypotheses=4)
    answer = server.post({"messages": user("hi"), "hypotheses": True, "seed": 1}).json()
    scores = [h["scores"]["mmi"] for h in answer["hypotheses"]]
    assert len(scores) == 4
    assert scores == sorted(scores, reverse=True)
    assert answer["choices"][0]["message"]["content"] == answer["hypotheses"][0]["text"]
    plain = server.post({"messages": user("hi"), "hypotheses": True, "seed": 1, "mmi": False}).json()
    assert all(h["scores"] == {} for h in plain["hypotheses"])
    streamed = server.post({"messages": user("hi"), "hypotheses": True, "seed": 1, "stream": True}).text
    events = [json.loads(line[6:]) for line in streamed.splitlines() if line.startswith("data: {")]
    assert events[-1]["hypotheses"] == answer["hypotheses"]
    assert streamed.endswith("data: [DONE]\n\n")
    refused = serve().post({"messages": user("hi"), "mmi": True})
    assert refused.status_code == 400
    assert "mmi needs a backward model" in refused.json()["error"]["message"]


def test_text_completions(serve: Callable[..., Any]) -> None:
    server = serve(safety=False)
    answer = server.client().completions.create(model="tiny", prompt="<|endoftext|>".join(SAID), seed=2)
    assert answer.choices[0].text == expected(server, *SAID, seed=2, safety=False).text
    pieces = server.client().completions.create(model="tiny", prompt="hi", seed=2, stream=True)
    hi = expected(server, "hi", seed=2, safety=False).text
    assert "".join(piece.choices[0].text for piece in pieces) == hi


def test_system_messages_and_parts(serve: Callable[..., Any]) -> None:
    server = serve(safety=False)
    system = {"role": "system", "content": "You are helpful."}
    parts = {"role": "user", "content": [{"type": "text", "text": "are you "}, {"type": "text", "text": "sure?"}]}
    answer = server.post({"messages": [system, parts], "seed": 1}).json()
    reply = expected(server, "are you sure?", seed=1, safety=False)
    assert answer["choices"][0]["message"]["content"] == reply.text


def test_null_is_as_if_left_out(serve: Callable[..., Any]) -> None:
    server = serve()
    said: dict[str, Any] = {"messages": user("hi"), "seed": 1}
    nulls = dict.fromkeys(("model", "n", "stream", "stop", "temperature", "max_tokens", "logprobs", "hypotheses"))
    answers = [server.post(said | more).json()["choices"] for more in ({}, nulls)]
    assert answers[0] == answers[1]


def test_what_asks_for_nothing_beyond_is_taken(serve: Callable[..., Any]) -> None:
    said = {"response_format": {"type": "text"}, "best_of": 2, "echo": False, "logprobs": False, "tools": []}
    answer = serve().post({"messages": user("hi"), "n": 2, "user": "me", "metadata": {"a": "b"}, **said})
    assert answer.status_code == 200, answer.text


def test_a_proxy_is_told_to_hand_pieces_on(serve: Callable[..., Any]) -> None:
    answer = serve().post({"messages": user("hi"), "stream": True})
    assert (answer.headers["x-accel-buffering"], answer.headers["cache-control"]) == ("no", "no-store")


def test_the_documents_are_below_the_path_of_a_proxy(serve: Callable[..., Any]) -> None:
    url = serve().url
    page = httpx.get(f"{url}/docs").text
    (document,) = re.findall(r"url: '([^']*)'", page)
    assert urljoin("https://example.org/chat/docs", document) == "https://example.org/chat/openapi.json"
    (server,) = httpx.get(f"{url}/{document}").json()["servers"]
    assert urljoin("https://example.org/chat/openapi.json", server["url"]) == "https://example.org/chat/"


def test_the_health_is_there_for_who_reads_no_body(serve: Callable[..., Any]) -> None:
    url = serve().url
    assert httpx.get(f"{url}/health/").json() == httpx.get(f"{url}/health").json()
    answer = httpx.head(f"{url}/health")
    assert (answer.status_code, answer.content) == (200, b"")


def test_a_key(serve: Callable[..., Any]) -> None:
    server = serve(api_key="s3cret")
    answer = server.client("s3cret").chat.completions.create(model="tiny", messages=user("hi"))
    assert answer.choices[0].message.content
    for key in ("other", "s3cret2", "مفتاح"):
        headers = {"Authorization": f"Bearer {key}".encode()}
        refused = httpx.get(f"{server.url}/v1/models", headers=headers)
        assert refused.status_code == 401
        assert "key" in refused.json()["error"]["message"]
    assert server.post({"messages": user("hi")}).status_code == 401
    arabic = serve(api_key="مفتاح")
    for key, status in (("مفتاح", 200), ("مفتاح2", 401)):
        headers = {"Authorization": f"Bearer {key}".encode()}
        assert httpx.get(f"{arabic.url}/v1/models", headers=headers).status_code == status
    for sent in ("bearer s3cret", "BEARER  s3cret"):  # the scheme's case is free
        assert httpx.get(f"{server.url}/v1/models", headers={"Authorization": sent}).status_code == 200
    assert httpx.get(f"{server.url}/metrics").status_code == 401
    assert httpx.get(f"{server.url}/health").status_code == 200


def test_other_origins_are_closed_out(serve: Callable[..., Any]) -> None:
    closed, opened = serve(), serve(cors=("https://example.org",))
    headers = {"Origin": "https://example.org", "Access-Control-Request-Method": "POST"}
    assert "access-control-allow-origin" not in httpx.options(f"{closed.url}/v1/models", headers=headers).headers
    allowed = httpx.options(f"{opened.url}/v1/models", headers=headers).headers["access-control-allow-origin"]
    assert allowed == "https://example.org"
    told = httpx.get(f"{opened.url}/v1/models", headers=headers).headers["access-control-expose-headers"]
    assert told == "Retry-After"


def test_what_is_never_safe_is_replaced(serve: Callable[..., Any]) -> None:
    server = serve()
    server.worker.batcher.guards = [lambda context, text: "no"]
    answer = server.post({"messages": user("hi"), "n": 2}).json()
    assert [choice["message"]["content"] for choice in answer["choices"]] == [POLITE, POLITE]
    assert [choice["finish_reason"] for choice in answer["choices"]] == ["content_filter"] * 2
    page = httpx.get(f"{server.url}/metrics").text
    assert 'dialogpt_safety_total{reason="no"} 4.0' in page


def test_health_and_metrics(serve: Callable[..., Any]) -> None:
    server = serve(safety=False)
    assert httpx.get(f"{server.url}/health").json()["status"] == "ok"
    answer = server.post({"messages": user("hi")}).json()
    said = answer["choices"][0]["message"]["content"]
    server.post({"messages": user("hi", said, "and then?")})
    numbers = dict(
        line.rsplit(" ", 1) for line in httpx.get(f"{server.url}/metrics").text.splitlines() if line[0] != "#"
    )
    assert float(numbers["dialogpt_first_token_seconds_count"]) == 2
    assert float(numbers["dialogpt_tokens_total"]) >= 2
    assert float(numbers["dialogpt_cache_bytes"]) > 0
    assert float(numbers["dialogpt_cache_hits_total"]) == 1
    assert float(numbers["dialogpt_rows"]) == 0


def test_nothing_of_what_is_said_is_logged(serve: Callable[..., Any], caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level("DEBUG", logger="dialogpt"):
        server = serve(safety=False)
        server.post({"messages": user("a secret")})
        assert "secret" not in caplog.text
        told = serve(log_text=True)
        told.post({"messages": user("no secret")})
        assert "no secret" in caplog.text


def test_a_backward_model_is_for_requests_that_ask(serve: Callable[..., Any], tiny_checkpoint: Path) -> None:
    server = serve(backward=str(tiny_checkpoint))
    plain = server.post({"messages": user("hi"), "hypotheses": True, "seed": 1}).json()
    chosen = server.post({"messages": user("hi"), "hypotheses": True, "seed": 1, "mmi": True}).json()
    assert [len(answer["hypotheses"]) for answer in (plain, chosen)] == [1, 16]
    assert chosen["hypotheses"][0]["scores"].keys() == {"mmi"}


def test_the_settings_of_the_server_are_the_defaults(tiny_checkpoint: Path) -> None:
    from dialogpt.chat.serving.http.messages import reply_settings

    config = ServeConfig(model=str(tiny_checkpoint), temperature=0.3, top_k=7, seed=4)
    request = ChatRequest.model_validate({"messages": user("hi")})
    assert replace(request.settings(reply_settings(config)), seed=4) == ReplyConfig(temperature=0.3, top_k=7, seed=4)
