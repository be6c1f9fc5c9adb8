"""A conversation in Python:

    bot = Chatbot.load()
    print(bot.reply("Does money buy happiness?"))
    for piece in bot.stream("Are you sure?"):
        print(piece, end="", flush=True)

The history is kept; when the model's context is full, the oldest whole turns are left out. A reply that is interrupted,
or a stream that is abandoned, leaves the history unchanged.
"""

import asyncio
import threading
from collections.abc import AsyncIterator, Generator
from contextlib import closing
from pathlib import Path
from typing import Self

import msgspec
import numpy as np

from dialogpt.artifact import atomic_file
from dialogpt.data.readers import tidy
from dialogpt.decoding import Hypothesis, Reply, ReplyConfig
from dialogpt.decoding.responder import Responder
from dialogpt.engine import Kept
from dialogpt.errors import DataError
from dialogpt.session import Session, Turn, read_sessions

USER, BOT = "user", "bot"
LONGEST = 1 << 20  # characters of a message: whatever is longer was pasted by mistake


class Chatbot:
    """A responder and one conversation's history; what the model has read is cached, so a turn costs only what is new.

    `hypotheses` are those of the last reply, the best first, the rejected ones last; they come with `reply`, and with
    `stream` where there was a choice.
    """

    def __init__(self, responder: Responder) -> None:
        self.responder = responder
        self.history: list[Turn] = []
        self.hypotheses: tuple[Hypothesis, ...] = ()
        self._first_seed = responder.config.seed
        self._seeds = np.random.default_rng(responder.config.seed)
        self._kept: Kept | None = None
        self._lock = threading.RLock()  # one reply at a time

    @classmethod
    def load(
        cls, model: str | Path | None = None, *, settings: ReplyConfig | None = None, device: str = "auto"
    ) -> Self:
        """Open the bundled model, or a checkpoint folder, run folder, hub name or released `.pkl` file.

        Raises CheckpointError when it does not load.
        """
        return cls(Responder.load(None if model is None else str(model), settings or ReplyConfig(), device=device))

    def reply(self, text: str) -> str:
        """Say `text` and return the reply; both join the history. Threads that call it wait for each other."""
        with self._lock:
            said, reply = self._made(text)
            self._add(said, reply.text, reply.hypotheses)
            return reply.text

    def stream(self, text: str) -> Generator[str, None, None]:
        """As `reply`, in pieces of whole code points; both join the history when all pieces are taken.

        They come as they are generated if nothing has to be chosen or checked first: without MMI, beams and safety.
        Threads that stream do not wait for each other: a reply knows what had joined when it was begun.
        """
        if self.responder.has_a_choice:
            with self._lock:
                said, reply = self._made(text)
            yield reply.text
            self._add(said, reply.text, reply.hypotheses)
            return
        turns, seed, kept = self._say(text)
        pieces = []
        try:
            for piece, keep in self.responder.stream(turns, seed, kept):
                kept = keep
                pieces.append(piece)
                yield piece
        finally:
            self._kept = kept
        self._add(turns[-1], "".join(pieces))

    def undo(self) -> str:
        """Take back the last exchange; returns what was said. DataError when there is none."""
        if len(self.history) < 2:
            raise DataError("there is nothing to take back", "say something first")
        said = self.history[-2].text
        self.history, self.hypotheses = self.history[:-2], ()
        return said

    def retry(self) -> str:
        """Another reply to the last message, in place of the one that was given."""
        with self._lock:
            return "".join(self.stream_retry())

    def stream_retry(self) -> Generator[str, None, None]:
        """As `retry`, in pieces as `stream`."""
        taken, hypotheses = self.history[-2:], self.hypotheses
        said, complete = self.undo(), False
        try:
            yield from self.stream(said)
            complete = True
        finally:
            if not complete:
                self.history, self.hypotheses = [*self.history, *taken], hypotheses

    def reset(self) -> None:
        """Forget the conversation."""
        self.history, self.hypotheses, self._kept = [], (), None

    def save(self, path: Path | str) -> None:
        """Write the conversation as a sessions file of one line, which `tokenize` reads like any other."""
        with atomic_file(Path(path)) as partial:
            partial.write_bytes(msgspec.json.encode(Session(tuple(self.history), source="chat")) + b"\n")

    def load_history(self, path: Path | str) -> None:
        """Continue a saved conversation: the first session of a file; DataError when there is none."""
        session = next(read_sessions(Path(path)), None)
        if session is None:
            raise DataError(f"{path} holds no conversation", "name a file that /save wrote")
        self.reset()
        self.history = list(session.turns)

    async def areply(self, text: str) -> str:
        """As `reply`, without blocking the event loop; if it is cancelled, the history is unchanged."""
        left = threading.Event()

        def reply() -> str:
            with self._lock:
                said, made = self._made(text)
                if not left.is_set():
                    self._add(said, made.text, made.hypotheses)
                return made.text

        try:
            return await asyncio.to_thread(reply)
        finally:
            left.set()

    async def astream(self, text: str) -> AsyncIterator[str]:
        """As `stream`, without blocking the event loop; leaving it early ends the reply at the next token."""
        loop, left = asyncio.get_running_loop(), threading.Event()
        pieces: asyncio.Queue[str | None] = asyncio.Queue()

        def tell(piece: str | None) -> None:
            if not loop.is_closed():
                loop.call_soon_threadsafe(pieces.put_nowait, piece)

        def stream() -> None:
            try:
                with self._lock, closing(self.stream(text)) as made:
                    for piece in made:
                        if left.is_set():
                            return
                        tell(piece)
            finally:
                tell(None)

        task = asyncio.ensure_future(asyncio.to_thread(stream))
        try:
            while (piece := await pieces.get()) is not None:
                yield piece
        finally:
            left.set()
            await task

    def _made(self, text: str) -> tuple[Turn, Reply]:
        """What is said, as a turn, and a reply to it; neither is in the history yet."""
        turns, seed, kept = self._say(text)
        try:
            reply, kept = self.responder.reply(turns, seed, kept)
        finally:
            self._kept = kept
        return turns[-1], reply

    def _add(self, said: Turn, text: str, hypotheses: tuple[Hypothesis, ...] = ()) -> None:
        """Add an exchange to what the history is by now."""
        with self._lock:
            self.history = [*self.history, said, Turn(text, speaker=BOT)]
            self.hypotheses = hypotheses

    def _say(self, text: str) -> tuple[list[Turn], int, Kept | None]:
        """The turns so far, a seed, and the cache, which is taken away: no two threads may write to it."""
        if len(text) > LONGEST:
            raise DataError(f"the message has {len(text):,} characters", f"a message may have at most {LONGEST:,}")
        said = tidy(text)
        if not said:
            raise DataError("the message is empty", "type something")
        with self._lock:
            kept, self._kept = self._kept, None
            return [*self.history, Turn(said, speaker=USER)], self.draw_seed(), kept

    def draw_seed(self) -> int:
        """The seed of a next reply: `seed` of the settings itself for the first one, which decides all others too."""
        seed, self._first_seed = self._first_seed, None
        return int(self._seeds.integers(2**63)) if seed is None else seed
