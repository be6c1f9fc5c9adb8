"""Posts -> the forest of their threads -> root-to-leaf paths.

A post is a comment, or a submission's title as the thread's first post; ids are Reddit's full names (t1_ comment, t3_
submission). A comment that is not kept is not in the forest, so its replies are roots of their own. Everything here is
iterative and linear: a chain of 100,000 replies is as good as a short one.
"""

from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

import msgspec

from dialogpt.session import Session, Turn


class Post(msgspec.Struct, array_like=True, gc=False):
    """A Reddit comment, or a submission's title (then `parent` is empty and `id` is `thread`); `score` in votes.

    `order` is the post's place among the dumps; `hidden`: its votes were not known yet when the dump was made.
    """

    id: str
    parent: str
    thread: str
    author: str
    text: str
    score: int
    subreddit: str
    order: int = 0
    hidden: bool = False


# A thread, and the name of a post in it that is there in no path: a submission, or what a comment without text answers.
Mark = tuple[str, str]


def known_author(name: str) -> str:
    """The name, or nothing for [deleted] and [anonymous]: nobody that can be told from others."""
    return "" if name.startswith("[") else name


@dataclass(frozen=True, slots=True)
class Forest:
    """Posts of whole threads by id; those that no post answers; what was left out; how many lack their parent.

    `marks` are the names of submissions that are there, and of comments with an answer that has no text.
    """

    posts: dict[str, Post]
    leaves: list[Post]
    marks: set[str]
    dropped: Counter[str]
    orphans: int

    def above(self, post: Post) -> Post | None:
        """The post that this one answers, if it is there, in the same thread."""
        above = self.posts.get(post.parent)
        return above if above is not None and above.thread == post.thread else None

    def path(self, leaf: Post, max_turns: int) -> list[Post]:
        """The posts from the first turn to the leaf, `max_turns` at most."""
        path = [leaf]
        while len(path) < max_turns and (above := self.above(path[-1])):
            path.append(above)
        path.reverse()
        return path


def plant(posts: Sequence[Post], marks: Iterable[str] = ()) -> Forest:
    """Build the forest of posts that have a text, and marks for the others.

    Of posts with one id the last in order stays; posts in a ring of parents are left out. The order does not matter
    otherwise: a parent may come after its replies. A comment whose parent comment never comes is an orphan and starts a
    path.
    """
    dropped: Counter[str] = Counter()
    kept = {post.id: post for post in posts}
    if len(kept) < len(posts):
        dropped["duplicate id"] = len(posts) - len(kept)
        kept = {post.id: post for post in sorted(posts, key=lambda post: post.order)}
        posts = list(kept.values())
    answered = {post.parent for post in kept.values()}
    # Ids grow, so that a ring has a comment that does not come after its parent; few others are like that.
    odd = [p.id for p in posts if p.parent < "t2_" and (p.parent >= p.id or len(p.parent) > len(p.id))]
    if rings := _rings(kept, odd):
        dropped["parent loop"] = len(rings)
        kept = {name: post for name, post in kept.items() if name not in rings}
        answered = {post.parent for post in kept.values()}
    orphans = sum([parent[:3] == "t1_" for parent in answered.difference(kept)])
    answered.update(marks := set(marks))
    return Forest(kept, [post for name, post in kept.items() if name not in answered], marks, dropped, orphans)


def as_turns(path: Sequence[Post], texts: Iterable[str] = ()) -> tuple[Turn, ...]:
    """The posts of a path as turns, with their texts or the given ones in their place."""
    texts = texts or [post.text for post in path]
    return tuple(Turn(text, known_author(post.author)) for post, text in zip(path, texts, strict=True))


def as_session(path: Sequence[Post], texts: Iterable[str] = ()) -> Session:
    """A path as a session, with its posts' texts or the given ones in their place."""
    leaf = path[-1]
    return Session(
        as_turns(path, texts), id=f"{leaf.thread}/{leaf.parent}/{leaf.id}", source=f"reddit/{leaf.subreddit}"
    )


def age(post: Post) -> tuple[int, str, int, str]:
    """Sort key: threads, and the posts of a thread, in the order of writing; ids are base 36 and grow."""
    return len(post.thread), post.thread, len(post.id) if post.parent else 0, post.id


def _rings(posts: Mapping[str, Post], starts: Iterable[str]) -> set[str]:
    """Names above one of `starts` that are their own ancestors. Each is visited once: a walk ends where another was."""
    walk_of: dict[str, int] = {}
    rings: set[str] = set()
    for walk, name in enumerate(starts):
        while name in posts and name not in walk_of:
            walk_of[name] = walk
            name = posts[name].parent
        if walk_of.get(name) == walk:  # back on this very walk: a ring begins here
            while name not in rings:
                rings.add(name)
                name = posts[name].parent
    return rings
