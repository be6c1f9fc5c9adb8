"""METEOR 1.5 by its own program, the jar in the PyPI package `pycocoevalcap`, as the paper ran it (-l en -norm).

The jar gives each reply's statistics against the reference that suits it best. They add up over segments; `scores` is
the jar's own arithmetic on their sum, so that the score of a corpus is the jar's, and resampling needs no Java. -norm
puts blanks around each letter that is neither Latin nor Cyrillic, so Arabic is compared by letters: a warning says so.
"""

import logging
import re
import shutil
import subprocess
from collections.abc import Sequence
from importlib.util import find_spec
from pathlib import Path

import numpy as np

from dialogpt.errors import DialoGPTError
from dialogpt.evaluation.ngrams import Floats

log = logging.getLogger(__name__)
NAMES = ("meteor",)
SIGNATURE = "version:1.5|lang:en|norm:yes"
STATISTICS = 23  # lengths and function words of both; 4 stages of matches, content and function words; chunks; matches

_ALPHA, _BETA, _GAMMA, _DELTA = 0.85, 0.2, 0.6, 0.75  # the jar's for English
_STAGES = np.array([1.0, 0.6, 0.8, 0.6])  # exact, stem, synonym, paraphrase
_TAKEN_APART = re.compile(r"[^\W\d_\u0000-\u024f\u0400-\u04ff]")
_START_S, _PAIR_S = 300.0, 0.05  # more than any machine needs; ours takes 10 s and a millisecond


def missing() -> str:
    """What METEOR needs and this machine lacks, with the way out; empty when it can run."""
    if _jar() is None:
        return 'METEOR needs the package pycocoevalcap: pip install "dialogpt[meteor]"'
    if shutil.which("java") is None:
        return "METEOR needs Java: install a runtime, such as Debian's default-jre-headless"
    return ""


def statistics(systems: Sequence[Sequence[str]], references: Sequence[Sequence[str]]) -> list[Floats]:
    """For each system a row of statistics for each segment, (S, 23); one run of the jar for all."""
    said = "".join(reply for replies in systems for reply in replies)
    if len(_TAKEN_APART.findall(said)) > sum(map(str.isalpha, said)) / 2:
        log.warning("METEOR's -norm splits these replies into letters: its score compares letters, not words")
    lines = [_score_line(reply, refs) for replies in systems for reply, refs in zip(replies, references, strict=True)]
    pairs = len(systems) * sum(map(len, references))
    rows = [row.split() for row in _run("\n".join(lines) + "\n", _START_S + _PAIR_S * pairs).splitlines()]
    if len(rows) != len(lines) or any(len(row) != STATISTICS for row in rows):
        raise DialoGPTError(f"METEOR answered {len(rows)} of {len(lines)} lines", "leave it out, or try another Java")
    table = without_whole_chunks(np.array(rows, np.float64))
    return list(table.reshape(len(systems), len(references), STATISTICS))


def without_whole_chunks(table: Floats) -> Floats:
    """The statistics, (S, 23), without the chunk of a reply that equals its reference, which the jar leaves out."""
    lengths, chunks = table[:, 0:2], table[:, 20]
    same = (_matches(table) == lengths).all(axis=1) & (chunks == 1)
    return np.concatenate([table[:, :20], np.where(same, 0, chunks)[:, None], table[:, 21:]], axis=1)


def scores(sums: Floats) -> Floats:
    """METEOR, (..., 1), of summed statistics, (..., 23); 0 when nothing matches."""
    lengths, functions = sums[..., 0:2], sums[..., 2:4]  # of replies, of references
    chunks, words = sums[..., 20], sums[..., 21:23]
    kinds = np.array([_DELTA, 1 - _DELTA])
    weighted = np.einsum("...skx,s,k->...x", _stages(sums), _STAGES, kinds)
    weighted_lengths = _DELTA * (lengths - functions) + (1 - _DELTA) * functions
    with np.errstate(divide="ignore", invalid="ignore"):
        precision, recall = np.moveaxis(weighted / weighted_lengths, -1, 0)
        mean = 1 / ((1 - _ALPHA) / precision + _ALPHA / recall)
        meteor = mean * (1 - _GAMMA * (chunks / words.mean(axis=-1)) ** _BETA)
    known: Floats = np.nan_to_num(meteor, nan=0.0)[..., None]
    return known


def _stages(sums: Floats) -> Floats:
    """Matches by stage, content or function word, and reply or reference, (..., 4, 2, 2)."""
    return sums[..., 4:20].reshape(*sums.shape[:-1], 4, 2, 2)


def _matches(sums: Floats) -> Floats:
    """Matched words of replies and of references, (..., 2)."""
    matches: Floats = _stages(sums).sum(axis=(-3, -2))
    return matches


def _score_line(reply: str, references: Sequence[str]) -> str:
    return " ||| ".join(["SCORE", *map(_field, references), _field(reply)])


def _field(text: str) -> str:
    return " ".join(text.replace("|||", " ").split())


def _run(lines: str, timeout_s: float) -> str:
    command = ["java", "-Dfile.encoding=UTF-8", "-Xmx2G", "-jar", str(_jar()), "-", "-", "-stdio", "-l", "en", "-norm"]
    try:
        done = subprocess.run(
            command, input=lines.encode(errors="replace"), capture_output=True, check=False, timeout=timeout_s
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        raise DialoGPTError(f"METEOR did not run: {error}", "try `java -version`, or leave METEOR out") from error
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines() or ["nothing said"]
        raise DialoGPTError(f"METEOR ended with code {done.returncode}: {said[-1]}", "try `java -version`")
    return done.stdout.decode(errors="replace")


def _jar() -> Path | None:
    """The jar's path, without importing its package, which imports a great deal."""
    package = find_spec("pycocoevalcap")
    for folder in (package.submodule_search_locations or []) if package else []:
        jar = Path(folder) / "meteor" / "meteor-1.5.jar"
        if jar.is_file():
            return jar
    return None
