"""The `conversations` command: list, search, show, export and delete what was said in the terminal and to bots."""

import sys

import msgspec

from dialogpt.artifact import atomic_file, is_stream
from dialogpt.chat import ConversationsConfig
from dialogpt.chat.store import Conversations, default_path
from dialogpt.errors import DataError, UsageError
from dialogpt.process import printable

SHOWN = 60  # characters of a conversation's first turn
KEEPERS = "`dialogpt chat` and `bot` keep conversations there"


def conversations(config: ConversationsConfig) -> str | None:
    """Do what the settings say; returns what to print."""
    _check(config)
    path = default_path()
    if not path.is_file():
        raise DataError(f"no conversation is kept: there is no {path}", KEEPERS)
    with Conversations(path) as kept:
        if config.delete is not None:
            kept.delete(config.delete)
            return f"conversation {config.delete} is deleted"
        if config.export is not None:
            return _export(kept, config)
        if config.show is not None:
            return printable("\n".join(f"{turn.speaker}: {turn.text}" for turn in kept.session(config.show).turns))
        found = kept.listed(config.search)
    if not found and config.search:
        raise DataError(f"nobody said {config.search!r}", "search for less")
    if not found:
        raise DataError(f"no conversation is kept in {path}", KEEPERS)
    lines = [
        f"{one.id:>6}  {one.began}  {one.turns:>4} turns  {_short(one.first)}  "
        f"[{', '.join(filter(None, (one.model, one.chat)))}]"
        for one in found
    ]
    sys.stderr.write(f"{len(found)} conversations in {path}\n")
    return printable("\n".join(lines))


def _check(config: ConversationsConfig) -> None:
    """UsageError for options of which only some would apply: nobody should believe exported what was deleted."""
    if config.delete is not None:
        for option, given in (("--show", config.show), ("--export", config.export)):
            if given is not None:
                raise UsageError(f"{option} and --delete together", "use one after the other")
    number = f"--show {config.show}" if config.show is not None else f"--delete {config.delete}"
    if config.search and (config.show is not None or config.delete is not None):
        raise UsageError(f"{number} together with a search for {config.search!r}", "leave one of them out")


def _export(kept: Conversations, config: ConversationsConfig) -> str | None:
    """Write the conversations, or those that were searched for or shown, as sessions."""
    assert config.export is not None
    ids = [config.show] if config.show is not None else [one.id for one in kept.listed(config.search)]
    sessions = [kept.session(number) for number in sorted(ids)]
    with atomic_file(config.export) as partial:
        partial.write_bytes(b"".join(msgspec.json.encode(session) + b"\n" for session in sessions))
    return None if is_stream(config.export) else f"{len(sessions)} conversations are in {config.export}"


def _short(text: str) -> str:
    return text if len(text) <= SHOWN else f"{text[: SHOWN - 1]}\N{HORIZONTAL ELLIPSIS}"
