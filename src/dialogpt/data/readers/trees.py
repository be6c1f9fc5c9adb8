"""Trees of messages -> of each the branch that was chosen, as a session; or (--replies) all branches, as chat logs.

A tree is a dict from a message's id to those that answer it, the chosen one first; those that answer nothing are below
ROOT. What is left out of a branch (a tool's call, a hidden message) leaves those below it in their place.
"""

from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence

from dialogpt.data.readers.chatlog import ChatLog, ChatTurn
from dialogpt.session import Session, Turn

ROOT = ""
Tree = Mapping[str, Sequence[str]]


def plant(parents: Mapping[str, str], leaf: str) -> Tree:
    """The tree of messages and those that they answer; what leads to `leaf` is chosen, elsewhere the last message.

    A parent that is not there is ROOT, and so is the message's own id; messages that answer each other in a circle
    cannot be reached.
    """
    chosen = set()
    while leaf in parents and leaf not in chosen:
        chosen.add(leaf)
        leaf = parents[leaf]
    tree: dict[str, list[str]] = {}
    for message in reversed(list(parents)):
        above = parents[message]
        tree.setdefault(above if above in parents and above != message else ROOT, []).append(message)
    for below in tree.values():
        below.sort(key=lambda message: message not in chosen)
    return tree


def branches(
    tree: Tree,
    turn_of: Callable[[str], Turn | None],
    session: Session,
    dropped: Counter[str],
    *,
    replies: bool,
) -> Iterator[Session | ChatLog]:
    """Yield `session` with the turns of the chosen branch; with `replies` a chat log for each first message.

    `turn_of` gives a message's turn, or None when it is left out, which it counts. A turn without text, as of a picture
    alone, it counts, too; what answers that begins anew, or it would be one turn with the answer before. Messages of
    other branches are counted here.
    """
    if replies:
        for log in _logs(tree, turn_of, dropped):
            yield ChatLog(log, id=session.id, source=session.source)
        return
    turns, parts, place = list[Turn](), 0, ROOT
    others = sum(map(len, tree.values()))
    while below := tree.get(place):
        place, others = below[0], others - 1
        turn = turn_of(place)
        if turn and turn.text:
            turns.append(turn)
        elif turn and turns and turns[-1].speaker != turn.speaker:
            yield Session(tuple(turns), id=f"{session.id}/{parts}", source=session.source)
            turns, parts = [], parts + 1
    if others:
        dropped["message of another branch"] += others
    if turns or not parts:
        yield Session(tuple(turns), id=f"{session.id}/{parts}" if parts else session.id, source=session.source)


def _logs(tree: Tree, turn_of: Callable[[str], Turn | None], dropped: Counter[str]) -> list[list[ChatTurn]]:
    """The turns below each first turn, branch by branch; a turn's id is its place, since parts of ids are numbers."""
    logs: list[list[ChatTurn]] = []
    waiting: list[tuple[str, ChatTurn | None]] = [(message, None) for message in reversed(tree.get(ROOT, ()))]
    homes: dict[str, list[ChatTurn]] = {}  # of turns
    circles = sum(map(len, tree.values()))
    while waiting:
        message, above = waiting.pop()
        circles -= 1
        turn = turn_of(message)
        if turn and turn.text:
            if above is None:
                logs.append([])
            log, answered = (homes[above.id], above.id) if above else (logs[-1], "")
            above = ChatTurn(turn.text, turn.speaker, turn.learn, id=str(len(homes)), reply_to=answered)
            homes[above.id] = log
            log.append(above)
        elif turn and above and above.speaker != turn.speaker:
            above = None
        waiting.extend((answer, above) for answer in reversed(tree.get(message, ())))
    if circles:
        dropped["message that answers itself"] += circles
    return logs
