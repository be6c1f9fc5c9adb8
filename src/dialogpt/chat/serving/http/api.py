"""The HTTP server as an application: OpenAI's routes, /health, /metrics, and the page.

A request becomes a job of the replier; the job's news, from the replier's thread, reach the request through its event
loop. When a client goes away, its job is cancelled.
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
from fastapi.middleware.cors import CORSMiddleware
from fastapi.openapi.docs import get_swagger_ui_html
from fastapi.responses import JSONResponse
from starlette.exceptions import HTTPException
from starlette.staticfiles import StaticFiles

from dialogpt import __version__
from dialogpt.chat.serving import ServeConfig
from dialogpt.chat.serving.http.errors import add_handlers, error_body, status_of
from dialogpt.chat.serving.http.messages import (
    Answer,
    ChatRequest,
    TextRequest,
    check_model,
    defaults_of,
    reply_settings,
    summed,
    told_of,
)
from dialogpt.chat.serving.http.metrics import Counted, Metrics
from dialogpt.chat.serving.http.origins import OwnNames, is_this_machine
from dialogpt.chat.serving.http.talk import Event, Mail, Talk, Told
from dialogpt.chat.serving.replier import Replier
from dialogpt.chat.serving.worker import most_prompts
from dialogpt.decoding import ReplyConfig
from dialogpt.decoding.batcher import Job
from dialogpt.errors import UsageError
from dialogpt.limits import BodyLimit
from dialogpt.session import Turn

log = logging.getLogger(__name__)

PAGE = Path(__file__).parents[1] / "page"
POLICY = "default-src 'self'; frame-ancestors 'none'; base-uri 'none'; form-action 'none'"
ERRORS: dict[int | str, dict[str, Any]] = {  # for the OpenAPI document
    status: {"description": text, "content": {"application/json": {"schema": {"type": "object"}}}}
    for status, text in ((400, "the request cannot be carried out"), (401, "the key is missing or wrong"),
                         (403, "the page that asks is of another host"), (404, "this model is not served here"),
                         (413, "the request is too large"), (422, "the request is malformed"),
                         (429, "too many requests are waiting"), (500, "an error in the server"),
                         (502, "the backend has failed"), (503, "replies cannot be made now"),
                         (504, "the backend takes too long"))
}  # fmt: skip
TOLD: dict[int | str, dict[str, Any]] = {
    200: {
        "description": "the reply; with `stream`, events with its pieces",
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
    app.head("/health", include_in_schema=False)(server.health)  # for load balancers and monitors
    app.api_route("/health/", methods=["GET", "HEAD"], include_in_schema=False)(server.health)
    app.get("/docs", include_in_schema=False)(_docs)
    add_handlers(app)
    app.add_middleware(BodyLimit, most_bytes=config.max_body)
    if not config.api_key and is_this_machine(config.host):
        app.add_middleware(OwnNames, admitted=config.cors)
    app.add_middleware(Counted, metrics=metrics)
    if config.cors:
        app.add_middleware(
            CORSMiddleware, allow_origins=list(config.cors), allow_methods=["GET", "POST"], allow_headers=["*"],
            expose_headers=["Retry-After"],
        )  # fmt: skip
    if config.page and PAGE.is_dir():
        app.router.default = _Page(directory=PAGE, html=True)  # a mount would catch other methods of a route, too
    return app


async def _docs() -> Response:
    """The routes, to try out; FastAPI's own page looks for the document at the root of a proxy."""
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
        """The one model that is served, and its defaults for requests."""
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
        contexts = body.contexts(self.replier.end_text)
        if len(contexts) > (most := most_prompts(self.config, settings.hypotheses)):
            raise UsageError(
                f"{len(contexts)} prompts of {settings.hypotheses} hypotheses are more than this server takes: {most}",
                "send fewer at once, or start the server with more --rows or --queue",
            )
        answer = Answer(self.name, chat)
        talks: list[Talk] = []
        try:
            for turns in contexts:
                talks.append(self._begun(turns, settings, body, request))
            if body.stream:
                return _Stream(talks, await talks[0].first(), answer, body, self.metrics)
            told = [await talk.all(body.n) for talk in talks]
        except BaseException:
            for talk in talks:
                talk.leave()
            raise
        more = {"hypotheses": told_of(told[0].hypotheses)} if body.hypotheses else {}
        texts = [text for one in told for text in one.texts]
        reasons = [reason for one in told for reason in one.reasons]
        whole = answer.whole(texts, reasons, summed([one.usage for one in told]), **more)
        return Response(msgspec.json.encode(whole), media_type="application/json")

    def _begun(
        self, turns: list[Turn], settings: ReplyConfig, body: ChatRequest | TextRequest, request: Request
    ) -> Talk:
        if self.config.log_text:
            log.info("asked: %s", " | ".join(turn.text for turn in turns))
        talk = Talk(self.replier, self.metrics, self.mail)
        job = Job(
            context=turns, config=settings, seed=body.drawn_with(int(self._seeds.integers(2**63))), stops=body.stops,
            on_done=talk.on_done, on_text=talk.on_text if body.stream and body.n == 1 else None,
        )  # fmt: skip
        talk.begin(job, request)
        return talk


