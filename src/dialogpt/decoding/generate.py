"""The `generate` command: a file of contexts -> a file of hypotheses, in the order of the contexts.

A line of the contexts file is a JSON object, {"context": ["Hi", ...]} or a session, or plain text with a tab between
turns. Contexts of like length are decoded together.
"""

import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec
import numpy as np

from dialogpt.artifact import atomic_file
from dialogpt.decoding import GenerateConfig, Hypothesis
from dialogpt.decoding.engine import TorchEngine
from dialogpt.decoding.hypotheses import context_tokens, hypotheses
from dialogpt.errors import DataError, UsageError
from dialogpt.files import decode_text, read_lines
from dialogpt.model import checkpoint
from dialogpt.model.device import choose_device
from dialogpt.progress import Progress
from dialogpt.session import EvalItem, Turn


def generate(config: GenerateConfig) -> Path | None:
    """Write a hypothesis for every context to `config.out`, or to stdout; returns the path written."""
    if config.batch_size < 1:
        raise UsageError(f"--batch-size {config.batch_size} is below 1", "it is a number of contexts")
    if config.out is not None and (config.out.is_dir() or config.out.resolve() == config.contexts.resolve()):
        raise UsageError(f"--out {config.out} is a folder or the contexts themselves", "name another file")
    items = list(read_contexts(config.contexts))
    if not items:
        raise DataError(f"{config.contexts} holds no context", "a line is a context, with tabs between its turns")
    model, tokenizer = checkpoint.load(config.model or None)
    engine = TorchEngine(model.to(choose_device(config.device)))
    contexts = [context_tokens(tokenizer, item.context, engine.n_ctx, config.max_new_tokens) for item in items]
    seed = config.seed if config.seed is not None else int(np.random.default_rng().integers(2**31))
    found: list[Hypothesis | None] = [None] * len(items)
    order = sorted(range(len(items)), key=lambda i: len(contexts[i]))
    with Progress("generate", len(items), "contexts") as bar:
        for start in range(0, len(order), config.batch_size):
            rows = order[start : start + config.batch_size]
            made = hypotheses(engine, tokenizer, [contexts[i] for i in rows], config, [seed + i for i in rows])
            for i, hypothesis in zip(rows, made, strict=True):
                found[i] = hypothesis
            bar.advance(len(rows))
    lines = [_line(item, hyp, config.format) for item, hyp in zip(items, found, strict=True) if hyp is not None]
    return _write(lines, config.out)


def read_contexts(path: Path) -> Iterator[EvalItem]:
    """Yield the contexts of a file (see above); a line that is none is a DataError with file and line."""
    for number, line in enumerate(read_lines(path), 1):
        text = decode_text(line, path, number).strip("\r\n ")
        if not text.startswith("{"):
            item = EvalItem(tuple(Turn(turn) for turn in text.split("\t") if turn.strip()), id=str(number))
        else:
            try:
                record = msgspec.json.decode(text)
                turns = msgspec.convert(record.get("context") or record["turns"], list[Any])
                item = EvalItem(tuple(map(_turn, turns)), id=str(record.get("id", number)))
            except (msgspec.DecodeError, RecursionError, KeyError, ValueError) as error:
                raise DataError(f"{path}:{number}: not a context: {error!r}", '{"context": ["Hi", "Hello"]}') from error
        if not item.context:
            raise DataError(f"{path}:{number}: a context without turns", "a reply needs a turn to reply to")
        yield item


def _turn(value: Any) -> Turn:
    if isinstance(value, str):
        return Turn(value)
    if isinstance(value, list):
        speaker, text = value
        value = {"text": text, "speaker": str(speaker)}
    return msgspec.convert(value, Turn)


def _line(item: EvalItem, hypothesis: Hypothesis, form: str) -> str:
    if form == "text":
        return " ".join(hypothesis.text.split())
    context = [turn.text for turn in item.context]
    record = {"id": item.id, "context": context, "hypothesis": hypothesis.text, "logprob": round(hypothesis.logprob, 4)}
    return msgspec.json.encode({**record, "ended": hypothesis.ended}).decode()


def _write(lines: Sequence[str], out: Path | None) -> Path | None:
    text = "".join(f"{line}\n" for line in lines)
    if out is None:
        sys.stdout.write(text)
        return None
    with atomic_file(out) as partial:
        partial.write_text(text, encoding="utf-8")
    return out
