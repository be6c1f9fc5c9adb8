"""A server in front of another one: what the other makes is judged, ordered and told as if it had been made here."""

import json
import os
import re
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

pytest.importorskip("fastapi")
import httpx
import openai

from dialogpt.chat.serving import ServeConfig
from dialogpt.chat.serving.backend.drawing import fitting
from dialogpt.chat.serving.backend.opening import backend_url, open_backend
from dialogpt.decoding.hypotheses import context_tokens
from dialogpt.decoding.safety import POLITE
from dialogpt.errors import UsageError
from dialogpt.session import Turn

SAID = ["does money buy happiness?", "صباح الخير", "are you sure? 😀👍🏽"]


def user(*texts: str) -> list[Any]:
    roles = ["assistant", "user"]
    return [{"role": roles[(len(texts) - i) % 2], "content": text} for i, text in enumerate(texts)]


def assert_same(one: Any, other: Any) -> None:
    """Two answers say the same; their numbers to three digits, as one may have read its context in parts."""
    told, numbers = [], []
    for answer in (one, other):
        assert answer.status_code == 200, answer.text
        found = {key: value for key, value in answer.json().items() if key in ("choices", "usage", "hypotheses")}
        hypotheses = found.get("hypotheses", ())
        numbers.append([number for h in hypotheses for number in (h.pop("forward"), *h.pop("scores").values())])
        told.append(found)
    assert told[0] == told[1]
    assert numbers[0] == pytest.approx(numbers[1], abs=1e-3)


@pytest.mark.parametrize("route", ["completions", "chat"])
@pytest.mark.parametrize("settings", [{}, {"safety": False}, {"mmi": True, "num_hypotheses": 4}, {"n": 3}])
def test_it_answers_as_the_server_behind_it(
    serve: Callable[..., Any], tiny_checkpoint: Path, route: str, settings: dict[str, Any]
) -> None:
    # In fp32, so that no seed here is drawn again, which is by another one behind another server.
    mmi = {"mmi": True, "backward": str(tiny_checkpoint), "num_hypotheses": 1, "precision": "fp32"}
    behind = serve(**mmi)
    front = serve(backend=behind.url, backend_route=route, **mmi)
    for seed, context in enumerate((SAID[:1], SAID[1:2], SAID)):
        body = {"messages": user(*context), "seed": seed, "hypotheses": True, "mmi": False, "top_k": 0} | settings
        assert_same(front.post(body), behind.post(body))
    assert front.worker.counts == behind.worker.counts
    if "mmi" in settings:
        assert "mmi" in front.post(body).json()["hypotheses"][0]["scores"]
    prompt = {"prompt": "<|endoftext|>".join(SAID), "seed": 2, "mmi": False} | settings
    assert_same(front.post(prompt, "/v1/completions"), behind.post(prompt, "/v1/completions"))


def test_a_stream_comes_in_pieces(serve: Callable[..., Any], slowed: Callable[[Any, float], None]) -> None:
    """What they say is the same; where they are cut depends on the moment, as pieces that wait are sent as one."""
    behind = serve(safety=False)
    slowed(behind.worker.batcher.engine, 0.03)
    front = serve(backend=f"{behind.url}/v1/", safety=False)
    body: dict[str, Any] = {"messages": user(*SAID), "seed": 4, "stream": True, "hypotheses": True, "top_k": 0}
    body["stream_options"] = {"include_usage": True}
    events = [
        [json.loads(line[6:]) for line in server.post(body).text.splitlines() if line.startswith("data: {")]
        for server in (front, behind)
    ]
    assert min(map(len, events)) > 4
    told = []
    for several in events:
        deltas = [choice["delta"].get("content") or "" for event in several for choice in event["choices"]]
        last = [event for event in several if event.get("usage")][-1]
        reason = [choice["finish_reason"] for event in several for choice in event["choices"]][-1]
        told.append(["".join(deltas), reason, last["usage"], last.get("hypotheses")])
    assert told[0] == told[1]
    stop = behind.post(body | {"stream": False}).json()["choices"][0]["message"]["content"][2:5]
    cut = {"stop": stop, "stream": False}
    assert_same(front.post(body | cut), behind.post(body | cut))


