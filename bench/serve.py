"""How many tokens a second `dialogpt serve` makes for many clients at once, beside the same requests one by one.

    pip install "dialogpt[server]" httpx
    python bench/serve.py --clients 32 --turns 6 --rounds 3
    python bench/serve.py --clients 8 --soak 600

A client says a line, reads the streamed reply, says the next line: a conversation of so many turns, on loopback. Each
round measures both ways on one server, with fresh conversations. Time to first token is of streamed replies without
safety, which would tell them whole. `--soak` keeps that many clients talking for so many seconds, and prints the
server's memory every tenth of them.
"""

import argparse
import asyncio
import json
import os
import random
import signal
import statistics
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

import httpx

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


async def converse(client: httpx.AsyncClient, number: int, turns: int, heard: Heard, until: float = 0) -> None:
    """One conversation; with `until` it begins anew when it is long, as long as that is not over."""
    draw = random.Random(number)
    messages: list[dict[str, str]] = []
    for turn in range(turns) if not until else iter(int, 1):
        if until and time.monotonic() > until:
            return
        if turn == 0 and len(messages) > 20:
            messages.clear()
        messages.append({"role": "user", "content": draw.choice(LINES)})
        body = {"messages": messages, "stream": True, "safety": False, "seed": draw.randrange(2**31),
                "stream_options": {"include_usage": True}}  # fmt: skip
        began, text, first = time.perf_counter(), "", 0.0
        async with client.stream("POST", "/v1/chat/completions", json=body) as answer:
            answer.raise_for_status()
            async for line in answer.aiter_lines():
                if not line.startswith("data: {"):
                    continue
                piece = json.loads(line[6:])
                for choice in piece["choices"]:
                    if said := choice["delta"].get("content"):
                        first = first or time.perf_counter() - began
                        text += said
                if piece.get("usage"):
                    heard.tokens += piece["usage"]["completion_tokens"]
        heard.replies += 1
        if first:
            heard.first_s.append(first)
        messages.append({"role": "assistant", "content": text or "..."})


async def measure(url: str, numbers: range, turns: int, at_once: int) -> tuple[Heard, float]:
    """So many conversations, so many at a time; what was heard, and seconds."""
    heard, limit = Heard(), asyncio.Semaphore(at_once)
    limits = httpx.Limits(max_connections=at_once, max_keepalive_connections=at_once)
    async with httpx.AsyncClient(base_url=url, timeout=120, limits=limits) as client:

        async def one(number: int) -> None:
            async with limit:
                await converse(client, number, turns, heard)

        began = time.perf_counter()
        await asyncio.gather(*map(one, numbers))
        return heard, time.perf_counter() - began


async def soak(url: str, clients: int, seconds: float, process: int) -> None:
    heard, until = Heard(), time.monotonic() + seconds

    async def watch() -> None:
        for tenth in range(11):
            print(
                f"{tenth * seconds / 10:6.0f} s: {resident(process) / 1e6:,.0f} MB, {heard.replies:,} replies",
                flush=True,
            )
            await asyncio.sleep(seconds / 10 if tenth < 10 else 0)

    async with httpx.AsyncClient(base_url=url, timeout=120) as client:
        await asyncio.gather(watch(), *(converse(client, number, 0, heard, until) for number in range(clients)))


def resident(process: int) -> int:
    status = Path(f"/proc/{process}/status").read_text()
    return int(status.partition("VmRSS:")[2].split()[0]) * 1024


def start(arguments: argparse.Namespace) -> tuple[subprocess.Popen[str], str]:
    command = [sys.executable, "-m", "dialogpt", "serve", arguments.model, "--port", "0"]
    process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=os.environ)
    assert process.stderr is not None
    url = process.stderr.readline().split()[-1]
    while True:
        try:
            httpx.get(f"{url}/health")
            return process, url
        except httpx.TransportError:
            if process.poll() is not None:
                sys.exit(process.stderr.read())
            time.sleep(0.05)


def main() -> None:
    parser = argparse.ArgumentParser(description=(__doc__ or "").split("\n")[0])
    parser.add_argument("--model", default="bundled")
    parser.add_argument("--clients", type=int, default=32)
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--soak", type=float, default=0, help="seconds")
    arguments = parser.parse_args()
    process, url = start(arguments)
    try:
        if arguments.soak:
            asyncio.run(soak(url, arguments.clients, arguments.soak, process.pid))
            return
        asyncio.run(measure(url, range(4), 2, 4))  # a first time
        ratios, rates, first = [], [], []
        for number in range(arguments.rounds):
            numbers = range(1000 * number, 1000 * number + arguments.clients)
            alone, alone_s = asyncio.run(measure(url, numbers, arguments.turns, 1))
            together, together_s = asyncio.run(measure(url, range(numbers.start + 500, numbers.stop + 500),
                                                       arguments.turns, arguments.clients))  # fmt: skip
            rates.append((alone.tokens / alone_s, together.tokens / together_s))
            ratios.append(rates[-1][1] / rates[-1][0])
            first.append(statistics.quantiles(together.first_s, n=20)[-1])
            print(
                f"round {number + 1}: {rates[-1][0]:,.0f} tokens/s one by one, {rates[-1][1]:,.0f} of "
                f"{arguments.clients} at once: {ratios[-1]:.2f} times; p95 to first token {first[-1]:.3f} s"
            )
        print(
            f"medians: {statistics.median(ratios):.2f} times, p95 to first token {statistics.median(first):.3f} s, "
            f"memory {resident(process.pid) / 1e6:,.0f} MB"
        )
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(60)


if __name__ == "__main__":
    main()
