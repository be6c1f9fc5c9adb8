"""Servers in a thread of this process, engines for them to ask, and pages in a browser that watch themselves."""

import json
import shutil
import socket
import threading
import time
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

SWITCHES = [
    "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]  # fmt: skip


class Shown:
    """One tab with the page, the bodies it has asked with, and everything that went wrong in it."""

    def __init__(self, tab: Any, url: str) -> None:
        self.tab, self.url = tab, url
        self.bodies: list[dict[str, Any]] = []
        self.faults: list[str] = []
        tab.set_default_timeout(15_000)
        tab.on("request", self._asked)
        tab.on("pageerror", lambda error: self.faults.append(str(error)))
        tab.on("console", lambda line: self.faults.append(line.text) if line.type == "error" else None)
        tab.goto(url)

    def _asked(self, request: Any) -> None:
        if not request.url.startswith((self.url, "blob:" + self.url)):
            self.faults.append(f"another host: {request.url}")
        if request.url.endswith("/v1/chat/completions"):
            self.bodies.append(json.loads(request.post_data))

    def expected(self, *parts: str) -> None:
        """Faults with these parts belong to the test."""
        self.faults = [fault for fault in self.faults if not any(part in fault for part in parts)]

    def say(self, text: str) -> str:
        """Say something, and wait for the reply."""
        before = self.tab.locator(".assistant:not(.pending)").count()
        self.tab.fill("#input", text)
        self.tab.press("#input", "Enter")
        self.tab.locator(".assistant:not(.pending)").nth(before).wait_for()
        return self.texts[-1]

    def until(self, expression: str) -> None:
        """Wait until something holds. Playwright's own wait compiles in the page, which the page's policy forbids."""
        end = time.monotonic() + 15
        while not self.tab.evaluate(expression):
            assert time.monotonic() < end, expression
            self.tab.wait_for_timeout(20)

    @property
    def texts(self) -> list[str]:
        """All messages, as they are shown."""
        return [str(text) for text in self.tab.locator(".message:not(.pending) > .text").all_text_contents()]

    @property
    def titles(self) -> list[str]:
        return [str(text) for text in self.tab.locator("#conversations button").all_text_contents()]

    def settings(self, **values: Any) -> None:
        """Have the page start with these settings."""
        self.tab.evaluate("values => localStorage.setItem('dialogpt:settings', JSON.stringify(values))", values)
        self.tab.reload()

    def stored(self, prefix: str = "dialogpt:") -> dict[str, str]:
        found: dict[str, str] = self.tab.evaluate("() => ({...localStorage})")
        return {key: value for key, value in found.items() if key.startswith(prefix)}


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="no playwright")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no chromium")
    with playwright.sync_playwright() as running:
        started = running.chromium.launch(executable_path=chromium, args=SWITCHES)
        yield started
        started.close()


@pytest.fixture(scope="module")
def serve_page(tiny_checkpoint: Path) -> Iterator[Callable[..., tuple[str, Any]]]:
    """Starts servers of the tiny model; each is an address and the batcher behind it."""
    pytest.importorskip("fastapi")
    import uvicorn

    from dialogpt.chat.serving import ServeConfig
    from dialogpt.chat.serving.http.api import make_app
    from dialogpt.chat.serving.serve import load_batcher
    from dialogpt.chat.serving.worker import Worker
    from dialogpt.limits import Requests

    running: list[tuple[uvicorn.Server, threading.Thread, socket.socket]] = []

    def start(**settings: Any) -> tuple[str, Any]:
        config = ServeConfig(
            **{"model": str(tiny_checkpoint), "max_new_tokens": 12, "device": "cpu", "seed": 1, **settings}
        )
        worker = Worker(load_batcher(config), config)
        listening = socket.create_server(("127.0.0.1", 0))
        server = uvicorn.Server(uvicorn.Config(make_app(config, worker, "tiny"), log_level="error", http=Requests))
        thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
        thread.start()
        running.append((server, thread, listening))
        while not server.started:
            assert thread.is_alive()
            time.sleep(0.01)
        return f"http://127.0.0.1:{listening.getsockname()[1]}", worker.batcher

    yield start
    for server, thread, listening in running:
        server.should_exit = True
        thread.join(30)
        listening.close()
        assert not thread.is_alive()


@pytest.fixture(scope="module")
def page_server(serve_page: Callable[..., tuple[str, Any]], tiny_checkpoint: Path) -> tuple[str, Any]:
    """A server with a backward model, which is the forward one."""
    return serve_page(mmi=True, backward=str(tiny_checkpoint), num_hypotheses=1)


