"""Requests whose heads or bodies are too large, or never complete, are refused before they are read whole."""

import asyncio
from typing import Any

from starlette.responses import JSONResponse
from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

MOST_OF_A_HEAD = 1 << 16  # bytes
REQUEST_S = 60.0  # seconds for a request to come whole


class Requests(HttpToolsProtocol):
    """uvicorn's protocol on httptools, which by itself waits forever for a request, and keeps a head of any size.

    Connections of clients that vanished would stay open until there are none left. The time to keep a head, or a
    trailer, grows with the square of its size, and nobody else is served meanwhile: 5 s for 100 MB.
    """

    _unheard = 0  # bytes that have come since the last head, piece of a body, or end
    _patience: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        self._wait_no_more()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        self._unheard += len(data)
        super().data_received(data)
        if self._unheard > MOST_OF_A_HEAD and not self.transport.is_closing():
            self.send_400_response(f"The head of the request is larger than {MOST_OF_A_HEAD} bytes.")

    def on_message_begin(self) -> None:
        self._wait()
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        self._unheard = 0
        super().on_headers_complete()

    def on_body(self, body: bytes) -> None:
        self._unheard = 0
        super().on_body(body)

    def on_message_complete(self) -> None:
        self._unheard = 0
        self._wait_no_more()
        super().on_message_complete()

    def _wait(self) -> None:
        self._wait_no_more()
        self._patience = self.loop.call_later(REQUEST_S, self.transport.close)

    def _wait_no_more(self) -> None:
        if self._patience:
            self._patience.cancel()
            self._patience = None


class BodyLimit:
    """Answers 413 to a request whose body, as announced or as it comes, is larger than `most_bytes`.

    A body that is not announced is read here, and handed on when it is small enough.
    """

    def __init__(self, app: Any, most_bytes: int) -> None:
        self._app, self._most = app, most_bytes

    async def __call__(self, scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = dict(scope["headers"]).get(b"content-length")
        messages: list[Any] = []
        if announced is not None:
            size = int(announced)  # the server has checked that it is a number
        else:
            size, more = 0, True
            while more and size <= self._most:
                messages.append(await receive())
                size += len(messages[-1].get("body", b""))
                more = messages[-1].get("more_body", False)
        if size > self._most:
            error = {"message": f"the request is larger than {self._most:,} bytes", "type": "invalid_request_error"}
            await JSONResponse({"error": error | {"code": 413}}, status_code=413)(scope, receive, send)
            return

        async def again() -> Any:
            return messages.pop(0) if messages else await receive()

        await self._app(scope, again, send)
