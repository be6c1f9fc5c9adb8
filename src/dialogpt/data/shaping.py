"""What `import` makes of conversations: pure functions from sessions and chat logs to sessions.

In this order: chat logs fall into conversations (silences, or reply links); white space is folded and empty turns go;
turns of one speaker are merged; only the wanted speaker's turns keep their loss; the head is taken; turns that are too
long or unwanted end a session; each turn gets its window. What gets lost is counted in `dropped`.
"""

import re
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence

from dialogpt.data.readers.chatlog import ChatLog, ChatTurn
from dialogpt.data.readers.text import tidy
from dialogpt.session import Session, Turn

SHARED_TURNS = 10  # of an earlier path, as context at the start of a path that leaves it


def by_silence(log: ChatLog, gap_s: float) -> Iterator[Session]:
    """Cut a chat log where nobody spoke for longer than `gap_s` seconds (0: nowhere)."""
    part: list[Turn] = []
    parts, last_s = 0, None
    for turn in log.turns:
        if part and _is_silence(last_s, turn.time_s, gap_s):
            yield Session(tuple(part), id=f"{log.id}/{parts}", source=log.source)
            part, parts = [], parts + 1
        part.append(turn)
        last_s = turn.time_s
    if part:
        yield Session(tuple(part), id=f"{log.id}/{parts}", source=log.source)


def by_replies(log: ChatLog, gap_s: float) -> Iterator[Session]:
    """The paths of a chat's reply trees, from the root to each turn that nothing follows.

    A turn follows the one it answers; without a link (or with one to a turn that is not there) it follows the turn
    above it, unless a silence of more than `gap_s` is between them: then it is a root. Every turn is learned in one
    path, the first; a later path begins with up to SHARED_TURNS turns of earlier ones, as context.
    """
    turns = list(log.turns)
    above, roots = _follow(turns, gap_s)
    followed = set(above)
    learned = bytearray(len(turns))
    for leaf in range(len(turns)):
        if leaf in followed:
            continue
        path, shared, at = [], 0, leaf
        while at >= 0 and shared < SHARED_TURNS:
            shared += learned[at]
            path.append(turns[at] if not learned[at] else Turn(turns[at].text, turns[at].speaker, learn=False))
            learned[at] = True
            at = above[at]
        root = turns[roots[leaf]].id or str(roots[leaf])
        yield Session(tuple(path[::-1]), id=f"{log.id}/{root}#{turns[leaf].id or leaf}", source=log.source)


def _follow(turns: Sequence[ChatTurn], gap_s: float) -> tuple[list[int], list[int]]:
    """For each turn, the index of the one it follows (-1: none) and the index of its tree's root."""
    places = {turn.id: index for index, turn in enumerate(turns) if turn.id}
    above: list[int] = []
    roots: list[int] = []
    for index, turn in enumerate(turns):
        found = places.get(turn.reply_to, -1) if turn.reply_to else -1
        if not 0 <= found < index:
            silent = index == 0 or _is_silence(turns[index - 1].time_s, turn.time_s, gap_s)
            found = -1 if silent else index - 1
        above.append(found)
        roots.append(index if found < 0 else roots[found])
    return above, roots


def _is_silence(before_s: float | None, after_s: float | None, gap_s: float) -> bool:
    return gap_s > 0 and before_s is not None and after_s is not None and after_s - before_s > gap_s


def clean(turns: Iterable[Turn], dropped: Counter[str], marks: Sequence[re.Pattern[str]] = ()) -> list[Turn]:
    """The turns with tidy texts and names, without what `marks` match; those that are empty then are left out."""
    found = []
    for turn in turns:
        text, speaker = tidy(_without(turn.text, marks) if marks else turn.text), tidy(turn.speaker)
        if text:
            as_it_is = type(turn) is Turn and text is turn.text and speaker is turn.speaker
            found.append(turn if as_it_is else Turn(text, speaker, turn.learn))
        else:
            dropped["empty turn"] += 1
    return found


def _without(text: str, marks: Sequence[re.Pattern[str]]) -> str:
    for mark in marks:
        text = mark.sub(" ", text)
    return text


def merge(turns: Sequence[Turn]) -> list[Turn]:
    """Join what one (named) speaker says without a break; a turn that carries loss joins none that doesn't."""
    runs: list[list[Turn]] = []
    for turn in turns:
        if runs and turn.speaker and (runs[-1][0].speaker, runs[-1][0].learn) == (turn.speaker, turn.learn):
            runs[-1].append(turn)
        else:
            runs.append([turn])
    return [
        run[0] if len(run) == 1 else Turn(" ".join(turn.text for turn in run), run[0].speaker, run[0].learn)
        for run in runs
    ]


def learn_only(turns: Iterable[Turn], speaker: str) -> list[Turn]:
    """The turns, of which only this speaker's carry loss ("": as they are)."""
    return [
        turn if speaker in ("", turn.speaker) or not turn.learn else Turn(turn.text, turn.speaker, learn=False)
        for turn in turns
    ]


def split_at(
    turns: Iterable[Turn], unwanted: Callable[[str], str | None], dropped: Counter[str]
) -> Iterator[list[Turn]]:
    """The runs of turns between those for which `unwanted` has a reason, which are left out."""
    part: list[Turn] = []
    for turn in turns:
        if reason := unwanted(turn.text):
            dropped[reason] += 1
            yield part
            part = []
        else:
            part.append(turn)
    yield part


def windows(session: Session, width: int, dropped: Counter[str]) -> Iterator[Session]:
    """For each turn that carries loss, a session of it and the `width` turns before it (or fewer) as context."""
    context = tuple(Turn(turn.text, turn.speaker, learn=False) for turn in session.turns)
    for index, turn in enumerate(session.turns):
        if turn.learn and index == 0:
            dropped["turn without context"] += 1
        elif turn.learn:
            before = context[max(0, index - width) : index]
            yield Session((*before, turn), id=f"{session.id}#{index}", source=session.source)
