"""What is scored or judged: segments and every system's replies, out of their files (`references`, `systems`)."""

import logging
import re
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from dialogpt.errors import DataError
from dialogpt.evaluation.references import read_references
from dialogpt.evaluation.segments import Segment, System
from dialogpt.evaluation.systems import read_systems, told_segments

log = logging.getLogger(__name__)

LEAKED = 0.5  # share of a system's replies among their references from which it counts as the references themselves
_WORDS = re.compile(r"\w+")
ENGLISH = "--clean keeps English letters only"


@dataclass(frozen=True, slots=True)
class Inputs:
    """Everything that is scored or judged; `dropped` counts by reason what was read and left out."""

    segments: tuple[Segment, ...]
    systems: tuple[System, ...]
    dropped: Counter[str] = field(default_factory=Counter)

    @property
    def references(self) -> list[tuple[str, ...]]:
        return [segment.references for segment in self.segments]

    @property
    def contexts(self) -> list[tuple[tuple[str, ...], ...]] | None:
        """Each system's contexts, its file's own or the references'; None unless every reply has one."""
        own = tuple(segment.context for segment in self.segments)
        told = [system.contexts if system.contexts and all(system.contexts) else own for system in self.systems]
        return told if all(map(all, told)) else None


def read_inputs(hyps: Sequence[Path], refs: Sequence[Path], clean: Callable[[str], str] | None = None) -> Inputs:
    """Read and match all files; DataError names the file and line that is wrong or does not match.

    `clean` is done to every text before blank references are left out. Where a file holds several systems, the segments
    are those that have references and a reply of each of them.
    """
    segments = read_references(refs)
    dropped: Counter[str] = Counter()
    segments, systems = read_systems(hyps, segments, dropped)
    if clean is not None:
        segments, systems = _cleaned(segments, systems, clean, dropped)
    for system in systems:
        if not any(reply.strip() for reply in system.replies):
            raise DataError(
                f"{system.name}: no reply has a word", f"{ENGLISH}: leave it out" if clean else "a line is a reply"
            )
        if blank := sum(not reply.strip() for reply in system.replies):
            dropped[f"blank replies of {system.name}, which count as empty"] += blank
    return Inputs(tuple(_without_blank(segment, dropped) for segment in segments), tuple(systems), dropped)


def read_replies(hyps: Sequence[Path], refs: Sequence[Path] = (), *, in_context: bool = True) -> Inputs:
    """As `read_inputs`, but every segment has its context, and references are not needed.

    Without references, the first file of replies that includes its contexts sets the segments. DataError if a context
    is missing, or two files have different ones; without `in_context`, files need not include any.
    """
    dropped: Counter[str] = Counter()
    told = read_references(refs) if refs else told_segments(hyps, needed=in_context)
    segments, systems = read_systems(hyps, told, dropped)
    for system in systems:
        if blank := sum(not reply.strip() for reply in system.replies):
            dropped[f"blank replies of {system.name}, which are shown as such"] += blank
    if in_context or any(segment.context for segment in segments):
        segments = list(_in_context(segments, systems))
    return Inputs(tuple(segments), tuple(systems), dropped)


def warn_of(dropped: Mapping[str, int]) -> None:
    """A warning for each reason for which something was left out, or counts in another way."""
    for reason, count in dropped.items():
        log.warning("%d %s", count, reason)


def among_references(inputs: Inputs) -> dict[str, int]:
    """The systems most of whose replies are among their references, in letters and digits, and how many are.

    No metric that compares replies with references can be compared there.
    """
    references = [{tuple(_WORDS.findall(text.casefold())) for text in several} for several in inputs.references]
    found = {}
    for system in inputs.systems:
        words = (tuple(_WORDS.findall(reply.casefold())) for reply in system.replies)
        same = sum(reply in several for reply, several in zip(words, references, strict=True))
        if same > LEAKED * len(references):
            found[system.name] = same
    return found


def _in_context(segments: Sequence[Segment], systems: Sequence[System]) -> Iterator[Segment]:
    """The segments with their contexts, their own or, if they have none, a system's."""
    for place, segment in enumerate(segments):
        context, teller = segment.context, segment.place
        for system in systems:
            told = system.contexts[place] if system.contexts else ()
            if told and not context:
                context, teller = told, system.name
            elif told and _spaced(told) != _spaced(context):
                raise DataError(
                    f"{system.name}: reply {place + 1} answers {_spaced(told)!r}, but according to {teller} it answers "
                    f"{_spaced(context)!r}",
                    "only replies to the same contexts can be compared",
                )
        if not any(turn.strip() for turn in context):
            raise DataError(
                f"{segment.place}: no context",
                "give replies as `generate --format jsonl` writes them, or --refs with the contexts",
            )
        yield replace(segment, context=context)


def _spaced(turns: Sequence[str]) -> str:
    return " / ".join(" ".join(turn.split()) for turn in turns)


def _without_blank(segment: Segment, dropped: Counter[str]) -> Segment:
    kept = tuple(reference for reference in segment.references if reference.strip())
    if not kept:
        raise DataError(f"{segment.place}: no reference", "every reply needs at least one; leave out both lines")
    if len(kept) < len(segment.references):
        dropped["blank references, left out"] += len(segment.references) - len(kept)
    return replace(segment, references=kept)


def _cleaned(
    segments: Sequence[Segment], systems: Sequence[System], clean: Callable[[str], str], dropped: Counter[str]
) -> tuple[list[Segment], list[System]]:
    """All texts cleaned; segments whose references all become empty are left out for every system, and counted."""

    def all_of(texts: Sequence[str]) -> tuple[str, ...]:
        return tuple(map(clean, texts))

    made = [
        replace(each, references=all_of(each.references), context=all_of(each.context), human=clean(each.human))
        for each in segments
    ]
    kept = [place for place, each in enumerate(made) if any(each.references) or not any(segments[place].references)]
    if not kept:
        raise DataError("no reference has a word", f"{ENGLISH}: leave it out")
    if len(kept) < len(made):
        dropped["segments without a reference after cleaning, left out"] += len(made) - len(kept)
    cleaned = [
        replace(each, replies=all_of(each.replies), contexts=tuple(map(all_of, each.contexts)))
        for each in (system.at(kept) for system in systems)
    ]
    return [made[place] for place in kept], cleaned
