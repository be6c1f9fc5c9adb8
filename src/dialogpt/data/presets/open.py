"""The `open` preset: natural text as people wrote it, in any language and script.

Posts that are deleted, removed, by a bot, or fail a filter of `data.filters` are not in the tree: their replies start
paths of their own. The submission's title is the first turn. Texts are cleaned of markup and otherwise kept.
"""

import re
from collections.abc import Iterable, Iterator

from msgspec import UNSET

from dialogpt.data import ExtractConfig
from dialogpt.data.dumps import Record, as_int, lack, parent_of
from dialogpt.data.filters import first_reason, path_filters, post_filters
from dialogpt.data.normalize import clean
from dialogpt.data.reddit import Forest, Mark, Post, age, as_session
from dialogpt.data.tally import Tally
from dialogpt.session import Session

UNKNOWN_SCORE = 1  # a new post's score on Reddit; dumps leave out scores that were still hidden

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


class Open:
    """Records -> posts -> sessions by the open rules; `config` holds the resolved settings."""

    def __init__(self, config: ExtractConfig) -> None:
        self.config = config
        self._post_filters = post_filters(config.min_words or 0, config.max_words or 0)
        self._path_filters = path_filters(config.min_turns or 0, config.min_score or 0, config.max_session_words or 0)

    def posts(self, records: Iterable[Record], order: int, tally: Tally) -> tuple[list[Post], list[Mark]]:
        """The posts of a block of records; what is left out is counted."""
        posts: list[Post] = []
        for record in records:
            if reason := lack(record):
                tally.drop(reason, record.id, record.body)
                continue
            is_comment = record.body is not None
            tally.counts["comments" if is_comment else "submissions"] += 1
            post = as_post(record, order) if is_comment or self.config.title else "not asked for"
            reason = post if isinstance(post, str) else first_reason(post.text, self._post_filters)
            if reason is None and not isinstance(post, str):
                posts.append(post)
            else:
                tally.drop(f"{'comment' if is_comment else 'title'}: {reason}", record.id, record.body or record.title)
        tally.counts["posts"] += len(posts)
        return posts, []

    def sessions(self, forest: Forest, tally: Tally) -> Iterator[Session]:
        """The sessions of the forest's threads, in the order of their leaves; paths that give none are counted."""
        for leaf in sorted(forest.leaves, key=age):
            path = forest.path(leaf, self.config.max_turns or 0)
            tally.counts["paths"] += 1
            if reason := first_reason(path, self._path_filters):
                tally.drop(f"path: {reason}", leaf.id, "\n".join(post.text for post in path))
            else:
                yield as_session(path)


def as_post(record: Record, order: int = 0) -> Post | str:
    """The record's post with clean text, or the reason why it is none: deleted, removed, bot, empty."""
    is_comment = record.body is not None
    raw = (record.body if is_comment else record.title) or ""
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
    number = str(record.id).rpartition("_")[2]
    thread = "t3_" + (record.link_id or number).rpartition("_")[2]
    return Post(
        id=f"t1_{number}" if is_comment else thread,
        parent=_parent(parent_of(record.parent_id, thread), thread) if is_comment else "",
        thread=thread,
        author=author,
        text=text,
        score=as_int(record.score, UNKNOWN_SCORE),
        subreddit=record.subreddit or "",
        order=order,
        hidden=record.score is UNSET or record.score is None or record.score_hidden is True,
    )


def _parent(parent: str, thread: str) -> str:
    if parent.startswith(("t1_", "t3_")):
        return parent
    number = parent.rpartition("_")[2]
    return thread if f"t3_{number}" == thread else f"t1_{number}"
