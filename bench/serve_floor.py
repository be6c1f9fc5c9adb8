"""A server that does nothing but HTTP: each request is answered by as many events as a reply of the bundled model has.

`bench/serve.py --floor` measures it as `dialogpt serve`: what HTTP in Python alone costs.
"""

import asyncio
import socket
import sys
from typing import Any

import uvicorn

TOKENS = 10  # of a reply, on average

PIECE = (
    b'data: {"id":"chatcmpl-0123456789abcdef0123456789abcdef","object":"chat.completion.chunk","created":1790000000,'
    b'"model":"dialogpt-bundled","choices":[{"index":0,"delta":{"content":" word"},"logprobs":null,'
    b'"finish_reason":null}]'
)
LAST = PIECE + b',"usage":{"completion_tokens":%d}}\n\ndata: [DONE]\n\n' % TOKENS


async def app(scope: Any, receive: Any, send: Any) -> None:
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    for _ in range(TOKENS):
        await send({"type": "http.response.body", "body": PIECE + b"}\n\n", "more_body": True})
        await asyncio.sleep(0)  # a token comes by itself
    await send({"type": "http.response.body", "body": LAST})


if __name__ == "__main__":
    listening = socket.create_server(("127.0.0.1", 0), backlog=2048)
    listening.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
    print(f"http://127.0.0.1:{listening.getsockname()[1]}", file=sys.stderr, flush=True)
    config = uvicorn.Config(app, log_level="warning", access_log=False, server_header=False, lifespan="off")
    uvicorn.Server(config).run(sockets=[listening])
