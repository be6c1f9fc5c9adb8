"""A study of two systems, and the command that serves it as a real process."""

import json
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from dialogpt.evaluation.human import JudgeConfig
from dialogpt.evaluation.human.store import Store
from dialogpt.evaluation.human.study import make_study
from dialogpt.evaluation.inputs import read_replies

BROWSING = (
    "--no-sandbox --disable-gpu --disable-quic --no-first-run --disable-background-networking "
    "--disable-component-update --disable-sync"
)
SCRIPT = "<script>document.title = 'run'</script><img src=x onerror=\"document.title = 'run'\">"
# Contexts and two systems' replies; the last are the same.
ROWS = [
    (["does money buy happiness ?", "depends how much ."], "by being happy .", "be a millionaire first ."),
    (["صباح الخير، كيف حالك اليوم؟"], "الحمد لله بخير وأنت؟ 😀", "أنا لا أعرف ماذا تقصد"),
    (["what of html ?"], SCRIPT, "w" * 400),
    (["Привет", "おはよう"], "хорошо\nи ты?", ""),
    (["bye"], "see you", " see  you "),
]


@pytest.fixture
def systems(tmp_path: Path) -> tuple[Path, Path]:
    return write_systems(tmp_path)


def write_systems(folder: Path) -> tuple[Path, Path]:
    """Files of replies, as `generate --format jsonl` writes them."""
    return write_system(folder / "ours.jsonl", 1), write_system(folder / "human.jsonl", 2)


def write_system(path: Path, column: int, rows: Any = ROWS) -> Path:
    lines = [
        json.dumps({"id": f"t{number}", "context": row[0], "hypothesis": row[column]}, ensure_ascii=False)
        for number, row in enumerate(rows, 1)
    ]
    path.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return path


@pytest.fixture
def make_store(tmp_path: Path) -> Iterator[Callable[..., Store]]:
    """A new study of `contexts` contexts of two systems, or of `systems` files."""
    opened = []

    def make(contexts: int = 4, clock: Any = None, files: Any = (), name: str = "study.db", **settings: Any) -> Store:
        rows = [([f"hi {number}"], f"first {number}", f"second {number}") for number in range(contexts)]
        hyps = files or [write_system(tmp_path / f"{column}.jsonl", column, rows) for column in (1, 2)]
        config = JudgeConfig(study=tmp_path / name, hyps=tuple(hyps), **settings)
        more = {"clock": clock} if clock else {}
        opened.append(Store.create(config.study, make_study(config, read_replies(config.hyps)), **more))
        return opened[-1]

    yield make
    for store in opened:
        store.close()


class Served:
    """`dialogpt judge` as a process; `url` ends with a slash, `links` are those of --names."""

    def __init__(self, study: Path, *arguments: str) -> None:
        self.process = subprocess.Popen(
            [sys.executable, "-m", "dialogpt", "judge", str(study), *arguments],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, encoding="utf-8",
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        assert self.process.stdout
        names = arguments.index("--names") if "--names" in arguments else 0
        count = len(arguments) - names - 1 if names else 1
        lines = [self.process.stdout.readline().rstrip("\n") for _ in range(count)]
        assert all(lines), self.process.communicate(timeout=60)
        self.links = dict(line.split("\t") for line in lines) if names else {}
        self.url = lines[0].split("\t")[-1].partition("j/")[0]
        self.port = int(self.url.rstrip("/").rpartition(":")[2])

    def end(self, how: signal.Signals = signal.SIGINT) -> tuple[int, str, str]:
        """Send a signal; returns exit code, stdout and stderr."""
        self.process.send_signal(how)
        out, err = self.process.communicate(timeout=60)
        return self.process.returncode, out, err


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[..., Served]]:
    """Start the command at a free port; what still runs when the module's tests are done is killed."""
    started: list[Served] = []

    def start(study: Path, *arguments: Any) -> Served:
        port = () if "--port" in arguments else ("--port", "0")
        started.append(Served(study, *port, *map(str, arguments)))
        return started[-1]

    yield start
    for served in started:
        if served.process.poll() is None:
            served.process.kill()
        served.process.communicate()


@pytest.fixture(scope="module")
def one_server(serve: Callable[..., Served], tmp_path_factory: pytest.TempPathFactory) -> tuple[str, str]:
    """The address of a server that tests may share, and a judge's part of its API, who has been shown an item."""
    import httpx

    folder = tmp_path_factory.mktemp("served")
    served = serve(folder / "study.db", "--hyps", *write_systems(folder))
    token = httpx.post(f"{served.url}api/join", json={"name": "Ann"}).json()["token"]
    judge = f"{served.url}api/j/{token}"
    assert httpx.get(judge).json()["item"]["assignment"] == 1
    return served.url, judge


@pytest.fixture
def run_judge() -> Callable[..., tuple[int, str]]:
    """Exit code and stderr of the command, without a keyboard."""

    def run(*arguments: Any) -> tuple[int, str]:
        result = subprocess.run(
            [sys.executable, "-m", "dialogpt", "judge", *map(str, arguments)],
            stdin=subprocess.DEVNULL, capture_output=True, text=True, encoding="utf-8", check=False, timeout=100,
            env={**os.environ, "OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        return result.returncode, result.stderr

    return run


@pytest.fixture(scope="module")
def browser() -> Iterator[Any]:
    """Chromium, headless; skips where there is none."""
    api = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    path = shutil.which("chromium")
    if path is None:
        pytest.skip("there is no chromium")
    with api.sync_playwright() as driver:
        chromium = driver.chromium.launch(executable_path=path, args=BROWSING.split())
        yield chromium
        chromium.close()


@pytest.fixture
def open_page(browser: Any) -> Iterator[Callable[..., Any]]:
    """A page of a browser of its own; errors in it, and requests to elsewhere, fail the test."""
    pages, wrong = [], []

    def make(url: str, **settings: Any) -> Any:
        page = browser.new_context(**settings).new_page()
        pages.append(page)
        page.set_default_timeout(20_000)
        page.on("pageerror", lambda error: wrong.append(str(error)))
        page.on("console", lambda message: wrong.append(message.text) if "Security" in message.text else None)
        page.on(
            "request", lambda request: None if request.url.startswith((url, "data:")) else wrong.append(request.url)
        )
        page.goto(url)
        return page

    yield make
    for page in pages:
        page.context.close()
    assert not wrong
