"""`dialogpt`'s engine as a `Decoder` of `bench/decode_tasks.py`, and the random checkpoints that all engines open.

Scores of `mmi` are computed as by `rerank.MMI`, but from tokens: the text of random tokens becomes other tokens when it
is encoded again, and lengths have to be the same for all engines.
"""

import os
import sys
from pathlib import Path

from decode_tasks import BANDWIDTH, MAKE, TOP_K, Measured, Told, Work, answer, bandwidth, measure

from dialogpt.artifact import make_manifest
from dialogpt.decoding import DecodingConfig, Hypothesis
from dialogpt.decoding.hypotheses import make, make_from, stream_tokens
from dialogpt.decoding.loading import load_engine
from dialogpt.engine import Kept
from dialogpt.errors import DialoGPTError
from dialogpt.model import GPTConfig
from dialogpt.model.memory import frugal_with_memory
from dialogpt.tokens.bpe import Tokenizer


class Ours:
    """A checkpoint, opened as every command of ours opens it."""

    def __init__(self, work: Work, folder: str) -> None:
        if work.precision in ("int8", "int4") and work.device == "cpu":  # the native engine, which needs no torch
            os.environ["DIALOGPT_THREADS"] = str(work.threads)
        else:
            import torch

            torch.set_num_threads(work.threads)
        frugal_with_memory()
        self.engine, self.tokenizer = load_engine(folder, device=work.device, precision=work.precision)

    def reply(self, context: list[int], new: int, told: Told) -> list[int]:
        made = []
        for token, _ in stream_tokens(self.engine, self.tokenizer.end_id, context, _greedy(new), 0, None):
            told()
            made.append(token)
        return made

    def converse(self, turns: list[list[int]], new: int) -> list[list[int]]:
        context: list[int] = []
        replies: list[list[int]] = []
        kept: Kept | None = None
        for turn in turns:
            context += turn
            replies.append([])
            for token, keep in stream_tokens(self.engine, self.tokenizer.end_id, context, _greedy(new), 0, kept):
                replies[-1].append(token)
                kept = keep
            context += replies[-1]
        return replies

    def hypotheses(self, context: list[int], number: int, new: int, seed: int) -> list[list[int]]:
        seeds = [(seed, i) for i in range(number)]
        made, _ = make_from(self.engine, self.tokenizer, context, _config(new, temperature=1, top_k=TOP_K), seeds, None)
        return _tokens(made)

    def nats(self, hypotheses: list[list[int]], source: list[int]) -> list[float]:
        return self.engine.nats([(hypothesis, source) for hypothesis in hypotheses])

    def beam(self, context: list[int], beams: int, new: int) -> list[int]:
        ((best,),) = make(self.engine, self.tokenizer, [context], _config(new, num_beams=beams), [[0]])
        return list(best.tokens)

    def bulk(self, contexts: list[list[int]], new: int, batch: int) -> list[list[int]]:
        made = make(self.engine, self.tokenizer, contexts, _greedy(new), [[0]] * len(contexts), batch)
        return [tokens for group in made for tokens in _tokens(group)]


def _config(new: int, *, temperature: float = 0, top_k: int = 0, num_beams: int = 1) -> DecodingConfig:
    """As many tokens as asked for, and no rule that peers do not have."""
    return DecodingConfig(
        max_new_tokens=new, min_new_tokens=new, temperature=temperature, top_k=top_k, top_p=1, no_repeat_ngram=0,
        num_beams=num_beams,
    )  # fmt: skip


def _greedy(new: int) -> DecodingConfig:
    return _config(new)


def _tokens(made: list[Hypothesis]) -> list[list[int]]:
    return [list(hypothesis.tokens) for hypothesis in made]


def make_checkpoints(work: Work) -> Measured:
    """A random model in each of the two folders, neither like the other."""
    import torch

    from dialogpt.model import checkpoint
    from dialogpt.model.gpt import GPT

    tokenizer, shape = Tokenizer.load(Path(work.tokenizer)), GPTConfig(**work.shape)
    for seed, folder in enumerate((work.model, work.backward)):
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = GPT(shape)
        checkpoint.save(model, tokenizer, Path(folder), make_manifest("checkpoint", config=shape))
    return Measured()


def ours(work: Work) -> Measured:
    try:
        if work.task == MAKE:
            return make_checkpoints(work)
        if work.task == BANDWIDTH:
            _check_device(work.device)
            return bandwidth(work)
        return measure(work, Ours)
    except DialoGPTError as error:
        sys.exit(f"error: {error}")


def _check_device(name: str) -> None:
    from dialogpt.model.device import choose_device

    choose_device(name)


if __name__ == "__main__":
    answer(ours)