def test_one_behind_another(serve: Callable[..., Any]) -> None:
    last = serve()
    first = serve(backend=serve(backend=last.url).url)
    body = {"messages": user(*SAID), "seed": 3, "n": 2, "hypotheses": True}
    assert_same(first.post(body), last.post(body))
    assert first.worker.n_ctx == 64


def test_models_are_told_with_their_defaults(serve: Callable[..., Any], tiny_checkpoint: Path) -> None:
    behind = serve(temperature=0.25)
    front = serve(backend=behind.url, top_k=7, num_hypotheses=3)
    (card,) = httpx.get(f"{behind.url}/v1/models").json()["data"]
    assert (card["id"], card["max_model_len"], card["dialogpt"]["mmi"]) == ("tiny", 64, False)
    assert card["dialogpt"]["defaults"] == {
        "temperature": 0.25, "top_p": 0.9, "top_k": 50, "min_p": 0.0, "repetition_penalty": 1.0, "no_repeat_ngram": 3,
        "max_tokens": 12, "num_hypotheses": None, "mmi": False, "safety": True, "seed": None,
    }  # fmt: skip
    (card,) = httpx.get(f"{front.url}/v1/models").json()["data"]
    assert (card["max_model_len"], card["dialogpt"]["mmi"]) == (64, False)
    assert {card["dialogpt"]["defaults"][name] for name in ("top_k", "num_hypotheses")} == {7, 3}


