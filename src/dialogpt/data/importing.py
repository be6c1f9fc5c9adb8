"""Conversational files -> a sessions folder: the `import` command, which reads, shapes and writes."""

import difflib
import logging
import re
from collections import Counter
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from pathlib import Path

from dialogpt.artifact import Manifest, atomic_folder, make_manifest, write_manifest
from dialogpt.data import ImportConfig, shaping
from dialogpt.data.blocklist import load_phrases, mark
from dialogpt.data.readers import FORMATS, Format, ReadOptions, TextFile, recognise, tidy
from dialogpt.data.readers.archives import chats, refuse, together
from dialogpt.data.readers.chatlog import ChatLog
from dialogpt.data.readers.columns import fold_name
from dialogpt.data.writers import SessionWriter
from dialogpt.errors import DataError, UsageError, check_least, given
from dialogpt.files import input_bytes
from dialogpt.progress import Progress
from dialogpt.session import Session

log = logging.getLogger(__name__)

DATED = {"whatsapp", "line"}  # formats of dates whose order a file may leave open


def import_files(config: ImportConfig) -> Manifest:
    """Write the conversations of `config.files` as a sessions folder; returns its manifest.

    Raises DataError with file and line for an invalid conversation, and when no session is left; UsageError when
    --speaker says nothing in any of them.
    """
    importer = Importer(config)
    with atomic_folder(config.out, overwrite=config.overwrite) as folder:
        with closing(SessionWriter(folder, config.format)) as writer, importer.bar() as bar:
            writer.write_all(importer.sessions(bar))
        if not writer.sessions:
            raise importer.nothing_left()
        counts = writer.counts | importer.counts
        manifest = make_manifest(
            "sessions", config=config, inputs=config.files, counts=counts, dropped=importer.dropped
        )
        write_manifest(folder, manifest)
    return manifest


