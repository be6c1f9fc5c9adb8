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
from dialogpt.decoding import DecodingConfig
from dialogpt.decoding.engine import TorchEngine
from dialogpt.decoding.hypotheses import context_tokens, decode_rows
from dialogpt.errors import DataError
from dialogpt.model import checkpoint
from dialogpt.model.device import choose_device
from dialogpt.session import Turn
from dialogpt.tokens.bpe import Tokenizer

USER, BOT = "user", "bot"


class Chatbot:
    """A model, the settings of its replies, and one conversation's history."""

    def __init__(self, engine: TorchEngine, tokenizer: Tokenizer, settings: DecodingConfig | None = None) -> None:
        self.engine, self.tokenizer = engine, tokenizer
        self.settings = settings or DecodingConfig()
        self.history: list[Turn] = []
        self._seeds = np.random.default_rng(self.settings.seed)

    @classmethod
    def load(
        cls, model: str | Path | None = None, *, settings: DecodingConfig | None = None, device: str = "auto"
    ) -> Self:
        """Open the bundled model, or a checkpoint folder, run folder, hub name or released `.pkl` file.

        Raises CheckpointError when it does not load.
        """
        network, tokenizer = checkpoint.load(model)
        return cls(TorchEngine(network.to(choose_device(device))), tokenizer, settings)

    def reply(self, text: str) -> str:
        """Say `text` and return the reply; both join the history."""
        return "".join(self.stream(text))

    def stream(self, text: str) -> Iterator[str]:
        """As `reply`, in pieces as they are made, each of whole code points."""
        said = tidy(text)
        if not said:
            raise DataError("the message is empty", "type something")
        turns = [*self.history, Turn(said, speaker=USER)]
        context = context_tokens(self.tokenizer, turns, self.engine.n_ctx, self.settings.max_new_tokens)
        pieces = []
        for piece in self._pieces(context):
            pieces.append(piece)
            yield piece
        self.history = [*turns, Turn("".join(pieces), speaker=BOT)]

    def _pieces(self, context: list[int]) -> Iterator[str]:
        """Yield what is new in the reply; bytes of an unfinished code point wait for the rest."""
        seed = int(self._seeds.integers(2**63))
        tokens: list[int] = []
        shown = ""
        for drawn in decode_rows(self.engine, [context], self.settings, self.tokenizer.end_id, [seed]):
            tokens.append(drawn[0][1])
            text = self.tokenizer.decode(tokens).lstrip()
            whole = text.rstrip("\ufffd").rstrip()  # blanks wait as well: the reply may end here
            if len(whole) > len(shown):
                yield whole[len(shown) :]
                shown = whole

    def reset(self) -> None:
        """Forget the conversation."""
        self.history = []
