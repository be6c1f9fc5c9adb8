"""What /metrics counts: answers by their status, streams that broke off."""

import json
import re
import time
from collections.abc import Callable
from typing import Any

import pytest

pytest.importorskip("fastapi")
import httpx

HI = {"messages": [{"role": "user", "content": "hi"}]}


def counted(server: Any, name: str) -> dict[str, float]:
    """The values of a counter by its labels."""
    page = httpx.get(f"{server.url}/metrics").text
    return {labels: float(value) for labels, value in re.findall(rf"^{name}{{(.*)}} (\S+)$", page, re.MULTILINE)}


def test_answers_are_counted_by_status(serve: Callable[..., Any]) -> None:
    server = serve(max_body=2000)
    for body in (HI, HI | {"stream": True}, HI | {"n": 99}, HI | {"model": "x"}, HI | {"user": "x" * 3000}):
        server.post(body)
    server.worker.close()  # it takes no more
    server.post({"prompt": "hi"}, "/v1/completions")
    httpx.get(f"{server.url}/v1/completions")
    httpx.get(f"{server.url}/v1/nowhere")
    chat = 'route="/v1/chat/completions",status="{}"'
    text = 'route="/v1/completions",status="{}"'
    assert counted(server, "dialogpt_answers_total") == {
        chat.format(200): 2, chat.format(422): 1, chat.format(404): 1, chat.format(413): 1,
        text.format(429): 1, text.format(405): 1,
    }  # fmt: skip


def test_streams_that_break_off_are_counted(serve: Callable[..., Any]) -> None:
    server = serve(safety=False, min_new_tokens=10)
    engine = server.worker.batcher.engine
    decode, calls = engine.decode, [0]

    def fails(*given: Any) -> Any:
        calls[0] += 1
        time.sleep(0.05)  # so that what was made before is sent
        if calls[0] > 4:
            raise RuntimeError
        return decode(*given)

    engine.decode = fails
    *_, last, _ = server.post(HI | {"stream": True, "seed": 1}).text.splitlines()  # its first tokens can be said
    assert json.loads(last[6:])["error"]["code"] == 500
    assert counted(server, "dialogpt_broken_streams_total") == {'status="500"': 1}

    def slow(*given: Any) -> Any:
        time.sleep(0.05)
        return decode(*given)

    engine.decode = slow
    with httpx.stream("POST", f"{server.url}/v1/chat/completions", json=HI | {"stream": True}, timeout=60) as answer:
        next(answer.iter_lines())
    while len(counted(server, "dialogpt_broken_streams_total")) < 2:
        time.sleep(0.05)
    assert counted(server, "dialogpt_broken_streams_total") == {'status="499"': 1, 'status="500"': 1}
