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
from dialogpt.files import input_bytes, is_url
from dialogpt.progress import Progress
from dialogpt.session import Preference, Session, Turn

FORMS = 'it is {"prompt": "Hi", "chosen": "Hello", "rejected": "Go away"}, with texts or lists of chat messages'
FOR_DUMPS = ("min_gap", "min_words", "max_words", "title", "blocklist", "block_subreddits", "limit")


def are_chosen(paths: Sequence[Path | str]) -> bool:
    """Whether files hold `chosen` and `rejected`, by how each begins; UsageError if only some do."""
    found = [not is_url(path) and input_bytes(path) > 0 and _is_chosen(Path(path)) for path in paths]
    if any(found) and not all(found):
        raise UsageError(
            f"{paths[found.index(True)]} holds preferences, {paths[found.index(False)]} does not",
            "name dumps, or files of preferences",
        )
    return any(found)


def _is_chosen(path: Path) -> bool:
    """By the first line, or of a document of many lines the first 64 KiB."""
    try:
        file = TextFile(path)
        begun = "\n".join(file.head())
        if len(begun.splitlines()) <= 1:  # a long line, which may be cut
            begun = next((line for _, line in file.lines()), "")
    except DataError:
        return False
    if '"better"' in begun and '"worse"' in begun:
        raise UsageError(f"{path} holds preferences already", "`dialogpt tokenize` reads them")
    return '"chosen"' in begun and '"rejected"' in begun  # within a text the quotes would have a backslash


def convert(config: PreferencesConfig) -> Manifest:
    """Write the pairs of the files to `config.out`, whole or not at all."""
    if in_vain := given(config, *FOR_DUMPS):
        raise UsageError(
            f"--{in_vain[0].replace('_', '-')} is for dumps, and {config.dumps[0]} holds preferences", "leave it out"
        )
    dropped: Counter[str] = Counter()
    paths = [Path(path) for path in config.dumps]
    with atomic_folder(Path(config.out), overwrite=config.overwrite) as folder:
        size = sum(map(input_bytes, paths))
        with (folder / "preferences.jsonl").open("wb") as out, Progress("preferences", size, "B") as bar:
            files = [TextFile(path, on_read=bar.advance) for path in paths]
            written = sum(write_items(_pairs(file, config.max_turns, dropped), out) for file in files)
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
            if not isinstance(record, dict):
                raise TypeError("a JSON object is needed")
            swapped = {**record, CHOSEN: record[REJECTED], REJECTED: record[CHOSEN]}
            better, worse = as_session(record, "", "", dropped), as_session(swapped, "", "", Counter())
        except WRONG as error:
            raise DataError(f"{place}: not a preference: {reason(error)}", FORMS) from error
        dropped.pop(WORSE, None)  # here it is not left out
        if better is not None and worse is not None:
            # An id is a pair's; without one, pairs that begin alike are held out together.
            yield from _pair(better, worse, str(record.get("conversation_id") or ""), max_turns, dropped)


def _pair(better: Session, worse: Session, name: str, max_turns: int, dropped: Counter[str]) -> Iterator[Preference]:
    context, other = _tidied(better.turns[:-1]), _tidied(worse.turns[:-1])
    replies = [*_tidied(better.turns[-1:]), *_tidied(worse.turns[-1:])]
    if not context:
        dropped["pair without a context"] += 1
    elif len(replies) < 2:
        dropped["pair without two replies"] += 1
    elif [turn.text for turn in context] != [turn.text for turn in other] or replies[0].speaker != replies[1].speaker:
        dropped["pair of different contexts"] += 1
    elif replies[0].text == replies[1].text:
        dropped["pair of the same reply twice"] += 1
    else:
        yield Preference(context[-max_turns:], replies[0].text, replies[1].text, name)


def _tidied(turns: Sequence[Turn]) -> tuple[Turn, ...]:
    kept = [msgspec.structs.replace(turn, text=tidy(turn.text), learn=True) for turn in turns]
    return tuple(turn for turn in kept if turn.text)
