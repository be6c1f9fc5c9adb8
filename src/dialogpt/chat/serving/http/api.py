"""The HTTP server as an application: OpenAI's routes, /health, /metrics, and the page.

A request becomes a job of the replier; what the job tells, in the replier's thread, reaches the request by its event
loop. Whoever goes away takes his job along. Errors have OpenAI's form, {"error": {"message": ..., "type": ...}}.
"""

import asyncio
import hmac
import logging
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
from fastapi import Depends, FastAPI, Header, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.middleware.cors import CORSMiddleware
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from dialogpt import __version__
from dialogpt.chat.serving import ServeConfig
from dialogpt.chat.serving.http.messages import (
    Answer,
    ChatRequest,
    TextRequest,
    check_model,
    defaults_of,
    reply_settings,
    told_of,
)
from dialogpt.chat.serving.http.metrics import Metrics
from dialogpt.chat.serving.http.talk import Event, Mail, Talk, Told
from dialogpt.chat.serving.replier import Replier, ReplyError
from dialogpt.decoding.batcher import Job
from dialogpt.errors import DialoGPTError, UsageError
from dialogpt.limits import BodyLimit

log = logging.getLogger(__name__)

PAGE = Path(__file__).parents[1] / "page"
POLICY = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
KINDS = {401: "authentication_error", 429: "rate_limit_error"}  # of the others below 500: invalid_request_error
ERRORS: dict[int | str, dict[str, Any]] = {  # of replies, as the document tells them
    status: {"description": text, "content": {"application/json": {"schema": {"type": "object"}}}}
    for status, text in ((400, "what is asked cannot be done"), (401, "the key is missing or another one"),
                         (404, "another model is served"),
                         (413, "the request is too large"), (422, "the request has not the right form"),
                         (429, "too many requests wait"), (500, "an error of the server"),
                         (502, "the backend has failed"), (503, "what makes the replies cannot be reached"),
                         (504, "the backend takes too long"))
}  # fmt: skip
TOLD: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "the reply; with `stream` as events of its pieces",
        "content": {"application/json": {"schema": {"type": "object"}}, "text/event-stream": {}},
    }
}


def make_app(config: ServeConfig, replier: Replier, name: str) -> FastAPI:
    """The application; it closes the replier when it ends."""

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        server.mail = Mail()
        replier.attend()
        yield
        await asyncio.to_thread(replier.close)

    app = FastAPI(
        title="DialoGPT", version=__version__, lifespan=lifespan, docs_url=None, redoc_url=None,
        servers=[{"url": "."}],  # beside the document, below whatever path a proxy has put it
    )  # fmt: skip
    metrics = Metrics(replier)
    server = _Server(config, replier, name, metrics)
    needs_key = [Depends(_key_check(config.api_key))] if config.api_key else []
    app.post("/v1/chat/completions", dependencies=needs_key, responses=TOLD | ERRORS)(server.chat)
    app.post("/v1/completions", dependencies=needs_key, responses=TOLD | ERRORS)(server.text)
    app.get("/v1/models", dependencies=needs_key, responses={401: ERRORS[401]})(server.models)
    app.get("/v1/models/{name:path}", dependencies=needs_key, responses={401: ERRORS[401], 404: ERRORS[404]})(
        server.model
    )
    app.get("/metrics", dependencies=needs_key, response_class=Response, responses={401: ERRORS[401]})(metrics.page)
    app.get("/health", responses={503: {"description": "no replies are being made, and why"}})(server.health)
    app.head("/health", include_in_schema=False)(server.health)  # which balancers and monitors ask
    app.api_route("/health/", methods=["GET", "HEAD"], include_in_schema=False)(server.health)
    app.get("/docs", include_in_schema=False)(_docs)
    app.add_exception_handler(DialoGPTError, _explained)  # type: ignore[arg-type]
    app.add_exception_handler(RequestValidationError, _invalid)  # type: ignore[arg-type]
    app.add_exception_handler(HTTPException, _refused)  # type: ignore[arg-type]
    app.add_middleware(BodyLimit, most_bytes=config.max_body)
    if config.cors:
        app.add_middleware(
            CORSMiddleware, allow_origins=list(config.cors), allow_methods=["GET", "POST"], allow_headers=["*"]
        )
    if config.page and PAGE.is_dir():
        app.router.default = _Page(directory=PAGE, html=True)  # a mount would take a route's other methods, too
    return app


