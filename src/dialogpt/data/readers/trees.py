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

    `turn_of` gives a message's turn, or None when it is left out, which it counts. Messages of other branches are
    counted here.
    """
    if replies:
        for log in _logs(tree, turn_of, dropped):
            yield ChatLog(log, id=session.id, source=session.source)
        return
    turns, place = [], ROOT
    others = sum(map(len, tree.values()))
    while below := tree.get(place):
        place, others = below[0], others - 1
        if turn := turn_of(place):
            turns.append(turn)
    if others:
        dropped["message of another branch"] += others
    yield Session(tuple(turns), id=session.id, source=session.source)


def _logs(tree: Tree, turn_of: Callable[[str], Turn | None], dropped: Counter[str]) -> list[list[ChatTurn]]:
    """The turns below each first turn, branch by branch; a turn's id is its place, since parts of ids are numbers."""
    logs: list[list[ChatTurn]] = []
    waiting, place = [(message, "") for message in reversed(tree.get(ROOT, ()))], 0
    circles = sum(map(len, tree.values()))
    while waiting:
        message, above = waiting.pop()
        circles -= 1
        if turn := turn_of(message):
            if not above:
                logs.append([])
            logs[-1].append(ChatTurn(turn.text, turn.speaker, turn.learn, id=str(place), reply_to=above))
            above, place = str(place), place + 1
        waiting.extend((answer, above) for answer in reversed(tree.get(message, ())))
    if circles:
        dropped["message that answers itself"] += circles
    return logs
