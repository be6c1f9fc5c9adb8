"""Tokens per second of `dialogpt serve` with many clients at once, compared with the same requests one by one.

    pip install "dialogpt[server]"
    python bench/serve.py --clients 32 --turns 4 --rounds 9
    python bench/serve.py --clients 32 --turns 4 --rounds 9 --floor    # a server that does nothing but HTTP
    python bench/serve_batch.py --clients 32 --turns 4 --rounds 9      # no HTTP
    python bench/serve.py --clients 8 --soak 600

A client says a line, reads the streamed reply, says the next line: a conversation of that many turns, on loopback, and
then another one, so that the end of a round, when fewer clients talk, counts for little. Each round measures both ways
on one server, with new conversations. All clients are in this process and cost as little as possible: both sides share
the cores, and what a slow client takes, the server lacks. Time to first token is for streamed replies without safety,
which would send them whole. `--soak SECONDS` keeps that many clients talking for that long, and prints the server's
memory ten times.
"""

from __future__ import annotations

import argparse
import asyncio
import os
import random
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import httptools
import msgspec
import uvloop

LINES = [
    "Hello! How are you?", "What did you do today?", "Do you like music?", "What is your favorite food?",
    "Tell me more about that.", "Where do you live?", "Do you have any pets?", "What are you reading now?",
    "That sounds nice.", "Why is that?", "I went to the beach last weekend.", "Do you play any sports?",
]  # fmt: skip


@dataclass
class Heard:
    """What came back: tokens, and seconds to each reply's first text."""

    tokens: int = 0
    replies: int = 0
    first_s: list[float] = field(default_factory=list)


class Delta(msgspec.Struct):
    content: str = ""


class Choice(msgspec.Struct):
    delta: Delta


class Usage(msgspec.Struct):
    completion_tokens: int


class Piece(msgspec.Struct):
    """What is read of an event."""

    choices: list[Choice]
    usage: Usage | None = None


PIECES = msgspec.json.Decoder(Piece)


