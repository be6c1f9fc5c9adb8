"""A session that is too long for the model -> windows of whole turns, which learn each of its turns once."""

from collections import Counter
from collections.abc import Iterator, Sequence

TOO_LONG = "turn over half of --max-tokens"


def split_by_turns(
    lengths: Sequence[int], learn: Sequence[bool], max_tokens: int, dropped: Counter[str]
) -> Iterator[range]:
    """Yield a session's windows as the numbers of their turns: whole turns, each window at most `max_tokens` long.

    lengths: tokens of each turn. `max_tokens` 0 is one window, whatever its length. A window after the first opens with
    the turn that ended the one before it, as context, so that every turn but the session's first is learned once. A
    turn that does not fit with its context is left out, and starts the next window's search anew.
    """
    first = size = 0

    def take(stop: int) -> Iterator[range]:
        if any(learn[first + 1 : stop]):
            yield range(first, stop)
        elif stop > first or not lengths:
            part = "session" if stop - first == len(lengths) else "window"
            dropped[f"{part} without a turn to learn"] += 1

    for i, length in enumerate(lengths):
        if max_tokens and length > max_tokens // 2:
            dropped[TOO_LONG] += 1
            yield from take(i)
            first, size = i + 1, 0
            continue
        if max_tokens and size + length > max_tokens:
            yield from take(i)
            first = i - 1
            size = lengths[first]
        size += length
    yield from take(len(lengths))