async def _docs() -> Response:
    """The routes, to try; FastAPI's own page asks for the document at the root of a proxy."""
    return get_swagger_ui_html(openapi_url="openapi.json", title="DialoGPT", swagger_favicon_url="icon.svg")


class _Page(StaticFiles):
    """The page's files; a browser may load nothing from anywhere else for them."""

    async def get_response(self, path: str, scope: Any) -> Response:
        if scope["method"] not in ("GET", "HEAD"):
            raise HTTPException(404)
        response = await super().get_response(path, scope)
        response.headers["Content-Security-Policy"] = POLICY
        response.headers["X-Content-Type-Options"] = "nosniff"
        response.headers["Cache-Control"] = "no-cache"
        return response


class _Server:
    """The routes; `mail` is there once the event loop runs."""

    mail: Mail

    def __init__(self, config: ServeConfig, replier: Replier, name: str, metrics: Metrics) -> None:
        self.config, self.replier, self.name, self.metrics = config, replier, name, metrics
        self._settings = reply_settings(config)
        self._seeds = np.random.default_rng(config.seed)

    async def chat(self, body: ChatRequest, request: Request) -> Response:
        """Reply to a conversation."""
        return await self._complete(body, request, chat=True)

    async def text(self, body: TextRequest, request: Request) -> Response:
        """Reply to a prompt, whose turns stand between end tokens."""
        return await self._complete(body, request, chat=False)

    async def models(self) -> dict[str, Any]:
        """The one model that is served, and how it replies where a request says nothing."""
        return {"object": "list", "data": [await self.model(self.name)]}

    async def model(self, name: str) -> dict[str, Any]:
        """The model of that name, as in the list."""
        check_model(name, self.name)
        return {"id": self.name, "object": "model", "created": 0, "owned_by": "dialogpt",
                "max_model_len": self.replier.n_ctx,
                "dialogpt": {"version": __version__, "mmi": self.replier.ranks, "end_token": self.replier.end_text,
                             "defaults": defaults_of(self.config)},
                }  # fmt: skip

    async def health(self) -> Response:
        """Whether replies are being made."""
        trouble = await asyncio.to_thread(self.replier.trouble)
        status = {"status": trouble or "ok", "model": self.name, "version": __version__}
        return JSONResponse(status, status_code=503 if trouble else 200)

    async def _complete(self, body: ChatRequest | TextRequest, request: Request, *, chat: bool) -> Response:
        check_model(body.model, self.name)
        settings = body.settings(self._settings)
        if settings.mmi and not self.replier.ranks:
            raise UsageError("mmi needs a backward model", "start the server with --backward")
        talk = Talk(self.replier, self.metrics, self.mail)
        seed = int(self._seeds.integers(2**63)) if body.seed is None else body.seed
        turns = body.turns(self.replier.end_text)
        if self.config.log_text:
            log.info("asked: %s", " | ".join(turn.text for turn in turns))
        job = Job(
            context=turns, config=settings, seed=seed, stops=body.stops, on_done=talk.on_done,
            on_text=talk.on_text if body.stream and body.n == 1 else None,
        )  # fmt: skip
        talk.begin(job, request)
        answer = Answer(self.name, chat)
        if body.stream:
            return _Stream(talk, await talk.first(), answer, body)
        told_all = await talk.all(body.n)
        more = {"hypotheses": told_of(told_all.hypotheses)} if body.hypotheses else {}
        whole = answer.whole(told_all.texts, told_all.reasons, told_all.usage, **more)
        return Response(msgspec.json.encode(whole), media_type="application/json")


