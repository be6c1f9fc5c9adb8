"""The `released` preset: the rules of the authors' released extractor, to the letter (its Makefile's settings).

A comment is absent when it is "[deleted]", holds ">" or has fewer than two words, and so is a thread without a
submission of two comments or more. One of over 30 words stays in the tree without its text: it cuts the paths below it.
Each leaf gives an instance; its turns are normalised, and then it must pass `reason_against`. Word lists, which the
released settings leave out, are the `paper` preset's. Source: reddit_extractor/src/reddit.py of microsoft/DialoGPT.
"""

import re
from collections.abc import Iterable, Iterator, Sequence

from msgspec import UNSET

from dialogpt.data import ExtractConfig
from dialogpt.data.dumps import Record, as_int, lack, parent_of
from dialogpt.data.filters import repeats, words_up_to
from dialogpt.data.presets.tweet import tweet_words
from dialogpt.data.reddit import Forest, Mark, Post, age, as_session
from dialogpt.data.tally import Tally
from dialogpt.session import Session

MIN_COMMENTS = 2  # of a submission
LONGEST_WORD = 30  # characters of a word of the target
TURNS_AT_ONCE = 50_000  # kept as words, at half a kilobyte each
ABBREVIATIONS = (("b/c", "because"), ("j/k", "just kidding"), ("w/o", "without"), ("w/", "with"))

_KEPT = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789()[]:,.!?' "
_ASCII = bytes(code if chr(code) in _KEPT else 32 for code in range(256))
_NOT_KEPT = re.compile(r"[^A-Za-z0-9()\[\]:,.!?'“” ]")
_LINK = re.compile(r"(?:^|[^A-Za-z0-9'])URL")  # elsewhere the tokenizer may take it apart: `myURL`
_CAPITALS = bytes(65 if chr(code) in "ABCDEFGHIJKLMNOPQRSTUVWXYZ" else 32 for code in range(256))  # all as one: A


class Released:
    """Records -> posts -> sessions by the released rules; `config` holds the resolved settings."""

    def __init__(self, config: ExtractConfig) -> None:
        self.config = config

    def posts(self, records: Iterable[Record], order: int, tally: Tally) -> tuple[list[Post], list[Mark]]:
        """The posts of a block of records; what is left out is counted. This loop is half of the first pass's time."""
        min_words, max_words = self.config.min_words or 0, self.config.max_words or 0
        posts: list[Post] = []
        others, deleted, quotes, bare, short, long = (list[Record]() for _ in range(6))
        for record in records:
            body, name, thread = record.body, record.id, record.link_id
            if body is None or not name or not thread:
                others.append(record)
            elif body == "[deleted]":
                deleted.append(record)
            elif ">" in body or ("&" in body and "&gt;" in body):
                quotes.append(record)
            elif (score := record.score) is UNSET or record.author is UNSET or (parent := record.parent_id) is UNSET:
                bare.append(record)
            else:
                if type(parent) is not str:
                    record.parent_id = parent = parent_of(parent, thread)
                if "\\" in body:
                    record.body = body = body.replace("\\", "")
                many = len(body) > 2 * max_words
                words = words_up_to(body, max_words) if many else len(body.split(None, min_words))
                if words < min_words:
                    short.append(record)
                elif words > max_words:
                    long.append(record)
                else:
                    votes = score if type(score) is int else as_int(score, 0)
                    author, subreddit = record.author or "", record.subreddit or ""
                    posts.append(Post(f"t1_{name}", parent, thread, author, body, votes, subreddit, order))
        tally.counts["comments"] += len(posts) + sum(map(len, (deleted, quotes, bare, short, long)))
        tally.counts["posts"] += len(posts)
        drops = (
            ("deleted", deleted), ("quote", quotes), ("missing field", bare),
            ("too few words", short), ("too many words", long),
        )  # fmt: skip
        for reason, found in drops:
            tally.drop_all(f"comment: {reason}", found, lambda record: (record.id, record.body))
        # A post that a long comment answers is not a leaf.
        marks = [(record.link_id or "", parent) for record in long if (parent := str(record.parent_id))[:3] == "t1_"]
        self._add_submissions(others, order, posts, marks, tally)
        return posts, marks

    def _add_submissions(
        self, records: Iterable[Record], order: int, posts: list[Post], marks: list[Mark], tally: Tally
    ) -> None:
        """Add the submissions among the records: their titles when they are asked for, else marks."""
        few, kept = [], 0
        for record in records:
            comments = record.num_comments
            # A comment is among them only when it lacks something.
            if not record.id or record.title is None or record.body is not None:
                tally.drop(str(lack(record)), record.id, record.body)
            elif (comments if type(comments) is int else as_int(comments, 0)) < MIN_COMMENTS:
                few.append(record)
            else:
                kept += 1
                name = f"t3_{record.id}"
                if self.config.title and record.title:
                    author, subreddit = record.author or "", record.subreddit or ""
                    title = f"title: {record.title}".replace("\\", "")
                    posts.append(Post(name, "", name, author, title, as_int(record.score, 0), subreddit, order))
                else:
                    marks.append((name, name))
        tally.counts["submissions"] += kept + len(few)
        tally.counts["posts"] += kept
        tally.drop_all(f"submission: fewer than {MIN_COMMENTS} comments", few, lambda record: (record.id, record.title))

    def sessions(self, forest: Forest, tally: Tally) -> Iterator[Session]:
        """The sessions of the forest's threads, in the order of their leaves; paths that give none are counted."""
        turns: dict[str, Normal] = {}  # of the thread at hand: its paths share their first turns; of a huge one, some
        thread = ""
        for leaf in self._leaves(forest, tally):
            if leaf.thread != thread or len(turns) > TURNS_AT_ONCE:
                thread = leaf.thread
                turns.clear()
            path = forest.path(leaf, self.config.max_turns or 0)
            found = []
            for post in path:
                if (normal := turns.get(post.id)) is None:
                    normal = turns[post.id] = Normal(post.text)
                found.append(normal)
            if len(path) < self.config.min_turns:
                reason: str | None = "too few turns"
            else:
                reason = self.reason_against(found)
            if reason is None:
                yield as_session(path, [normal.line for normal in found])
            else:
                tally.drop(f"path: {reason}", leaf.id, "\n".join(post.text for post in path))

    def reason_against(self, turns: Sequence["Normal"]) -> str | None:
        return reason_against(turns, self.config.max_session_words or 0)

    def _leaves(self, forest: Forest, tally: Tally) -> list[Post]:
        """The leaves, in order, that have a text and a turn before them, in a thread whose submission is there."""
        posts, least = forest.posts, self.config.min_score
        titles = [name for name in posts if name.startswith("t3_")] if self.config.title else []
        there = forest.marks.union(titles)
        lost = [post for post in posts.values() if post.thread not in there]
        tally.counts["posts"] -= len(lost)
        leaves = [leaf for leaf in forest.leaves if leaf.parent and leaf.thread in there]
        tally.counts["paths"] += len(leaves)
        alone, low, kept = (list[Post]() for _ in range(3))
        for leaf in leaves:
            if leaf.parent not in posts or forest.above(leaf) is None:
                alone.append(leaf)
            elif leaf.score < least:
                low.append(leaf)
            else:
                kept.append(leaf)
        drops = ("comment: no submission", lost), ("path: too few turns", alone), ("path: low score", low)
        for reason, found in drops:
            tally.drop_all(reason, found, lambda post: (post.id, post.text))
        return sorted(kept, key=age)


