"""A conversation in Python:

    bot = Chatbot.load()
    print(bot.reply("Does money buy happiness?"))
    for piece in bot.stream("Are you sure?"):
        print(piece, end="", flush=True)

The history is kept; when the model's context is full, the oldest whole turns are left out.
"""

from collections.abc import Iterator
from pathlib import Path
from typing import Self

import numpy as np

from dialogpt.data.readers import tidy
from dialogpt.decoding import Hypothesis, ReplyConfig
from dialogpt.decoding.engine import Kept
from dialogpt.decoding.responder import Responder
from dialogpt.errors import DataError
from dialogpt.session import Turn

USER, BOT = "user", "bot"


class Chatbot:
    """A responder and one conversation's history; what the model has read of it is kept, so a turn costs what is new.

    `hypotheses` are those of the last reply, the best first, the rejected ones last; they come with `reply`, and with
    `stream` where there was a choice.
    """

    def __init__(self, responder: Responder) -> None:
        self.responder = responder
        self.history: list[Turn] = []
        self.hypotheses: tuple[Hypothesis, ...] = ()
        self._seeds = np.random.default_rng(responder.config.seed)
        self._kept: Kept | None = None

    @classmethod
    def load(
        cls, model: str | Path | None = None, *, settings: ReplyConfig | None = None, device: str = "auto"
    ) -> Self:
        """Open the bundled model, or a checkpoint folder, run folder, hub name or released `.pkl` file.

        Raises CheckpointError when it does not load.
        """
        return cls(Responder.load(None if model is None else str(model), settings or ReplyConfig(), device=device))

    def reply(self, text: str) -> str:
        """Say `text` and return the reply; both join the history."""
        turns, seed = self._say(text)
        reply, self._kept = self.responder.reply(turns, seed, self._kept)
        self.hypotheses = reply.hypotheses
        self.history = [*turns, Turn(reply.text, speaker=BOT)]
        return reply.text

    def stream(self, text: str) -> Iterator[str]:
        """As `reply`, in pieces of whole code points.

        They come as they are made where nothing has to be chosen or checked first: without MMI, beams and safety.
        """
        if self.responder.has_a_choice:
            yield self.reply(text)
            return
        turns, seed = self._say(text)
        self.hypotheses = ()
        pieces = []
        for piece, kept in self.responder.stream(turns, seed, self._kept):
            self._kept = kept
            pieces.append(piece)
            yield piece
        self.history = [*turns, Turn("".join(pieces), speaker=BOT)]

    def _say(self, text: str) -> tuple[list[Turn], int]:
        said = tidy(text)
        if not said:
            raise DataError("the message is empty", "type something")
        return [*self.history, Turn(said, speaker=USER)], int(self._seeds.integers(2**63))

    def reset(self) -> None:
        """Forget the conversation."""
        self.history, self.hypotheses, self._kept = [], (), None
