"""What clients of OpenAI send beside a plain question: several prompts, messages of tools, fields that say nothing."""

import json
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Any

import pytest

pytest.importorskip("fastapi")
import httpx

HI = {"role": "user", "content": "hi"}
ASKED = {"role": "assistant", "content": None, "tool_calls": [{"id": "a", "type": "function", "function": {}}]}
TOOL = {"role": "tool", "tool_call_id": "a", "content": "42"}
# As LangChain, LiteLLM, Open WebUI and SillyTavern send them where their users have set nothing.
NOTHING_SAID: list[dict[str, Any]] = [
    {"user": "x", "metadata": {}, "store": False, "parallel_tool_calls": True, "service_tier": "auto"},
    {"logit_bias": {}, "logprobs": False, "top_logprobs": 0, "presence_penalty": 0, "frequency_penalty": 0.0},
    {"tools": [], "functions": [], "modalities": ["text"], "response_format": {"type": "text"}, "stop": []},
    {"tools": [{"type": "function", "function": {"name": "f"}}], "tool_choice": "none"},
    {
        "typical_p": 1,
        "mirostat_mode": 0,
        "min_tokens": 0,
        "ignore_eos": False,
        "grammar": "",
        "skip_special_tokens": True,
    },
    {"n": 1, "best_of": 1, "echo": False, "suffix": None, "stream_options": None, "max_completion_tokens": 12},
]


def texts(answer: Any) -> list[str]:
    return [choice["message"]["content"] for choice in answer.json()["choices"]]


def test_several_prompts_are_answered_in_their_order(serve: Callable[..., Any]) -> None:
    server = serve(safety=False)
    create = server.client().completions.create
    prompts = ["hi", "صباح الخير", "does money buy happiness?"]
    alone = [create(model="", prompt=prompt, n=2, seed=2) for prompt in prompts]
    together = create(model="", prompt=prompts, n=2, seed=2)
    assert [choice.index for choice in together.choices] == list(range(6))
    assert [choice.text for choice in together.choices] == [choice.text for each in alone for choice in each.choices]
    assert together.usage.total_tokens == sum(each.usage.total_tokens for each in alone)
    assert create(model="", prompt=["hi"], n=2, seed=2).choices[0].text == alone[0].choices[0].text
    unlike = create(model="", prompt=["hi"] * 8, temperature=2.0, max_tokens=12)
    assert len({choice.text for choice in unlike.choices}) > 1, "without a seed each is drawn anew"


def test_a_stream_of_several_prompts(serve: Callable[..., Any]) -> None:
    server = serve(safety=False)
    create = server.client().completions.create
    prompts = ["hi", "صباح الخير"]
    for n in (1, 2):
        whole = create(model="", prompt=prompts, n=n, seed=2)
        *pieces, last = create(
            model="", prompt=prompts, n=n, seed=2, stream=True, stream_options={"include_usage": True}
        )
        said = [""] * len(whole.choices)
        for piece in pieces:
            said[piece.choices[0].index] += piece.choices[0].text
        assert said == [choice.text for choice in whole.choices]
        ends = [piece.choices[0].index for piece in pieces if piece.choices[0].finish_reason]
        assert ends == [choice.index for choice in whole.choices]
        assert last.usage.total_tokens == whole.usage.total_tokens


def test_prompts_that_cannot_be_taken(serve: Callable[..., Any]) -> None:
    server = serve(queue=1)
    for prompt, status, told in (
        ([], 422, 'prompt: there are 0: a request has 1 to 64"'),
        (["hi"] * 65, 422, 'prompt: there are 65: a request has 1 to 64"'),
        ([1, 2], 422, "prompts of token ids are not supported: send texts"),
        ([[1, 2]], 422, "prompts of token ids are not supported: send texts"),
        (["hi", " "], 400, "prompt 2 is empty"),
    ):
        answer = server.post({"prompt": prompt}, "/v1/completions")
        assert (answer.status_code, told in answer.text) == (status, True), answer.text
    answer = server.post({"prompt": ["hi", "ho"], "hypotheses": True}, "/v1/completions")
    assert (answer.status_code, "send a request for each" in answer.text) == (422, True)


def test_as_many_prompts_are_taken_as_have_places_or_may_wait(serve: Callable[..., Any]) -> None:
    server = serve(safety=False, rows=4, queue=2, max_new_tokens=4)
    for n, most in ((1, 6), (2, 4), (9, 3)):
        taken = server.post({"prompt": ["hi"] * most, "n": n}, "/v1/completions")
        assert (taken.status_code, len(taken.json().get("choices", ()))) == (200, most * n), taken.text
        refused = server.post({"prompt": ["hi"] * (most + 1), "n": n}, "/v1/completions")
        assert (refused.status_code, "Retry-After" in refused.headers) == (400, False)
        told = f"{most + 1} prompts of {n} hypotheses are more than this server takes: {most} (send fewer"
        assert told in refused.json()["error"]["message"]


def test_messages_of_tools_say_nothing(serve: Callable[..., Any]) -> None:
    server = serve(safety=False)
    plain = texts(server.post({"messages": [HI, HI], "seed": 1}))
    said = [HI, ASKED, TOOL, {"role": "function", "name": "f", "content": None}, HI]
    assert texts(server.post({"messages": said, "seed": 1})) == plain
    without = {name: value for name, value in ASKED.items() if name != "content"}
    assert texts(server.post({"messages": [HI, without, HI], "seed": 1})) == plain


def test_what_says_nothing_changes_nothing(serve: Callable[..., Any]) -> None:
    server = serve(safety=False)
    plain = texts(server.post({"messages": [HI], "seed": 1}))
    for more in NOTHING_SAID:
        answer = server.post({"messages": [HI], "seed": 1} | more)
        assert answer.status_code == 200, (more, answer.text)
        assert texts(answer) == plain, more


def test_negative_seeds(serve: Callable[..., Any]) -> None:
    """Any number is a seed to OpenAI's clients; -1 is none to llama.cpp's."""
    server = serve(safety=False)
    body: dict[str, Any] = {"messages": [HI], "temperature": 2.0}
    assert texts(server.post(body | {"seed": -5})) == texts(server.post(body | {"seed": -5}))
    assert texts(server.post(body | {"seed": -5})) == texts(server.post(body | {"seed": 2**31 - 5}))
    assert len({json.dumps(texts(server.post(body | {"seed": -1}))) for _ in range(8)}) > 1


@pytest.mark.parametrize("stream", [False, True])
def test_whoever_goes_away_takes_all_prompts_along(serve: Callable[..., Any], slowed: Any, stream: bool) -> None:
    server = serve(safety=False, rows=2, max_new_tokens=50, min_new_tokens=50)
    slowed(server.worker.batcher.engine, 0.02)
    body = {"prompt": ["hi"] * 9, "stream": stream}
    with (
        suppress(httpx.ReadTimeout),
        httpx.stream("POST", f"{server.url}/v1/completions", json=body, timeout=0.3) as answer,
    ):
        next(answer.iter_lines())
    until = time.monotonic() + 30
    while server.worker.batcher.rows or server.worker.waiting:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert server.worker.batcher.tokens_made < 9 * 50, "they were given up, not made"
    assert server.post({"prompt": "hi", "max_tokens": 1}, "/v1/completions").status_code == 200
