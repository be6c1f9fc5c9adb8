"""Preference data of other trainers, `chosen` beside `rejected` in JSON -> preferences.jsonl.

The forms are those of `readers/preferences.py`: texts beside a prompt, chat messages, transcripts; a record is read
twice, as the conversation with the chosen answer and as that with the rejected one.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path

import msgspec

from dialogpt.artifact import Manifest, atomic_folder, make_manifest, write_manifest
from dialogpt.data import PreferencesConfig
from dialogpt.data.answers import write_items
from dialogpt.data.readers.jsonl import WRONG, as_session, reason, records
from dialogpt.data.readers.preferences import CHOSEN, REJECTED, WORSE
from dialogpt.data.readers.text import TextFile, tidy
from dialogpt.errors import DataError, UsageError, given
from dialogpt.files import is_input, is_url, read_chunks
from dialogpt.progress import Progress
from dialogpt.session import Preference, Session, Turn

FORMS = 'it is {"prompt": "Hi", "chosen": "Hello", "rejected": "Go away"}, with texts or lists of chat messages'
FOR_DUMPS = ("min_gap", "min_words", "max_words", "title", "blocklist", "block_subreddits", "limit")


def are_chosen(paths: Sequence[Path | str]) -> bool:
    """Whether files hold `chosen` and `rejected`, by how each begins; UsageError if only some do."""
    found = [not is_url(path) and is_input(Path(path)) and _is_chosen(Path(path)) for path in paths]
    if any(found) and not all(found):
        raise UsageError(
            f"{paths[found.index(True)]} holds preferences, {paths[found.index(False)]} does not",
            "name dumps, or files of preferences",
        )
    return any(found)


def _is_chosen(path: Path) -> bool:
    begun = next(read_chunks(path), b"")
    return b'"chosen"' in begun and b'"rejected"' in begun  # within a text the quotes would have a backslash


def convert(config: PreferencesConfig) -> Manifest:
    """Write the pairs of the files to `config.out`, whole or not at all."""
    if in_vain := given(config, *FOR_DUMPS):
        raise UsageError(
            f"--{in_vain[0].replace('_', '-')} is for dumps, and {config.dumps[0]} holds preferences", "leave it out"
        )
    dropped: Counter[str] = Counter()
    paths = [Path(path) for path in config.dumps]
    with atomic_folder(Path(config.out), overwrite=config.overwrite) as folder:
        with (folder / "preferences.jsonl").open("wb") as out, Progress("preferences", len(paths), "files") as bar:
            written = 0
            for path in paths:
                written += write_items(_pairs(TextFile(path), config.max_turns, dropped), out)
                bar.advance(1)
        if not written:
            why = ", ".join(f"{reason}: {count}" for reason, count in dropped.most_common(3))
            raise DataError(f"no pair is left of {', '.join(map(str, paths))}", why or "the files are empty")
        manifest = make_manifest(
            "preferences", config=config, inputs=paths, counts=Counter(pairs=written), dropped=dropped
        )
        write_manifest(folder, manifest)
    return manifest


def _pairs(file: TextFile, max_turns: int, dropped: Counter[str]) -> Iterator[Preference]:
    """Yield the pairs of a file; a record that is none is a DataError with its place."""
    for place, record in records(file):
        try:
            name = f"{file.source}/{place.rpartition(':')[2]}"
            better = as_session(record, name, file.source, dropped)
            worse = as_session({**record, CHOSEN: record[REJECTED], REJECTED: record[CHOSEN]}, name, "", Counter())
        except WRONG as error:
            raise DataError(f"{place}: not a preference: {reason(error)}", FORMS) from error
        dropped[WORSE] -= 1  # here it is not left out
        if better is None or worse is None:
            dropped["pair without two replies"] += 1
        elif pair := _pair(better, worse, max_turns, dropped):
            yield pair
    dropped += Counter()  # without what is 0


def _pair(better: Session, worse: Session, max_turns: int, dropped: Counter[str]) -> Preference | None:
    context, *replies = [_tidied(better.turns[:-1]), _tidied(better.turns[-1:]), _tidied(worse.turns[-1:])]
    if not context:
        reason = "pair without a context"
    elif not all(replies):
        reason = "pair without two replies"
    elif replies[0][0].text == replies[1][0].text:
        reason = "pair of the same reply twice"
    else:
        return Preference(context[-max_turns:], replies[0][0].text, replies[1][0].text, better.id)
    dropped[reason] += 1
    return None


def _tidied(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    kept = [msgspec.structs.replace(turn, text=tidy(turn.text), learn=True) for turn in turns]
    return tuple(turn for turn in kept if turn.text)
