"""A study on a web page: judges say a name, or open their own link, and answer item by item; FastAPI and uvicorn.

    GET  /                      say your name                 GET  /j/TOKEN                 the judge's page
    POST /api/join              {"name": ...} -> {"token": ...}
    GET  /api/j/TOKEN           the item to answer, and how far the judge is; ?back=1: the last answer again
    POST /api/j/TOKEN/answers   {"assignment": ..., "values": {criterion: value}, "seconds": ...} -> as above

Errors are {"error": ..., "hint": ...}: 404 for an unknown token, 409 for a name or an item that others have, 413 and
422 for bodies that are too large or invalid, 503 when the study's file cannot be written.
"""

import asyncio
import logging
import signal
import socket
import sys
from collections.abc import Sequence
from importlib import import_module, resources
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import msgspec

from dialogpt.errors import DataError, DialoGPTError, UsageError
from dialogpt.evaluation.human.store import Judge, NameTaken, Store, TooLate
from dialogpt.evaluation.human.study import questions
from dialogpt.evaluation.human.tables import Unusable

if TYPE_CHECKING:
    from fastapi import FastAPI

log = logging.getLogger(__name__)
T = TypeVar("T")

BODY_BYTES = 1 << 16
BODY_S = 30.0
LOOKS = ["GET", "HEAD"]  # HEAD is for monitors and link previews
FILES = {"page.css": "text/css"} | dict.fromkeys(
    ("page.js", "texts.js", "texts-en.js", "texts-ar.js"), "text/javascript"
)
HEADERS = {
    "Cache-Control": "no-store",
    "Content-Security-Policy": "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; "
    "img-src data:; form-action 'self'; base-uri 'none'; frame-ancestors 'none'",
    "Referrer-Policy": "no-referrer",  # the address is the judge's secret
    "X-Content-Type-Options": "nosniff",
}


class Unknown(DataError):
    """A token that no judge has."""


class TooLarge(DataError):
    """A body far larger than any answer."""


STATUS: dict[type[DialoGPTError], int] = {Unknown: 404, TooLate: 409, NameTaken: 409, TooLarge: 413, Unusable: 503}


class Name(msgspec.Struct):
    """The body of /api/join."""

    name: str


class Answer(msgspec.Struct):
    """The body of an answer; `values` as `Shown.values`, `seconds` since the item was shown."""

    assignment: Annotated[int, msgspec.Meta(ge=1, lt=2**62)]
    values: dict[str, int]
    seconds: float = 0.0


def check_installed() -> None:
    """UsageError when what serves the page is not installed."""
    try:
        for name in ("fastapi", "httptools", "uvicorn"):
            import_module(name)
    except ImportError as error:
        raise UsageError(
            f"the page needs {error.name}", 'pip install "dialogpt[server]", or judge in the terminal: --terminal NAME'
        ) from error


def serve(store: Store, host: str, port: int, names: Sequence[str] = ()) -> None:
    """Serve the page until Ctrl-C; prints its address, or a link for each of `names`, who are then the only judges."""
    import uvicorn

    from dialogpt.limits import Requests

    with _listen(host, port) as listening:
        address = f"http://{_visible(host)}:{listening.getsockname()[1]}"
        for judge in [store.judge_named(name) or store.add_judge(name) for name in names]:
            sys.stdout.write(f"{judge.name}\t{address}/j/{judge.token}\n")
        if not names:
            sys.stdout.write(f"{address}/\n")
        sys.stdout.flush()
        log.info("Ctrl-C ends the server; answers are kept")
        settings = uvicorn.Config(
            make_app(store, joining=not names),
            log_config=None,
            log_level="warning",
            access_log=False,  # it would write the judges' links
            server_header=False,
            lifespan="off",
            http=Requests,
            ws="none",
            timeout_graceful_shutdown=3,
        )
        before = signal.signal(signal.SIGTERM, signal.default_int_handler)  # services are stopped by it
        try:
            uvicorn.Server(settings).run(sockets=[listening])
        except KeyboardInterrupt:
            log.info("stopped")
        finally:
            signal.signal(signal.SIGTERM, before)


def make_app(store: Store, *, joining: bool) -> "FastAPI":
    """The FastAPI application of a study; without `joining` only people with a link may judge."""
    from fastapi import FastAPI, Request

    app = FastAPI(openapi_url=None, redirect_slashes=False)
    files = {path.name: path.read_bytes() for path in (resources.files(__package__) / "page").iterdir()}

    @app.exception_handler(DialoGPTError)
    async def say(request: Request, error: DialoGPTError) -> Any:
        if isinstance(error, Unusable):
            log.error("%s", error)
        return _respond({"error": error.message, "hint": error.hint}, status=STATUS.get(type(error), 422))

    @app.exception_handler(404)
    async def nowhere(request: Request, error: Exception) -> Any:
        return _nobody(request, files)

    _add_pages(app, store, files, joining=joining)
    _add_api(app, store, joining=joining)
    return app


