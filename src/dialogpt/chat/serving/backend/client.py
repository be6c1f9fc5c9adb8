"""Requests to an engine: a body -> an answer, whole or in pieces; whatever goes wrong is a BackendError with a status.

503  it cannot be reached, or says so itself      429  it is busy; its Retry-After is passed on
504  it takes too long, or says so itself         400  it refuses what was asked, and why
502  anything else: an error of its own, a connection that breaks off, an unreadable answer
"""

import re
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import httpx
import msgspec

from dialogpt.chat.serving.backend.wire import Answer, Card, Cards, Reading
from dialogpt.chat.serving.replier import ReplyError

T = TypeVar("T")
CONNECT_S = 5.0
IDLE_S = 2.0  # how long a connection is kept: less than servers keep theirs, or a request may meet one that is closing
RETRIES = 2  # when a connection is refused
LONGEST_LINE = 1 << 24  # bytes of a streamed event
LONGEST_TOLD = 300  # characters of an engine's error that are passed on
TOO_LONG = re.compile(r"context.?(length|size|window)|maximum model length|too long|max_model_len", re.IGNORECASE)


class BackendError(ReplyError):
    """What an engine failed to do; `lasting`: it would fail the next time, too."""

    def __init__(
        self, message: str, hint: str = "", *, status: int = 502, retry_after: str = "", lasting: bool = False
    ) -> None:
        super().__init__(message, hint, status=status, retry_after=retry_after)
        self.lasting = lasting


class MissingError(BackendError):
    """What an engine does not have: the model, or the route."""

    def __init__(self, said: str) -> None:
        hint = "see --backend, --backend-model and --backend-route"
        super().__init__(f"the backend has no such model or route: {said}", hint, lasting=True)


class RefusedError(BackendError):
    """A request that an engine does not accept, with its reason."""

    def __init__(self, said: str) -> None:
        self.too_long = TOO_LONG.search(said) is not None  # the prompt is longer than it reads
        hint = "shorten the message" if self.too_long else "change the request as it says"
        super().__init__(f"the backend refuses the request: {said}", hint, status=400, lasting=True)


class Client:
    """An engine's HTTP side, for one event loop."""

    def __init__(self, url: str, key: str, timeout_s: float) -> None:
        """timeout_s: the longest silence."""
        limits = httpx.Limits(max_connections=None, max_keepalive_connections=64, keepalive_expiry=IDLE_S)
        self.url = url
        self._http = httpx.AsyncClient(
            base_url=url,
            headers={b"Authorization": f"Bearer {key}".encode()} if key else {},
            timeout=httpx.Timeout(timeout_s, connect=min(CONNECT_S, timeout_s)),
            transport=httpx.AsyncHTTPTransport(retries=RETRIES, limits=limits),
        )

    async def close(self) -> None:
        await self._http.aclose()

    async def models(self) -> list[Card]:
        """The models that it serves, the first its main one."""
        async with self._answer("GET", "/v1/models", None) as response:
            return _decoded(await response.aread(), Cards).data

    async def ask(self, path: str, body: dict[str, Any]) -> Answer:
        """A whole answer."""
        async with self._answer("POST", path, body) as response:
            return _right(_decoded(await response.aread(), Answer))

    async def stream(self, path: str, body: dict[str, Any], reading: Reading) -> AsyncGenerator[str, None]:
        """A reply's text, in pieces as they come; `reading` has taken all of it at the end."""
        async with self._answer("POST", path, body) as response:
            async for data in _events(response):
                if data == b"[DONE]":
                    break
                if piece := reading.take(_right(_decoded(data, Answer))):
                    yield piece
        if reading.finish is None:
            raise _broken_off()

    @asynccontextmanager
    async def _answer(self, method: str, path: str, body: dict[str, Any] | None) -> AsyncIterator[httpx.Response]:
        content = None if body is None else msgspec.json.encode(body)
        headers = {} if body is None else {"Content-Type": "application/json"}
        try:
            async with self._http.stream(method, path, content=content, headers=headers) as response:
                if response.status_code != httpx.codes.OK:
                    raise _refusal(response, await response.aread())
                yield response
        except (httpx.ConnectError, httpx.ConnectTimeout) as error:
            raise BackendError(
                f"the backend at {self.url} cannot be reached", "try again later", status=503, retry_after="5"
            ) from error
        except httpx.TimeoutException as error:
            raise BackendError("the backend takes too long", "try again later", status=504) from error
        except httpx.RequestError as error:  # a broken connection, or something other than HTTP
            raise _broken_off() from error


async def _events(response: httpx.Response) -> AsyncIterator[bytes]:
    """The data of server-sent events; their lines end only at newlines, not at Unicode's other line ends."""
    rest = b""
    async for part in response.aiter_bytes():
        *lines, rest = (rest + part).split(b"\n")
        if len(rest) > LONGEST_LINE:
            raise _not_ours()
        for line in lines:
            if line.startswith(b"data:"):
                yield line.removeprefix(b"data:").strip()


def _decoded(content: bytes, kind: type[T]) -> T:
    try:
        return msgspec.json.decode(content, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise _not_ours() from error


def _right(answer: Answer) -> Answer:
    """The answer, unless it is an error that came with a status of success, as it does in a stream."""
    if answer.error is not None:
        raise BackendError(f"the backend has failed: {_said(answer.error)}")
    return answer


def _refusal(response: httpx.Response, content: bytes) -> BackendError:
    """What a status other than 200 means."""
    status = response.status_code
    try:
        said = _said(msgspec.json.decode(content))
    except (msgspec.DecodeError, UnicodeDecodeError):
        said = ""
    said = said or f"status {status}"
    after = response.headers.get("Retry-After", "")
    after = after if after.isascii() else ""
    if status in (400, 413, 422) or (status == 500 and "completion choice" in said):  # llama.cpp's answer to n > 1
        return RefusedError(said)
    if status == 429:
        return BackendError(f"the backend is busy: {said}", "try again later", status=429, retry_after=after or "1")
    if status in (401, 403):
        hint = "start the server with the right DIALOGPT_BACKEND_KEY"
        return BackendError("the backend rejects this server's key", hint, lasting=True)
    if status in (404, 405):
        return MissingError(said)
    passed_on = status if status in (503, 504) else 502
    return BackendError(f"the backend has failed: {said}", status=passed_on, retry_after=after)


def _said(error: Any) -> str:
    """An error in the engine's words: OpenAI's form, FastAPI's, or what else it may be."""
    for name in ("error", "message", "detail"):
        if isinstance(error, dict) and error.get(name):
            error = error[name]
    text = error if isinstance(error, str) else msgspec.json.encode(error).decode()
    return text if len(text) <= LONGEST_TOLD else f"{text[: LONGEST_TOLD - 1]}\N{HORIZONTAL ELLIPSIS}"


def _broken_off() -> BackendError:
    return BackendError("the backend broke off its answer", "try again")


def _not_ours() -> BackendError:
    return BackendError("the backend's answer cannot be read", "is it an OpenAI-compatible server?", lasting=True)
