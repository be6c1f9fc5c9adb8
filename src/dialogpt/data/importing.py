"""Conversational files -> a sessions folder: the `import` command, which reads, shapes and writes."""

import difflib
import logging
from collections import Counter
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

from dialogpt.artifact import Manifest, atomic_folder, make_manifest, write_manifest
from dialogpt.data import ImportConfig, shaping
from dialogpt.data.readers import FORMATS, Format, ReadOptions, TextFile, recognise, tidy
from dialogpt.data.readers.chatlog import ChatLog
from dialogpt.data.writers import SessionWriter
from dialogpt.errors import DataError, UsageError
from dialogpt.progress import Progress
from dialogpt.session import Session

log = logging.getLogger(__name__)


def import_files(config: ImportConfig) -> Manifest:
    """Write the conversations of `config.files` as a sessions folder; returns its manifest.

    Raises DataError with file and line for what is no conversation, and when no session is left; UsageError when
    --speaker says nothing in any of them.
    """
    for name, value in (("head", config.head), ("max-words", config.max_words), ("window", config.window),
                        ("gap", config.gap)):  # fmt: skip
        if value < 0:
            raise UsageError(f"--{name} {value} is below 0", "0 is no limit")
    dropped: Counter[str] = Counter()
    speakers: Counter[str] = Counter()
    with atomic_folder(config.out, overwrite=config.overwrite) as folder:
        total_bytes = sum(path.stat().st_size for path in config.files if path.is_file())
        with closing(SessionWriter(folder, config.format)) as writer, Progress("import", total_bytes, "B") as bar:
            for path in config.files:
                writer.write_all(import_file(path, config, bar, dropped, speakers))
        if config.speaker and tidy(config.speaker) not in speakers:
            raise _no_such_speaker(config.speaker, speakers)
        if not writer.sessions:
            why = ", ".join(f"{reason}: {count}" for reason, count in dropped.most_common(3)) or "the files are empty"
            raise DataError(f"no session of two turns or more in {', '.join(map(str, config.files))}", why)
        manifest = make_manifest("sessions", config=config, inputs=config.files, counts=writer.counts, dropped=dropped)
        write_manifest(folder, manifest)
    return manifest


def import_file(
    path: Path, config: ImportConfig, bar: Progress, dropped: Counter[str], speakers: Counter[str]
) -> Iterator[Session]:
    """Yield the sessions of one file; `speakers` counts turns by name when only one speaker is to be learned."""
    file = TextFile(path, config.encoding, bar.advance)
    name = recognise(file) if config.from_ == "auto" else config.from_
    if name is None:
        dropped["empty file"] += 1
        return
    log.info("import %s: read as %s", path, name)
    form = FORMATS[name]
    if config.replies and not form.replies:
        raise UsageError(f"--replies: {path} ({name}) does not say what answers what", "leave --replies out")
    for conversation in conversations(form, file, config, dropped):
        yield from shape(
            conversation, config, config.merge if config.merge is not None else form.chat_log, dropped, speakers
        )


def conversations(form: Format, file: TextFile, config: ImportConfig, dropped: Counter[str]) -> Iterator[Session]:
    """A file's conversations as they stand there, whatever their length."""
    split = shaping.by_replies if config.replies else shaping.by_silence
    for found in form.read(file, ReadOptions(config.date_order, tidy(config.speaker)), dropped):
        if isinstance(found, ChatLog):
            yield from split(found, config.gap * 60)
        else:
            yield found


def shape(
    conversation: Session, config: ImportConfig, merge: bool, dropped: Counter[str], speakers: Counter[str]
) -> Iterator[Session]:
    """Clean the turns and yield the sessions of two turns or more that the settings leave of a conversation."""
    turns = shaping.clean(conversation.turns, dropped)
    if config.speaker:
        speakers.update(turn.speaker for turn in turns)
        turns = shaping.learn_only(turns, tidy(config.speaker))
    if merge:
        turns = shaping.merge(turns)
    if config.head and len(turns) > config.head:
        dropped["turn beyond --head"] += len(turns) - config.head
        turns = turns[: config.head]
    parts = list(shaping.split_at_long(turns, config.max_words, dropped))
    for index, part in enumerate(parts):
        name = conversation.id if len(parts) == 1 else f"{conversation.id}#{index}"
        session = Session(tuple(part), id=name, source=conversation.source)
        if len(part) < 2:
            dropped["session of fewer than two turns"] += 1
        elif not any(turn.learn for turn in part[1:]):
            dropped["session without a turn to learn"] += 1
        elif config.window:
            yield from shaping.windows(session, config.window, dropped)
        else:
            yield session


def _no_such_speaker(speaker: str, speakers: Counter[str]) -> UsageError:
    close = difflib.get_close_matches(tidy(speaker), speakers, 1)
    asked = f"did you mean {close[0]!r}? " if close else ""
    names = ", ".join(f"{name or '(no name)'} ({count})" for name, count in speakers.most_common(8))
    return UsageError(
        f"--speaker {speaker!r} says nothing in these files", f"{asked}the most frequent: {names or 'none'}"
    )
