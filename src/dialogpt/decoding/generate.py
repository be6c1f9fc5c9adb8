"""The `generate` command: a file of contexts -> a file of replies, in the order of the contexts.

A line of the contexts file, or of standard input (`-`), is a JSON object, {"context": ["Hi", ...]} or a session, or
plain text with a tab between turns. Contexts of similar length are decoded together. Finished replies are kept
beside --out until all are done: killed and started again with the same settings, the command resumes.
"""

import logging
import sys
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import msgspec

from dialogpt.artifact import STDOUT, atomic_file, is_stream
from dialogpt.decoding import GenerateConfig, Reply
from dialogpt.decoding.journal import Journal
from dialogpt.decoding.report import repetition
from dialogpt.decoding.responder import Responder
from dialogpt.errors import DataError, UsageError
from dialogpt.files import decode_text, read_lines
from dialogpt.logs import sparing
from dialogpt.model.memory import frugal_with_memory
from dialogpt.progress import Progress
from dialogpt.seeds import mixed
from dialogpt.session import EvalItem, Turn

log = logging.getLogger(__name__)

STDIN = ("-", "/dev/stdin")
BATCHES_AT_ONCE = 4  # of rows, between two journal entries


def generate(config: GenerateConfig) -> Path | None:
    """Write a reply to every context to `config.out`, or to stdout; returns the path written."""
    _check(config)
    items = list(read_contexts(config.contexts))
    if not items:
        raise DataError(f"{config.contexts} holds no context", "a line is a context, with tabs between its turns")
    frugal_with_memory()
    with Journal(config, items) as journal, sparing("dialogpt.decoding.hypotheses"):
        responder = Responder.load(config.model or None, config, device=config.device)
        _reply_to_all(responder, items, journal, config)
        replies = [journal.replies[i] for i in range(len(items))]
        lines = [_line(item, reply, config) for item, reply in zip(items, replies, strict=True)]
        path = _write(lines, config.out)
    for reason, count in sorted(responder.counts.items()):
        log.info("safety: %s: %d", reason, count)
    if config.report:
        contexts = [[turn.text for turn in item.context] for item in items]
        for line in repetition(contexts, [reply.text for reply in replies]).lines():
            sys.stderr.write(f"{line}\n")
    return path


def _check(config: GenerateConfig) -> None:
    if config.batch_size < 1:
        raise UsageError(f"--batch-size {config.batch_size} is below 1", "it is a number of rows")
    out = config.out
    if out is not None and not is_stream(out) and (out.is_dir() or out.resolve() == config.contexts.resolve()):
        raise UsageError(f"--out {out} is a folder or the contexts themselves", "name another file")
    if config.show_hypotheses and config.format != "jsonl":
        raise UsageError("--show-hypotheses is for --format jsonl", "add that, or leave it out")


def _reply_to_all(responder: Responder, items: Sequence[EvalItem], journal: "Journal", config: GenerateConfig) -> None:
    """Reply to the contexts that the journal lacks, those of similar length together."""
    left = [i for i in range(len(items)) if i not in journal.replies]
    left.sort(key=lambda i: sum(len(turn.text) for turn in items[i].context))
    together = max(BATCHES_AT_ONCE * config.batch_size // config.hypotheses, 1)
    tokens, started = 0, time.perf_counter()
    with Progress("generate", len(items), "contexts") as bar:
        bar.start_at(len(items) - len(left))
        for start in range(0, len(left), together):
            chosen = left[start : start + together]
            replies = responder.replies(
                [items[i].context for i in chosen], [mixed(journal.seed, i) for i in chosen], config.batch_size
            )
            journal.add(dict(zip(chosen, replies, strict=True)))
            tokens += sum(len(hypothesis.tokens) for reply in replies for hypothesis in reply.hypotheses)
            bar.advance(len(chosen))
    seconds = time.perf_counter() - started
    log.info("%d contexts, %d tokens in %.1f s: %.0f tokens/s", len(left), tokens, seconds, tokens / seconds)


def read_contexts(path: Path) -> Iterator[EvalItem]:
    """Yield the contexts of a file (see above); an invalid line is a DataError with file and line."""
    lines = sys.stdin.buffer if str(path) in STDIN else read_lines(path)
    for number, line in enumerate(lines, 1):
        text = decode_text(line, path, number).strip("\r\n ")
        if not text.startswith("{"):
            item = EvalItem(tuple(Turn(turn) for turn in text.split("\t") if turn.strip()), id=str(number))
        else:
            try:
                record = msgspec.json.decode(text)
                if not {"context", "turns"} & record.keys():
                    raise ValueError("no `context` or `turns`")
                turns = msgspec.convert(record.get("context") or record.get("turns", []), list[Any])
                item = EvalItem(tuple(map(_turn, turns)), id=str(record.get("id", number)))
            except (msgspec.DecodeError, RecursionError, ValueError) as error:
                raise DataError(f"{path}:{number}: not a context: {error}", '{"context": ["Hi", "Hello"]}') from error
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


def _line(item: EvalItem, reply: Reply, config: GenerateConfig) -> str:
    if config.format == "text":
        return " ".join(reply.text.split())
    said = next((hypothesis for hypothesis in reply.hypotheses if hypothesis.rejected is None), None)
    record: dict[str, Any] = {
        "id": item.id,
        "context": [turn.text for turn in item.context],
        "hypothesis": reply.text,
        "logprob": None if said is None else round(said.logprob, 4),
        "ended": True if said is None else said.ended,
    }
    if config.show_hypotheses:
        record["hypotheses"] = [
            {"text": h.text, "logprob": round(h.logprob, 4), "ended": h.ended,
             "scores": {name: round(score, 4) for name, score in h.scores.items()}, "rejected": h.rejected}
            for h in reply.hypotheses
        ]  # fmt: skip
    return msgspec.json.encode(record).decode()


def _write(lines: Sequence[str], out: Path | None) -> Path | None:
    text = "".join(f"{line}\n" for line in lines)
    with atomic_file(out or STDOUT) as partial:
        partial.write_text(text, encoding="utf-8")
    return None if out is None or is_stream(out) else out
