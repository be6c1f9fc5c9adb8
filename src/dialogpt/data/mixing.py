"""A mixture file -> one sessions folder: the `mix` command. Each source is read as by `import`, then weighted.

    [small-talk]                     a table for each source
    files = ["chats.jsonl.xz"]       any setting of `import` but `out`, `format` and `overwrite`
    max_words = 40
    weight = 1.5                     every session once, and every second one (by a hash of its id) once more

Near-duplicates are looked for in all sources together; of several, the one whose id comes first by its hash stays.
"""

import math
import shutil
import tomllib
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager
from dataclasses import dataclass, fields, replace
from itertools import islice
from pathlib import Path
from typing import Any

import msgspec
import numpy as np
from numpy.typing import NDArray

from dialogpt.artifact import Manifest, atomic_folder, make_manifest, write_manifest
from dialogpt.data import ImportConfig, MixConfig
from dialogpt.data.duplicates import band_keys_of, later_duplicates, order_of
from dialogpt.data.importing import Importer
from dialogpt.data.screen import SESSIONS_AT_ONCE
from dialogpt.data.writers import SessionWriter
from dialogpt.errors import DataError, DialoGPTError, UsageError, did_you_mean
from dialogpt.session import read_sessions

MOST_WEIGHT = 10_000
SETTINGS = tuple(
    field.name.rstrip("_") for field in fields(ImportConfig) if field.name not in ("out", "format", "overwrite")
)


@dataclass(frozen=True, slots=True)
class Source:
    """A table of the mixture file."""

    name: str
    weight: float
    settings: ImportConfig


def mix(config: MixConfig) -> Manifest:
    """Write the mixture's sessions; the manifest counts them by source, and what was dropped from each.

    Raises UsageError for a mixture file that does not load, DataError as `import` does.
    """
    sources = read_mixture(config.mixture, config.root or config.mixture.parent, config.without)
    importers = []
    for source in sources:  # all, before the first is read
        with _in(config.mixture, source.name):
            importers.append(Importer(source.settings))
    counts: Counter[str] = Counter()
    dropped: Counter[str] = Counter()
    with atomic_folder(config.out, overwrite=config.overwrite) as folder:
        gathered = folder / "gathered"
        duplicates = _gather(config, sources, importers, gathered, counts, dropped)
        with closing(SessionWriter(folder)) as writer:
            for number, source in enumerate(sources):
                before = writer.sessions
                sessions = read_sessions(gathered / str(number))
                for session, duplicate in zip(sessions, duplicates[number].tolist(), strict=True):
                    if duplicate:
                        dropped[f"{source.name}: near-duplicate"] += 1
                    else:
                        writer.write_all([session] * copies(session.id, source.weight))
                counts[f"{source.name}: sessions"] = writer.sessions - before
        if not writer.sessions:
            raise DataError(f"{config.mixture}: no session is left", "the weights are too small, or all are duplicates")
        shutil.rmtree(gathered)
        inputs = [path for source in sources for path in source.settings.files]
        manifest = make_manifest(
            "sessions", config=config, inputs=[config.mixture, *inputs], counts=writer.counts | counts, dropped=dropped
        )
        write_manifest(folder, manifest)
    return manifest


def copies(id: str, weight: float) -> int:
    """How often a session is read: the weight, whose fraction is the share of ids that are read once more."""
    whole = math.floor(weight)
    return whole + (int(order_of([id])[0]) < (weight - whole) * 2.0**64)


@contextmanager
def _in(mixture: Path, name: str) -> Iterator[None]:
    """A block whose errors name the source."""
    try:
        yield
    except DialoGPTError as error:
        error.message = f"{mixture}: [{name}]: {error.message}"
        raise


def _gather(
    config: MixConfig,
    sources: Sequence[Source],
    importers: Sequence[Importer],
    folder: Path,
    counts: Counter[str],
    dropped: Counter[str],
) -> list[NDArray[np.bool_]]:
    """Write each source's sessions to a folder of its number; returns for each source which of them are duplicates."""
    keys, orders, sizes = [], [], []
    for number, (source, importer) in enumerate(zip(sources, importers, strict=True)):
        (folder / str(number)).mkdir(parents=True)
        with _in(config.mixture, source.name):
            with closing(SessionWriter(folder / str(number))) as writer, importer.bar() as bar:
                sessions = importer.sessions(bar)
                while batch := list(islice(sessions, SESSIONS_AT_ONCE)):
                    writer.write_all(batch)
                    if config.dedup:
                        keys.append(band_keys_of(batch))
                        orders.append(order_of([session.id for session in batch]))
            if not writer.sessions:
                raise importer.nothing_left()
        sizes.append(writer.sessions)
        for totals, found in ((counts, importer.counts), (dropped, importer.dropped)):
            totals.update({f"{source.name}: {reason}": count for reason, count in found.items()})
    if not config.dedup:
        return [np.zeros(size, np.bool_) for size in sizes]
    return np.split(later_duplicates(np.concatenate(keys), np.concatenate(orders)), np.cumsum(sizes)[:-1])


def read_mixture(path: Path, root: Path, without: Sequence[str] = ()) -> list[Source]:
    """The sources that a mixture file names, except those in `without`.

    Files are under `root` or beside the mixture file, blocklists beside it.

    UsageError names what is wrong, and where.
    """
    try:
        tables = tomllib.loads(path.read_text(encoding="utf-8-sig"))  # with Windows' mark, too
    except OSError as error:
        raise UsageError(f"{path} cannot be read: {error.strerror}", "check the path") from error
    except (UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
        raise UsageError(f"{path} does not load: {error}", "it is a TOML file with a table for each source") from error
    if not tables:
        raise UsageError(f"{path} names no source", '[chats] and files = ["chats.jsonl"] below it')
    for name in without:
        if name not in tables:
            raise UsageError(f"{path} has no source {name!r} to leave out", f"it has {', '.join(tables)}")
    if set(without) == set(tables):
        raise UsageError(f"no source of {path} is left", "name fewer in --without")
    return [_source(path, root, name, table) for name, table in tables.items() if name not in without]


def _source(path: Path, root: Path, name: str, table: Any) -> Source:
    place = f"{path}: [{name}]"
    if not isinstance(table, dict):
        raise UsageError(f"{place} is not in a source's table", "put it below a [name]")
    known = (*SETTINGS, "weight")
    for key in table:
        if key not in known:
            raise UsageError(
                f"{place}: unknown setting {key!r}", did_you_mean(key, known, f"known: {', '.join(known)}")
            )
    given = {"from_" if key == "from" else key: value for key, value in table.items()}
    weight = given.pop("weight", 1.0)
    if not isinstance(weight, int | float) or not 0 < weight <= MOST_WEIGHT:
        raise UsageError(
            f"{place}: weight {weight!r} is out of range", f"it must be above 0 and at most {MOST_WEIGHT:,}"
        )
    try:
        settings = msgspec.convert(given | {"out": ""}, ImportConfig, dec_hook=lambda kind, value: kind(value))
    except msgspec.ValidationError as error:
        raise UsageError(f"{place}: {error}", "numbers have no quotes, lists have [ ]") from error
    if not settings.files:
        raise UsageError(f"{place} names no files", 'files = ["chats.jsonl"]')
    blocklist = settings.blocklist and path.parent / settings.blocklist
    files = tuple(root / file if (root / file).exists() else path.parent / file for file in settings.files)
    return Source(name, weight, replace(settings, files=files, blocklist=blocklist))
