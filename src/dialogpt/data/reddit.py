"""Records of dumps -> posts -> the forest of a thread -> root-to-leaf paths.

A post is a comment, or a submission's title as the thread's first post; ids are Reddit's full names (t1_ comment, t3_
submission). A comment that is not kept is not in the forest, so its replies are roots of their own. Everything here is
iterative and linear: a chain of 100,000 replies is as good as a short one.
"""

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

import msgspec

from dialogpt.data.dumps import Record, as_int
from dialogpt.data.normalize import clean

UNKNOWN_SCORE = 1  # what Reddit gives a new post; dumps leave out scores that were still hidden

_DELETED = frozenset({"[deleted]", "[deleted by user]"})
_REMOVED = frozenset({"[removed]", "[removed by reddit]", "[ removed by reddit ]", "[removed by moderator]"})
_BOTS = frozenset(
    "automoderator autotldr imgurtranscriber stabbot tweetposter totesmessenger xkcd_transcriber".split()  # noqa: SIM905
)
_BOT_NAME = re.compile(r"(?:[-_](?i:bot)|[a-z0-9]B(?:ot|OT))[-_]?\d*$|^(?i:bot)[-_]")
_BOT_TEXT = re.compile(
    r"\b(?:created|posted|performed|done) (?:automatically )?by a bot\b|action was performed automatically"
    r"|\bi(?:'m| am) a bot[.,!|]",
    re.IGNORECASE,
)


class Post(msgspec.Struct, frozen=True, array_like=True, gc=False):
    """A Reddit comment, or a submission's title (then `parent` is empty and `id` is `thread`); `score` in votes."""

    id: str
    parent: str
    thread: str
    author: str
    text: str
    score: int
    subreddit: str
    created_utc: int


def as_post(record: Record) -> Post | str:
    """The record's post with clean text, or the reason why it is none: deleted, removed, bot, empty."""
    raw = (record.body if record.is_comment else record.title) or ""
    if raw.startswith("["):
        gone = raw.strip().lower()
        if gone in _DELETED:
            return "deleted"
        if gone in _REMOVED:
            return "removed"
    author = record.author or ""
    if author.lower() in _BOTS or _BOT_NAME.search(author):
        return "bot"
    text = clean(raw)
    if not text:
        return "empty"
    if ("bot" in text or "auto" in text) and _BOT_TEXT.search(text):  # the pattern alone is slow
        return "bot"
    number = (record.id or "").rpartition("_")[2]
    thread = "t3_" + (record.link_id or number).rpartition("_")[2]
    return Post(
        id=f"t1_{number}" if record.is_comment else thread,
        parent=_parent(record.parent_id or thread, thread) if record.is_comment else "",
        thread=thread,
        author="" if author.startswith("[") else author,  # [deleted], [anonymous]: nobody that can be told from others
        text=text,
        score=as_int(record.score, UNKNOWN_SCORE),
        subreddit=record.subreddit or "",
        created_utc=as_int(record.created_utc, 0),
    )


@dataclass(frozen=True, slots=True)
class Forest:
    """The posts of one thread by id, in the order of their ids, and what was left out or came without a parent."""

    posts: dict[str, Post]
    dropped: Counter[str]
    orphans: int

    def leaves(self) -> list[Post]:
        """The posts that no kept post answers."""
        answered = {post.parent for post in self.posts.values()}
        return [post for post in self.posts.values() if post.id not in answered]

    def paths(self, max_turns: int) -> Iterator[Sequence[Post]]:
        """Yield one path a leaf, the oldest post first: the leaf and the posts above it, `max_turns` at most."""
        for leaf in self.leaves():
            path = [leaf]
            while len(path) < max_turns and (above := self.posts.get(path[-1].parent)):
                path.append(above)
            path.reverse()
            yield path


def plant(posts: Iterable[Post]) -> Forest:
    """Build a thread's forest. Of several posts with one id the first stays; posts in a ring of parents are left out.

    The order of posts does not matter otherwise: a parent may come after its replies. A comment whose parent comment
    never comes is an orphan and starts a path.
    """
    kept: dict[str, Post] = {}
    dropped: Counter[str] = Counter()
    for post in posts:
        if post.id in kept:
            dropped["duplicate id"] += 1
        else:
            kept[post.id] = post
    for name in _rings({post.id: post.parent for post in kept.values()}):
        del kept[name]
        dropped["parent loop"] += 1
    orphans = sum(post.parent.startswith("t1_") and post.parent not in kept for post in kept.values())
    return Forest({name: kept[name] for name in sorted(kept, key=age)}, dropped, orphans)


def age(name: str) -> tuple[int, str]:
    """Sort key of full names: ids are base 36 and grow, so this is the order of writing; a title comes first."""
    return (0 if name.startswith("t3_") else len(name), name)


def _rings(parents: dict[str, str]) -> list[str]:
    """Names that are their own ancestors. Each name is visited once: a walk ends where an earlier walk has been."""
    walk_of: dict[str, int] = {}
    rings: list[str] = []
    for walk, start in enumerate(parents):
        name = start
        while name in parents and name not in walk_of:
            walk_of[name] = walk
            name = parents[name]
        if walk_of.get(name) == walk:  # back on this very walk: a ring begins here
            first = name
            rings.append(name)
            while (name := parents[name]) != first:
                rings.append(name)
    return rings


def _parent(parent: str, thread: str) -> str:
    if parent.startswith(("t1_", "t3_")):
        return parent
    number = parent.rpartition("_")[2]
    return thread if f"t3_{number}" == thread else f"t1_{number}"