def _add_pages(app: "FastAPI", store: Store, files: dict[str, bytes], *, joining: bool) -> None:
    from fastapi import Request
    from fastapi.concurrency import run_in_threadpool

    @app.api_route("/", methods=LOOKS)
    async def index() -> Any:
        return _respond(files["index.html" if joining else "invited.html"], "text/html")

    @app.api_route("/{name}", methods=LOOKS)
    async def file(name: str, request: Request) -> Any:
        return _respond(files[name], FILES[name]) if name in FILES else _nobody(request, files)

    @app.api_route("/j/{token}", methods=LOOKS)
    async def page(token: str, request: Request) -> Any:
        known = await run_in_threadpool(store.judge_with, token)
        return _respond(files["judge.html"], "text/html") if known else _nobody(request, files)


def _add_api(app: "FastAPI", store: Store, *, joining: bool) -> None:
    from fastapi import Request
    from fastapi.concurrency import run_in_threadpool

    @app.post("/api/join")
    async def join(request: Request) -> Any:
        if not joining:
            raise UsageError("this study is for invited judges", "open the link that was sent to you")
        name = await _body(request, Name)
        judge = await run_in_threadpool(store.add_judge, name.name)
        return _respond({"token": judge.token}, status=201)

    @app.get("/api/j/{token}")
    async def item(token: str, back: str = "") -> Any:
        return _respond(await run_in_threadpool(_item, store, token, back=bool(back)))

    @app.post("/api/j/{token}/answers")
    async def answers(token: str, request: Request) -> Any:
        answer = await _body(request, Answer)
        return _respond(await run_in_threadpool(_answered, store, token, answer))


def _respond(content: bytes | dict[str, Any], kind: str = "application/json", status: int = 200) -> Any:
    from fastapi import Response

    body = content if isinstance(content, bytes) else msgspec.json.encode(content)
    return Response(body, status, HEADERS, kind)


def _nobody(request: Any, files: dict[str, bytes]) -> Any:
    """The page for an unknown address, which finds its files as many folders up as the address is deep."""
    up = b"../" * (request.scope["raw_path"].count(b"/") - 1)
    return _respond(files["unknown.html"].replace(b'"../', b'"' + up), "text/html", 404)


def _item(store: Store, token: str, *, back: bool = False) -> dict[str, Any]:
    """What the page shows: the study, how far the judge is, and the item, or null when there is none."""
    judge = _known(store, token)
    shown = store.previous_item(judge) if back else None
    going_back = shown is not None
    shown = shown or store.next_item(judge)
    share = store.progress(judge)
    return {
        "kind": store.settings.kind,
        "questions": questions(store.settings),
        "name": judge.name,
        "answered": share.answered,
        "total": share.total,
        "held": share.held,
        "may_go_back": share.answered > 0 and not going_back,
        "item": shown._asdict() if shown else None,
    }


def _answered(store: Store, token: str, answer: Answer) -> dict[str, Any]:
    store.answer(_known(store, token), answer.assignment, answer.values, answer.seconds)
    return _item(store, token)


def _known(store: Store, token: str) -> Judge:
    judge = store.judge_with(token)
    if judge is None:
        raise Unknown("this link belongs to no judge of this study", "open the link that was sent to you")
    return judge


async def _body(request: Any, kind: type[T]) -> T:
    """The request's JSON as `kind`; TooLarge or DataError when it is too much, too slow, or something else."""
    body = bytearray()
    try:
        async with asyncio.timeout(BODY_S):
            async for piece in request.stream():
                body += piece
                if len(body) > BODY_BYTES:
                    raise TooLarge(f"more than {BODY_BYTES} bytes", "an answer is a few hundred")
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, RecursionError, TimeoutError) as error:
        raise DataError(
            f"the request cannot be read: {error or 'it came too slowly'}", "send what the page sends"
        ) from error


def _listen(host: str, port: int) -> socket.socket:
    """A socket that listens, on a free port when `port` is 0; UsageError when it cannot."""
    try:
        family = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM)[0][0]
        return socket.create_server((host, port), family=family, backlog=256)
    except OSError as error:
        raise UsageError(
            f"cannot listen at {host}, port {port}: {error.strerror or error}",
            "name another --port, or stop what uses it; --host is an address of this machine",
        ) from error


def _visible(host: str) -> str:
    """The host as shown in a link: an address that stands for all of this machine's cannot be opened."""
    if host in ("0.0.0.0", "::", ""):
        return socket.gethostname()
    return f"[{host}]" if ":" in host else host