class _Stream(Response):
    """Replies as server-sent events, in pieces as they are made; at the end the reason, and requested extras.

    Those of several prompts come one after the other, though they are made together.
    """

    media_type = "text/event-stream"

    def __init__(
        self, talks: list[Talk], first: str | Told, answer: Answer, body: ChatRequest | TextRequest, metrics: Metrics
    ) -> None:
        super().__init__(headers={"Cache-Control": "no-store", "X-Accel-Buffering": "no"})  # nginx hands pieces on
        del self.headers["content-length"]
        self._talks, self._first, self._answer, self._body, self._metrics = talks, first, answer, body, metrics

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        """Send them. The talks notice when the client goes away, so no second task is needed."""
        answer = self._answer
        head = [answer.piece(index, None) for index in range(self._body.n)] if answer.chat else []
        usages: list[dict[str, int]] = []
        try:
            await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
            for place, talk in enumerate(self._talks):
                event: Event = await talk.next() if place else self._first
                said = ""
                while isinstance(event, str):
                    said += event
                    events = _events(*head, answer.piece(place, event))
                    await send({"type": "http.response.body", "body": events, "more_body": True})
                    head.clear()
                    event = await talk.next()
                if isinstance(event, Exception):
                    status, message = status_of(event)
                    self._metrics.broken.labels(str(status)).inc()
                    await send({"type": "http.response.body", "body": _events(error_body(status, message))})
                    return
                rest = _events(*head, *self._last(event, said, place))
                head.clear()
                usages.append(event.some(self._body.n)[2])
                if len(usages) < len(self._talks):
                    await send({"type": "http.response.body", "body": rest, "more_body": True})
            if self._body.usage_at_the_end:
                rest += _events(answer.usage(summed(usages)))
            await send({"type": "http.response.body", "body": rest + b"data: [DONE]\n\n"})
        finally:
            for talk in self._talks:
                talk.leave()

    def _last(self, told: Told, said: str, place: int) -> Iterator[dict[str, Any]]:
        """What has not been sent yet of the reply to the prompt at that place."""
        answer, body = self._answer, self._body
        texts, reasons, _ = told.some(body.n)
        for number, (text, reason) in enumerate(zip(texts, reasons, strict=True)):
            index = place * body.n + number
            if rest := text[len(said) :] if number == 0 else text:
                yield answer.piece(index, rest)
            more = {"hypotheses": told_of(told.hypotheses)} if body.hypotheses and number == 0 else {}
            yield answer.piece(index, "", reason, **more)


def _events(*pieces: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + msgspec.json.encode(piece) + b"\n\n" for piece in pieces)


def _key_check(key: str) -> Any:
    async def check(authorization: Annotated[str, Header()] = "") -> None:
        scheme, _, rest = authorization.partition(" ")
        sent = rest.lstrip() if scheme.lower() == "bearer" else authorization
        if not hmac.compare_digest(sent.encode("latin-1", "replace"), key.encode()):  # as it came over the wire
            raise HTTPException(401, "the API key is missing or wrong")

    return check