class Normal:
    """A turn on its way to what the released script prints; with a `reason`, no instance may hold it.

    Its words are computed when needed: that is the expensive part, and many turns are beside one that fails.
    """

    __slots__ = ("_line", "_words", "reason", "text")

    def __init__(self, text: str) -> None:
        self.text = text = blank_out(text)
        self._line: str | None = None
        self._words: list[str] = []
        self.reason: str | None = None
        if "URL" in text and (_LINK.search(text) or "__url__" in self.line):
            self.reason = "url"
        elif "(" in text or ")" in text or "[" in text or "]" in text:
            self.reason = "special markers"

    @property
    def line(self) -> str:
        """The words with a blank between them."""
        if self._line is None:
            words = tweet_words(self.text.replace("MENTION", "__mention__").replace("URL", "__url__"))
            line = " ".join(words)
            if line.count(" ") >= len(words):  # an ellipsis may hold blanks
                words = line.split()
                line = " ".join(words)
            self._words, self._line = words, line
        return self._line

    @property
    def words(self) -> list[str]:
        return self._words if self.line else []


def blank_out(text: str) -> str:
    """A turn without hashtags, `URL` for links, abbreviations spelled out, and blanks for most other characters."""
    if "#" in text or "http" in text.lower():
        text = " ".join(_without_link(word) for word in text.split() if word[0] != "#")
    if "/" in text:
        for short, long in ABBREVIATIONS:
            text = text.replace(short, long)
    if "__" in text:
        text = text.replace("__mention__", "MENTION").replace("__url__", "URL")
    return text.encode().translate(_ASCII).decode() if text.isascii() else _NOT_KEPT.sub(" ", text)


def _without_link(word: str) -> str:
    at = word.lower().find("http")
    return f"{word[:at]} URL" if at >= 0 else word


def reason_against(turns: Sequence[Normal], max_words: int) -> str | None:
    """Why an instance is left out, as the released `filter_instance` has it; its last turn is the target.

    `max_words` 0 is no limit.
    """
    for turn in turns:
        if turn.reason:
            return turn.reason
    # As there, a weight for each turn and EOS between those of the source count as words.
    if max_words and sum([len(turn.words) for turn in turns]) + 2 * len(turns) - 2 > max_words:
        return "too many words"
    target = turns[-1].words
    if not target:
        return "empty target"
    if max(map(len, target)) > LONGEST_WORD:
        return "long word"
    if b"AAAAA" in "\n".join([turn.line for turn in turns]).encode().translate(_CAPITALS):
        return "capitals"
    return "repeated word" if repeats(["1.0", *target]) else None  # the weight stood before the target