class Connection(asyncio.Protocol):
    """One HTTP/1.1 connection that is kept alive; it costs the server's cores as little as Python can."""

    def __init__(self) -> None:
        self.transport: asyncio.WriteTransport | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = transport  # type: ignore[assignment]

    def connection_lost(self, error: Exception | None) -> None:
        if not self._complete.done():
            self._complete.set_exception(error or ConnectionError("the server has closed the connection"))

    async def post(self, path: str, body: bytes, hear: Callable[[bytes], object]) -> None:
        """Send a request, and hand over the data of each event of its answer."""
        self._parser = httptools.HttpResponseParser(self)
        self._hear, self._rest, self._complete = hear, b"", asyncio.get_running_loop().create_future()
        head = f"POST {path} HTTP/1.1\r\nHost: localhost\r\nContent-Type: application/json\r\n"
        self.transport.write(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
        await self._complete

    def data_received(self, data: bytes) -> None:
        self._parser.feed_data(data)

    def on_body(self, data: bytes) -> None:
        *events, self._rest = (self._rest + data).split(b"\n\n")
        for event in events:
            self._hear(event.removeprefix(b"data: "))

    def on_message_complete(self) -> None:
        if (status := self._parser.get_status_code()) != 200:
            self._complete.set_exception(ConnectionError(f"status {status}: {self._rest.decode()}"))
        else:
            self._complete.set_result(None)


class Talk:
    """One streamed reply."""

    def __init__(self) -> None:
        self.began, self.first_s, self.text, self.tokens = time.perf_counter(), 0.0, "", 0

    def hear(self, event: bytes) -> None:
        if event == b"[DONE]":
            return
        piece = PIECES.decode(event)
        for choice in piece.choices:
            if choice.delta.content:
                self.first_s = self.first_s or time.perf_counter() - self.began
                self.text += choice.delta.content
        if piece.usage:
            self.tokens = piece.usage.completion_tokens


async def converse(port: int, number: int, turns: int, heard: Heard, until: float = 0) -> None:
    """One conversation; with `until` it begins anew when it is long, as long as that is not over."""
    _, connection = await asyncio.get_running_loop().create_connection(Connection, "127.0.0.1", port)
    draw = random.Random(number)
    messages: list[dict[str, str]] = []
    for turn in range(turns) if not until else iter(int, 1):
        if until and time.monotonic() > until:
            break
        if turn == 0 and len(messages) > 20:
            messages.clear()
        messages.append({"role": "user", "content": draw.choice(LINES)})
        body = {"messages": messages, "stream": True, "safety": False, "seed": draw.randrange(2**31),
                "stream_options": {"include_usage": True}}  # fmt: skip
        talk = Talk()
        await connection.post("/v1/chat/completions", msgspec.json.encode(body), talk.hear)
        heard.tokens += talk.tokens
        heard.replies += 1
        if talk.first_s:
            heard.first_s.append(talk.first_s)
        messages.append({"role": "assistant", "content": talk.text or "..."})
    connection.transport.close()


@dataclass
class Round:
    """What was heard of some conversations, in how many seconds, and the seconds of processor on both sides."""

    heard: Heard
    wall_s: float
    client_s: float
    server_s: float

    @property
    def rate(self) -> float:
        return self.heard.tokens / self.wall_s


async def measure(server: Server, numbers: range, turns: int, at_once: int) -> Round:
    """So many conversations, so many at a time."""
    heard, limit = Heard(), asyncio.Semaphore(at_once)

    async def one(number: int) -> None:
        async with limit:
            await converse(server.port, number, turns, heard)

    began = time.perf_counter(), time.process_time(), server.cpu_s()
    await asyncio.gather(*map(one, numbers))
    ended = time.perf_counter(), time.process_time(), server.cpu_s()
    return Round(heard, *(after - before for before, after in zip(began, ended, strict=True)))


async def soak(server: Server, clients: int, seconds: float) -> None:
    heard, until = Heard(), time.monotonic() + seconds

    async def watch() -> None:
        for tenth in range(11):
            print(
                f"{tenth * seconds / 10:6.0f} s: {server.resident() / 1e6:,.0f} MB, {heard.replies:,} replies",
                flush=True,
            )
            await asyncio.sleep(seconds / 10 if tenth < 10 else 0)

    await asyncio.gather(watch(), *(converse(server.port, number, 0, heard, until) for number in range(clients)))


class Server:
    """`dialogpt serve` in a process of its own."""

    def __init__(self, command: list[str]) -> None:
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True)
        assert self.process.stderr is not None
        self.port = int(self.process.stderr.readline().rpartition(":")[2])
        while True:
            try:
                socket.create_connection(("127.0.0.1", self.port)).close()
                return
            except ConnectionError:
                if self.process.poll() is not None:
                    sys.exit(self.process.stderr.read())
                time.sleep(0.05)

    def _processes(self) -> list[Path]:
        """The server's own, and the one that decodes."""
        own = Path(f"/proc/{self.process.pid}")
        children = (own / f"task/{self.process.pid}/children").read_text().split()
        return [own, *(Path("/proc") / child for child in children)]

    def cpu_s(self) -> float:
        """Seconds of processor so far."""
        fields = [(process / "stat").read_text().rpartition(")")[2].split() for process in self._processes()]
        return sum(int(each[11]) + int(each[12]) for each in fields) / os.sysconf("SC_CLK_TCK")

    def resident(self) -> int:
        statuses = [(process / "status").read_text() for process in self._processes()]
        return sum(int(status.partition("VmRSS:")[2].split()[0]) for status in statuses) * 1024

    def end(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(60)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--conversations", type=int, default=6, help="conversations of each client in a round")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--soak", type=float, default=0, help="keep talking for this many seconds, printing memory")
    parser.add_argument("--floor", action="store_true", help="a server that only sends a reply's events")
    arguments = parser.parse_args()
    command = [sys.executable, "-m", "dialogpt", "serve", arguments.model, "--port", "0"]
    if arguments.floor:
        command = [sys.executable, str(Path(__file__).with_name("serve_floor.py"))]
    server = Server(command)
    try:
        if arguments.soak:
            uvloop.run(soak(server, arguments.clients, arguments.soak))
        else:
            compare(server, arguments)
    finally:
        server.end()


def compare(server: Server, arguments: argparse.Namespace) -> None:
    uvloop.run(measure(server, range(4), 2, 4))  # a first time
    found = []
    for number in range(arguments.rounds):
        size = arguments.clients * arguments.conversations
        numbers = range(2 * number * size, 2 * number * size + size)
        more = range(numbers.stop, numbers.stop + size)
        alone = uvloop.run(measure(server, numbers, arguments.turns, 1))
        together = uvloop.run(measure(server, more, arguments.turns, arguments.clients))
        first_s = statistics.quantiles(together.heard.first_s, n=20)[-1]
        found.append((alone.rate, together.rate, together.rate / alone.rate, first_s))
        print(
            f"round {number + 1}: {alone.rate:,.0f} tokens/s one by one, {together.rate:,.0f} of {arguments.clients} "
            f"at once: {found[-1][2]:.2f} times; p95 to first token {first_s:.3f} s"
        )
        for what, each in ("one by one", alone), ("at once", together):
            print(
                f"    {what}: {each.heard.replies} replies, {each.heard.tokens} tokens in {each.wall_s:.2f} s; "
                f"of processor the server {each.server_s:.2f} s, the client {each.client_s:.2f} s"
            )
    alone_rate, together_rate, ratio, first_s = (statistics.median(column) for column in zip(*found, strict=True))
    print(
        f"medians: {alone_rate:,.0f} and {together_rate:,.0f} tokens/s, {ratio:.2f} times, p95 to first token "
        f"{first_s:.3f} s; memory {server.resident() / 1e6:,.0f} MB"
    )


if __name__ == "__main__":
    main()
