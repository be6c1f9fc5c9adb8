"""Conversational files -> sessions: the `import` command.

A JSONL line is one conversation, in one of these forms (told apart by its keys):

    {"id": "7", "turns": [["A", "Hi"], ["B", "Hello"]]}               [speaker, text] pairs
    {"turns": ["Hi", "Hello"]}                                        texts alone
    {"turns": [{"speaker": "A", "text": "Hi", "learn": false}, ...]}  our own sessions
    {"messages": [{"role": "user", "content": "Hi"}, ...]}            chat messages; system messages are left out
"""

import unicodedata
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import msgspec

from dialogpt.artifact import Manifest, atomic_folder, make_manifest, write_manifest
from dialogpt.data import ImportConfig
from dialogpt.data.writers import SessionWriter
from dialogpt.errors import DataError, UsageError
from dialogpt.files import decode_text, read_lines
from dialogpt.progress import Progress
from dialogpt.session import Session, Turn

FORMS = 'a line is {"turns": [["A", "Hi"], ...]} or {"messages": [{"role": "user", "content": "Hi"}, ...]}'


def import_files(config: ImportConfig) -> Manifest:
    """Write the conversations of `config.files` as a sessions folder; returns its manifest.

    Raises DataError with file and line for a line that is no conversation, and when no session is left.
    """
    for name, value in (("head", config.head), ("max-words", config.max_words)):
        if value < 0:
            raise UsageError(f"--{name} {value} is below 0", "0 is no limit")
    dropped: Counter[str] = Counter()
    with atomic_folder(config.out, overwrite=config.overwrite) as folder:
        total_bytes = sum(path.stat().st_size for path in config.files if path.is_file())
        with closing(SessionWriter(folder)) as writer, Progress("import", total_bytes, "B") as bar:
            for path in config.files:
                for conversation in read_conversations(path, bar, dropped):
                    writer.write_all(_shape(conversation, config, dropped))
        if not writer.sessions:
            why = ", ".join(f"{reason}: {count}" for reason, count in dropped.most_common(3)) or "the files are empty"
            raise DataError(f"no session of two turns or more in {', '.join(map(str, config.files))}", why)
        manifest = make_manifest("sessions", config=config, inputs=config.files, counts=writer.counts, dropped=dropped)
        write_manifest(folder, manifest)
    return manifest


def read_conversations(path: Path, bar: Progress, dropped: Counter[str]) -> Iterator[Session]:
    """Yield a file's conversations as sessions, whatever their length; their source is the file's name."""
    source = path.name.split(".")[0]
    for number, line in enumerate(read_lines(path, bar.advance), 1):
        if not line.strip():
            continue
        try:
            record = msgspec.json.decode(decode_text(line, path, number))
            turns = tuple(_turns(record, dropped))
        except (msgspec.DecodeError, RecursionError, KeyError, TypeError, ValueError) as error:
            raise DataError(f"{path}:{number}: not a conversation: {error}", FORMS) from error
        yield Session(
            turns, id=str(_either(record.get("id"), f"{source}/{number}")), source=str(record.get("source") or source)
        )


def _turns(record: Any, dropped: Counter[str]) -> Iterator[Turn]:
    """The turns of one decoded line; a form that is not known raises KeyError, TypeError or ValueError."""
    if not isinstance(record, dict):
        raise TypeError(f"a JSON object is needed, this is a {type(record).__name__}")
    if "messages" in record:
        for message in record["messages"]:
            if message["role"] == "system":
                dropped["system message"] += 1
            else:
                yield Turn(_text(message["content"]), speaker=str(message["role"]))
        return
    if "turns" not in record:
        raise ValueError(f"it has neither 'turns' nor 'messages' (its keys: {', '.join(record) or 'none'})")
    if not isinstance(record["turns"], list):
        raise TypeError(f"'turns' is a {type(record['turns']).__name__}, a list is needed")
    for turn in record["turns"]:
        if isinstance(turn, str):
            yield Turn(turn)
        elif isinstance(turn, dict):
            yield Turn(_text(turn["text"]), speaker=str(turn.get("speaker", "")), learn=bool(turn.get("learn", True)))
        else:
            speaker, text = turn
            yield Turn(_text(text), speaker=str(_either(speaker, "")))


def _either(value: Any, otherwise: str) -> Any:
    return otherwise if value is None else value


def _text(value: Any) -> str:
    if isinstance(value, list):  # chat messages may hold their content in typed parts
        return " ".join(part["text"] for part in value if part["type"] == "text")
    if not isinstance(value, str):
        raise TypeError(f"a turn's text is a {type(value).__name__}")
    return value


def _shape(conversation: Session, config: ImportConfig, dropped: Counter[str]) -> Iterator[Session]:
    """Clean the turns and yield the sessions of two turns or more that the settings leave of a conversation."""
    turns: list[Turn] = []
    for turn in conversation.turns:
        text = tidy(turn.text)
        if not text:
            dropped["empty turn"] += 1
        elif config.merge and turns and turns[-1].speaker == turn.speaker:
            turns[-1] = Turn(f"{turns[-1].text} {text}", turn.speaker, turns[-1].learn)
        else:
            turns.append(Turn(text, turn.speaker, turn.learn and config.speaker in ("", turn.speaker)))
    if config.head and len(turns) > config.head:
        dropped["turn beyond --head"] += len(turns) - config.head
        turns = turns[: config.head]
    parts = list(_split_at_long_turns(turns, config.max_words, dropped))
    for index, part in enumerate(parts):
        name = conversation.id if len(parts) == 1 else f"{conversation.id}#{index}"
        if len(part) < 2:
            dropped["session of fewer than two turns"] += 1
        elif not any(turn.learn for turn in part[1:]):
            dropped["session without a turn to learn"] += 1
        else:
            yield Session(tuple(part), id=name, source=conversation.source)


def _split_at_long_turns(turns: list[Turn], max_words: int, dropped: Counter[str]) -> Iterator[list[Turn]]:
    part: list[Turn] = []
    for turn in turns:
        if max_words and len(turn.text.split()) > max_words:
            dropped["turn over --max-words"] += 1
            yield part
            part = []
        else:
            part.append(turn)
    yield part


def tidy(text: str) -> str:
    """Fold white space, drop control characters and lone surrogates; words are kept as written (NFC)."""
    text = unicodedata.normalize("NFC", text)
    text = "".join(
        " " if c.isspace() else c for c in text if c.isspace() or unicodedata.category(c) not in ("Cc", "Cs")
    )
    return " ".join(text.split())