def test_no_forward_model_is_loaded(
    serve: Callable[..., Any], tiny_checkpoint: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And the backward model only once MMI is asked for."""
    from dialogpt.chat.serving import serve as serving
    from dialogpt.decoding import loading

    behind = serve()
    loaded: list[Any] = []
    load = loading.load_engine
    for module in (loading, serving):
        monkeypatch.setattr(module, "load_engine", lambda name, **options: loaded.append(name) or load(name, **options))
    front = serve(backend=behind.url, model="")
    assert front.post({"messages": user("hi")}).status_code == 200
    assert loaded == []
    for _ in range(2):
        answer = front.post({"messages": user("hi"), "mmi": True, "num_hypotheses": 2, "hypotheses": True}).json()
        assert all(hypothesis["scores"] for hypothesis in answer["hypotheses"] if hypothesis["rejected"] is None)
    assert [Path(name).name for name in loaded] == ["backward"]
    none = serve(backend=behind.url, model=str(tiny_checkpoint))
    assert "mmi needs a backward model" in none.post({"messages": user("hi"), "mmi": True}).json()["error"]["message"]


def test_what_is_never_safe_is_drawn_again_and_replaced(serve: Callable[..., Any]) -> None:
    behind = serve()
    front = serve(backend=behind.url)
    seen: list[str] = []
    front.worker.guards = [lambda context, text: seen.append(text) or "no"]
    answer = front.post({"messages": user("hi"), "n": 2, "hypotheses": True, "top_k": 0, "temperature": 1.5}).json()
    assert [choice["message"]["content"] for choice in answer["choices"]] == [POLITE, POLITE]
    assert {choice["finish_reason"] for choice in answer["choices"]} == {"content_filter"}
    assert len(answer["hypotheses"]) == len(seen) == 4
    assert seen[:2] != seen[2:]
    page = httpx.get(f"{front.url}/metrics").text
    assert 'dialogpt_safety_total{reason="no"} 4.0' in page
    assert 'dialogpt_safety_total{reason="drawn again"} 1.0' in page
    assert "dialogpt_backend_failures_total 0.0" in page


@pytest.mark.parametrize("stream", [False, True])
def test_whoever_goes_away_takes_the_backends_rows_along(serve: Callable[..., Any], stream: bool) -> None:
    behind = serve(safety=False)
    front = serve(backend=behind.url, safety=False, min_new_tokens=10)
    engine = behind.worker.batcher.engine
    steps, go, decode = [0], threading.Event(), engine.decode

    def held(*given: Any) -> Any:
        steps[0] += 1
        go.wait(30)
        return decode(*given)

    engine.decode = held
    body = json.dumps({"messages": user("hi"), "stream": stream, "num_hypotheses": 1 if stream else 3}).encode()
    with socket.create_connection(("127.0.0.1", int(front.url.rpartition(":")[2]))) as connection:
        connection.sendall(b"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n")
        connection.sendall(f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
        until = time.monotonic() + 30
        while not steps[0]:
            assert time.monotonic() < until
            time.sleep(0.01)
        assert front.worker.rows == behind.worker.batcher.rows
    while front.worker.rows:
        assert time.monotonic() < until
        time.sleep(0.01)
    time.sleep(0.3)  # for the server behind to see it
    before = steps[0]
    go.set()
    while behind.worker.batcher.rows:
        assert time.monotonic() < until
        time.sleep(0.01)
    assert steps[0] <= before + 1
    assert front.post({"messages": user("hi")}).status_code == 200


def test_replies_under_way_are_completed_at_the_end(serve: Callable[..., Any]) -> None:
    behind = serve(safety=False)
    front = serve(backend=behind.url, safety=False)
    engine = behind.worker.batcher.engine
    begun, go, decode = threading.Event(), threading.Event(), engine.decode

    def held(*given: Any) -> Any:
        begun.set()
        go.wait(30)
        return decode(*given)

    engine.decode = held
    answers: list[Any] = []
    asking = threading.Thread(target=lambda: answers.append(front.post({"messages": user("hi"), "seed": 1})))
    asking.start()
    assert begun.wait(30)
    front.end()
    time.sleep(0.2)
    go.set()
    asking.join(30)
    assert answers[0].status_code == 200


@given(
    st.lists(st.text(alphabet="ab صب😀\u2028", min_size=1, max_size=40).filter(str.strip), min_size=1, max_size=12),
    st.integers(1, 60),
)
def test_what_is_sent_is_what_would_be_read_here(tiny_tokenizer: Any, texts: list[str], longest: int) -> None:
    turns = [Turn(text) for text in texts]
    sent = fitting(tiny_tokenizer, turns, 64, longest)
    tokens = [token for turn in tiny_tokenizer.encode_turns(sent) for token in turn]
    expected = context_tokens(tiny_tokenizer, turns, 64, longest)
    if len(sent) > 1 or sent[0] == turns[-1]:
        assert tokens == expected
    else:  # the end of a turn may begin within a character
        assert len(tokens) <= len(expected)
        assert turns[-1].text.endswith(sent[0].text)
        assert len(tiny_tokenizer.decode(expected).lstrip("\ufffd")) == len(sent[0].text)


@pytest.mark.parametrize(
    "url", ["127.0.0.1:8000", "ftp://x", "http://", "http://x:0", "http://x:99999", "http://u:p@x", "http://x/?q=1", ""]
)
def test_addresses_that_are_none(url: str) -> None:
    with pytest.raises(UsageError, match="--backend"):
        backend_url(url)


def test_addresses() -> None:
    for url in ("http://x:1", "http://x:1/", "http://x:1/v1", "http://x:1/v1/"):
        assert backend_url(url) == "http://x:1"
    assert backend_url("https://x/serve/v1") == "https://x/serve"


def test_a_model_that_the_backend_has_not(serve: Callable[..., Any]) -> None:
    behind = serve()
    with pytest.raises(UsageError) as caught:
        open_backend(ServeConfig(backend=behind.url, backend_model="other"))
    assert caught.value.message == "the backend has no model 'other'"
    assert "it has 'tiny'" in caught.value.hint


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start `dialogpt serve` with arguments."""
    processes: list[subprocess.Popen[str]] = []

    def start(*arguments: str) -> subprocess.Popen[str]:
        command = [sys.executable, "-m", "dialogpt", "serve", *arguments, "--device", "cpu"]
        environment = os.environ | {"OMP_NUM_THREADS": "1", "DIALOGPT_API_KEY": "k", "DIALOGPT_BACKEND_KEY": "k"}
        processes.append(
            subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
        )
        return processes[-1]

    yield start
    for process in processes:
        process.kill()
        process.communicate()


def address(process: subprocess.Popen[str], before: str = "nothing") -> str:
    """Where the server listens, by its log; `before`: what every line before that one has to be like."""
    assert process.stderr is not None
    while not (found := re.fullmatch(r"tiny is at (\S+)\n", line := process.stderr.readline())):
        assert re.fullmatch(before, line), line
    return found[1]


def test_processes(started: Callable[..., subprocess.Popen[str]], tiny_checkpoint: Path) -> None:
    """The one in front begins first, and waits; the one behind is killed while both run."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    front = started("--backend", f"http://127.0.0.1:{port}", "--port", "0")
    assert front.stderr is not None
    waits = rf"waiting for the backend: the backend at http://127\.0\.0\.1:{port} cannot be reached\n"
    assert re.fullmatch(waits, front.stderr.readline())
    behind = started(str(tiny_checkpoint), "--port", str(port))
    address(behind)
    url = address(front, waits)
    client = openai.OpenAI(base_url=f"{url}/v1", api_key="k", max_retries=0, timeout=60)
    answer = client.chat.completions.create(model="tiny", messages=user("hi"), seed=1)
    assert answer.choices[0].message.content
    assert httpx.get(f"{url}/health").json()["status"] == "ok"
    behind.send_signal(signal.SIGKILL)
    behind.wait(30)
    with pytest.raises(openai.InternalServerError) as caught:
        client.chat.completions.create(model="tiny", messages=user("hi"))
    assert caught.value.status_code == 503
    assert caught.value.response.headers["Retry-After"] == "5"
    assert "cannot be reached" in str(caught.value.body)
    health = httpx.get(f"{url}/health")
    assert health.status_code == 503
    assert "cannot be reached" in health.json()["status"]
    front.send_signal(signal.SIGTERM)
    stdout, stderr = front.communicate(timeout=60)
    assert front.returncode in (0, -signal.SIGTERM, 128 + signal.SIGTERM), stderr
    assert stdout == ""
    assert "Traceback" not in stderr


@pytest.mark.parametrize("behind", [False, True])
def test_a_ranker_orders_every_reply(
    serve: Callable[..., Any], tiny_checkpoint: Path, tiny_ranker: Path, behind: bool
) -> None:
    ranker = {"ranker": str(tiny_ranker), "ranker_weight": 2.0, "num_hypotheses": 4, "safety": False}
    mmi = {"backward": str(tiny_checkpoint)}
    server = serve(**ranker, **mmi, **({"backend": serve(safety=False).url} if behind else {}))
    for asked, weights in (({}, {"ranker": 2.0}), ({"mmi": True}, {"mmi": 1.0, "ranker": 2.0})):
        body = {"messages": user("hi"), "hypotheses": True, "seed": 1, "temperature": 1} | asked
        answer = server.post(body).json()
        totals = [sum(weights[name] * score for name, score in h["scores"].items()) for h in answer["hypotheses"]]
        assert [h["scores"].keys() for h in answer["hypotheses"]] == [weights.keys()] * 4
        assert totals == sorted(totals, reverse=True)
        assert totals[0] > totals[-1]
        assert answer["choices"][0]["message"]["content"] == answer["hypotheses"][0]["text"]