class Importer:
    """One `import`: reads its files and shapes their conversations; `dropped` and `counts` say what became of them.

    Raises UsageError for settings that cannot work, DataError for a missing file: now, not after the others.
    """

    def __init__(self, config: ImportConfig) -> None:
        check_least(config, head=0, max_words=0, window=0, gap=0)
        if config.columns and config.from_ not in ("auto", "script"):
            raise UsageError(f"--columns is for tables, not for --from {config.from_}", "leave one of them out")
        self.config = config
        self._files = [file for path in config.files for file in chats(path)]
        self._size_bytes = sum(map(input_bytes, self._files))
        self.dropped: Counter[str] = Counter()
        self.counts: Counter[str] = Counter()
        self._speakers: Counter[str] = Counter()  # turns by name, when only one speaker is to be learned
        self._marks = _patterns("remove", config.remove)
        self._rejected = _patterns("reject", config.reject)
        self._phrases = load_phrases(config.blocklist) if config.blocklist else None
        self._read_as: set[str] = set()  # formats
        self._logs = 0  # chat logs among what was read

    def bar(self) -> Progress:
        return Progress("import", self._size_bytes, "B")

    def sessions(self, bar: Progress) -> Iterator[Session]:
        """Yield the sessions of all files; UsageError at the end when --speaker says nothing in any of them."""
        read_as = ""
        for files in together(self._files):
            read_as = yield from self._read(files, bar, read_as)
        if self.config.speaker and tidy(self.config.speaker) not in self._speakers:
            raise _no_such_speaker(self.config.speaker, self._speakers)
        if alike := _alike(tidy(self.config.speaker), self._speakers):
            log.warning("--speaker %s is not %s: their turns are context", self.config.speaker, ", ".join(alike))
        if idle := self._idle():
            log.warning("--%s is not used: the files are read as %s", idle, ", ".join(sorted(self._read_as)))

    def nothing_left(self) -> DataError:
        why = ", ".join(f"{reason}: {count}" for reason, count in self.dropped.most_common(3)) or "there are no turns"
        return DataError(f"no session of two turns or more in {', '.join(map(str, self.config.files))}", why)

    def _idle(self) -> str:
        """An option that was given, and concerns none of the files that were read; "" if there is none."""
        uses = {"gap": self._logs, "date_order": self._read_as & DATED, "encoding": self._read_as - {"parquet"}}
        idle = [name for name in given(self.config, *uses) if self._read_as and not uses[name]]
        return idle[0].replace("_", "-") if idle else ""

    def _read(self, files: Sequence[Path], bar: Progress, before: str) -> Generator[Session, None, str]:
        """Yield the sessions of files of one chat; returns their format, which is logged when it is not `before`."""
        path, *later = files
        file = TextFile(path, self.config.encoding, bar.advance, later)
        table = bool(self.config.columns) or self.config.from_ == "script"
        name: str | None = "script" if table else self.config.from_
        refuse(file)
        if name == "auto":
            name = recognise(file)
        if later and (name != "slack" or file.is_blank):
            for each in files:
                before = yield from self._read([each], bar, before)
            return before
        if name is None or file.is_blank:
            log.warning("import %s: the file is empty", path)
            self.dropped["empty file"] += 1
            return before
        if name != before:
            log.info("import %s: read as %s", path, name)
        self._read_as.add(name)
        form = FORMATS[name]
        if self.config.replies and not form.replies:
            raise UsageError(f"--replies: {path} ({name}) does not say what answers what", "leave --replies out")
        merge = self.config.merge if self.config.merge is not None else form.merge
        for conversation in self._conversations(form, file):
            yield from self._shaped(conversation, merge)
        return name

    def _conversations(self, form: Format, file: TextFile) -> Iterator[Session]:
        """A file's conversations as they are, whatever their length."""
        split = shaping.by_replies if self.config.replies else shaping.by_silence
        config = self.config
        options = ReadOptions(config.date_order, tidy(config.speaker), config.columns, config.replies)
        for found in form.read(file, options, self.dropped):
            if isinstance(found, ChatLog):
                self._logs += 1
                yield from split(found, self.config.gap * 60)
            else:
                yield found

    def _shaped(self, conversation: Session, merge: bool) -> Iterator[Session]:
        """Clean the turns and yield the sessions of two turns or more that the settings leave of a conversation."""
        config, dropped = self.config, self.dropped
        turns = shaping.clean(conversation.turns, dropped, self._marks)
        if config.speaker:
            self._speakers.update(turn.speaker for turn in turns)
            turns = shaping.learn_only(turns, tidy(config.speaker))
        if merge:
            turns = shaping.merge(turns)
        if config.head and len(turns) > config.head:
            dropped["turn beyond --head"] += len(turns) - config.head
            turns = turns[: config.head]
        if self._phrases is not None:
            marked, listed = mark(turns, self._phrases)
            turns = list(marked)
            if listed:
                self.counts["offensive_turns"] += listed
        cuts = bool(config.max_words or self._rejected)
        parts = list(shaping.split_at(turns, self._unwanted, dropped)) if cuts else [turns]
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

    def _unwanted(self, text: str) -> str | None:
        if self.config.max_words and len(text.split()) > self.config.max_words:
            return "turn over --max-words"
        if any(pattern.search(text) for pattern in self._rejected):
            return "turn with a --reject pattern"
        return None


def _patterns(name: str, patterns: Sequence[str]) -> list[re.Pattern[str]]:
    compiled = []
    for pattern in patterns:
        try:
            compiled.append(re.compile(pattern))
        except re.error as error:
            raise UsageError(f"--{name} {pattern!r} is not a valid pattern: {error}", "see Python's `re`") from error
    return compiled


def _no_such_speaker(speaker: str, speakers: Counter[str]) -> UsageError:
    close = difflib.get_close_matches(tidy(speaker), speakers, 1)
    asked = f"did you mean {close[0]!r}? " if close else ""
    names = ", ".join(f"{name or '(no name)'} ({count})" for name, count in speakers.most_common(8))
    return UsageError(
        f"--speaker {speaker!r} says nothing in these files", f"{asked}the most frequent: {names or 'none'}"
    )


def _alike(speaker: str, speakers: Counter[str]) -> list[str]:
    """Other names, with their turns, that differ from a speaker's in case, hamza and the like: perhaps the same."""
    return [
        f"{name!r} ({count})"
        for name, count in speakers.most_common()
        if name != speaker and fold_name(name) == fold_name(speaker)
    ]