@pytest.fixture
def show(browser: Any, page_server: tuple[str, Any]) -> Iterator[Callable[..., Shown]]:
    """Opens the page in a profile of its own, or in `beside`'s; at the end nothing may have gone wrong in any."""
    tabs: list[Shown] = []

    def open_page(url: str = "", beside: Shown | None = None, **options: Any) -> Shown:
        context = beside.tab.context if beside else browser.new_context(**{"locale": "en-GB", **options})
        tabs.append(Shown(context.new_page(), (url or page_server[0]) + "/"))
        return tabs[-1]

    yield open_page
    for context in {tab.tab.context for tab in tabs}:
        context.close()
    assert [tab.faults for tab in tabs if tab.faults] == []


class Server:
    """A server in a thread of this process, and its parts; `worker` is its replier, a worker or a backend."""

    def __init__(self, config: Any) -> None:
        import uvicorn

        from dialogpt.chat.serving.backend.opening import open_backend
        from dialogpt.chat.serving.http.api import make_app
        from dialogpt.chat.serving.serve import open_worker
        from dialogpt.limits import Requests

        self.config = config
        self.worker: Any = (open_backend if config.backend else open_worker)(config)[0]
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._socket.getsockname()[1]}"
        app = make_app(config, self.worker, "tiny")
        self._server = uvicorn.Server(uvicorn.Config(app, log_level="error", http=Requests))
        self._thread = threading.Thread(target=self._server.run, kwargs={"sockets": [self._socket]})
        self._thread.start()
        while not self._server.started:
            assert self._thread.is_alive()
            time.sleep(0.01)

    def client(self, key: str = "none") -> Any:
        import openai

        return openai.OpenAI(base_url=f"{self.url}/v1", api_key=key, max_retries=0, timeout=60)

    def post(self, body: Any, path: str = "/v1/chat/completions", **options: Any) -> Any:
        import httpx

        return httpx.post(self.url + path, json=body, timeout=60, **options)

    def end(self) -> None:
        """Tell it to end."""
        self._server.should_exit = True

    def close(self) -> None:
        self.end()
        self._thread.join(60)
        self._socket.close()
        assert not self.worker.alive


@pytest.fixture
def serve(tiny_checkpoint: Path) -> Iterator[Callable[..., Server]]:
    """Start servers of a small model, with settings of their own."""
    from dialogpt.chat.serving import ServeConfig

    servers: list[Server] = []

    def start(**settings: Any) -> Server:
        config = ServeConfig(**{"model": str(tiny_checkpoint), "max_new_tokens": 12, "device": "cpu", **settings})
        servers.append(Server(config))
        return servers[-1]

    yield start
    for server in servers:
        server.close()


class FakeRequest(BaseHTTPRequestHandler):
    """A request to the engine that a `Fake` plays, and the ways to answer it."""

    protocol_version = "HTTP/1.1"
    server: "FakeServer"
    body: dict[str, Any]

    def do_GET(self) -> None:
        if self.server.fake.models is None:
            self.json({"error": {"message": "nothing here"}}, 404)
        else:
            self.json(self.server.fake.models)

    def do_POST(self) -> None:
        self.body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
        self.body["path"] = self.path
        self.server.fake.bodies.append(self.body)
        self.server.fake.keys.add(self.headers.get("Authorization", ""))
        self.server.fake.answers(self)

    def complete(self, **other: Any) -> None:
        self.json(self.server.fake.completion(self.body | other))

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


class FakeServer(ThreadingHTTPServer):
    """The engine's server, which says nothing when whoever asked has gone away."""

    daemon_threads = True

    def __init__(self, fake: "Fake") -> None:
        super().__init__(("127.0.0.1", 0), FakeRequest)
        self.fake = fake

    def handle_error(self, *_: object) -> None:
        pass


class Fake:
    """An engine; `answers(request)` has the request's body, and answers by the request's methods."""

    def __init__(self) -> None:
        self.bodies: list[dict[str, Any]] = []
        self.keys: set[str] = set()
        self.models: Any = {"data": [{"id": "m", "owned_by": "vllm", "max_model_len": 64}]}
        self.answers: Callable[[Any], None] = lambda request: request.complete()
        self._server = FakeServer(self)
        self.url = f"http://127.0.0.1:{self._server.server_port}"
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.02})
        self._thread.start()

    def close(self) -> None:
        if self._thread.is_alive():
            self._server.shutdown()
            self._thread.join()
            self._server.server_close()

    @staticmethod
    def completion(body: dict[str, Any], text: str = "well", **more: Any) -> dict[str, Any]:
        """As vLLM answers: a choice for each of `n`, with the log-probabilities of its tokens if they are asked for."""
        choices = [
            {"index": i, "text": f" {text}{i}", "finish_reason": "stop",
             "logprobs": {"token_logprobs": [-1.0, -0.5 - i]} if body.get("logprobs") else None}
            for i in range(body.get("n", 1))
        ]  # fmt: skip
        return {"choices": choices, "usage": {"prompt_tokens": 5, "completion_tokens": 2 * len(choices)}, **more}


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