class _Stream(Response):
    """A reply as server-sent events, in pieces as it is made; at the end why it ended, and what was asked for."""

    media_type = "text/event-stream"

    def __init__(self, talk: Talk, first: str | Told, answer: Answer, body: ChatRequest | TextRequest) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})  # nginx hands pieces on
        del self.headers["content-length"]
        self._talk, self._first, self._answer, self._body = talk, first, answer, body

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send it. Whoever goes away is noticed by the talk: no task has to stand beside this one."""
        answer, said = self._answer, ""
        event: Event = self._first
        head = [answer.piece(index, None) for index in range(self._body.n)] if answer.chat else []
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            while isinstance(event, str):
                said += event
                events = _events(*head, answer.piece(0, event))
                await send({"type": "http.response.body", "body": events, "more_body": True})
                head.clear()
                event = await self._talk.next()
            if isinstance(event, Exception):
                rest = _events(_error(*_status(event)))
            else:
                rest = _events(*head, *self._last(event, said)) + b"data: [DONE]\n\n"
            await send({"type": "http.response.body", "body": rest})
        finally:
            self._talk.leave()

    def _last(self, told: Told, said: str) -> Iterator[dict[str, Any]]:
        """What has not been said yet."""
        answer, body = self._answer, self._body
        texts, reasons, usage = told.some(body.n)
        for index, (text, reason) in enumerate(zip(texts, reasons, strict=True)):
            if rest := text[len(said) :] if index == 0 else text:
                yield answer.piece(index, rest)
            more = {"hypotheses": told_of(told.hypotheses)} if body.hypotheses and index == 0 else {}
            yield answer.piece(index, "", reason, **more)
        if body.usage_at_the_end:
            yield answer.usage(usage)


def _events(*pieces: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + msgspec.json.encode(piece) + b"\n\n" for piece in pieces)


def _key_check(key: str) -> Any:
    async def check(authorization: Annotated[str, Header()] = "") -> None:
        scheme, _, rest = authorization.partition(" ")
        sent = rest.lstrip() if scheme.lower() == "bearer" else authorization
        if not hmac.compare_digest(sent.encode("latin-1", "replace"), key.encode()):  # as it came over the wire
            raise HTTPException(401, "the API key is missing or another one")

    return check


async def _explained(request: Request, error: DialoGPTError) -> JSONResponse:
    """An error that the client can act upon."""
    status, message = _status(error)
    after = error.retry_after if isinstance(error, ReplyError) else ""
    return JSONResponse(_error(status, message), status_code=status, headers={"Retry-After": after} if after else {})


def _status(error: Exception) -> tuple[int, str]:
    """The status of an error, and what may be told of it."""
    if not isinstance(error, DialoGPTError):
        return 500, "the reply failed"
    if isinstance(error, ReplyError):
        return error.status, str(error)
    return 404 if str(error).startswith("no model ") else 400, str(error)


async def _invalid(request: Request, error: RequestValidationError) -> JSONResponse:
    """A body that has not the right form."""
    faults = [_fault(fault) for fault in error.errors()]
    if isinstance(error.body, bytes):  # which FastAPI reads as JSON only where it is called so
        faults = ["the body is not read as JSON: send it with the header Content-Type: application/json"]
    return JSONResponse(_error(422, "; ".join(faults)), status_code=422)


def _fault(fault: dict[str, Any]) -> str:
    if fault["type"] == "json_invalid":
        return f"the body is no JSON: {fault['ctx']['error']}"
    where = ".".join(str(part) for part in fault["loc"] if part != "body")
    return f"{where or 'the body'}: {fault['msg'].removeprefix('Value error, ')}"  # which pydantic puts before ours


async def _refused(request: Request, error: HTTPException) -> JSONResponse:
    headers = {"WWW-Authenticate": "Bearer"} if error.status_code == 401 else error.headers
    return JSONResponse(_error(error.status_code, str(error.detail)), status_code=error.status_code, headers=headers)


def _error(status: int, message: str) -> dict[str, Any]:
    kind = KINDS.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {"error": {"message": message, "type": kind, "code": status}}
