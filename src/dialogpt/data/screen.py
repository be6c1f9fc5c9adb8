"""What `extract` asks of each session by itself, after its preset's rules: lists, held-out texts, languages."""

from collections.abc import Iterable, Iterator
from itertools import islice

import msgspec

from dialogpt.data import ExtractConfig
from dialogpt.data.blocklist import load_names, load_phrases, mark
from dialogpt.data.dumps import Record, lack
from dialogpt.data.tally import Tally
from dialogpt.session import Session

SESSIONS_AT_ONCE = 1000  # the held-out texts are compared with many at a time


class Screen:
    """Made once a task from resolved settings, which read their lists; raises DataError when a list is bad."""

    def __init__(self, config: ExtractConfig) -> None:
        self.most = config.max_overlap
        self.phrases = load_phrases(config.blocklist) if config.blocklist else None
        self.held_out = self.language = None
        if config.held_out:
            from dialogpt.data.overlap import load_held_out

            self.held_out = load_held_out(config.held_out)
        if config.language:
            from dialogpt.data.language import LanguageFilter

            self.language = LanguageFilter(config.language)

    def __call__(self, sessions: Iterable[Session], tally: Tally) -> Iterator[Session]:
        """The sessions that may stay; a turn with a listed phrase carries no loss."""
        if self.phrases is None and self.held_out is None and self.language is None:
            yield from sessions
            return
        sessions = iter(sessions)
        while batch := list(islice(sessions, SESSIONS_AT_ONCE)):
            yield from self._screened(batch, tally)

    def _screened(self, batch: list[Session], tally: Tally) -> Iterator[Session]:
        overlaps = [False] * len(batch)
        if self.held_out is not None:
            from dialogpt.data.overlap import contaminated

            overlaps = contaminated(batch, self.held_out, self.most).tolist()
        for session, overlap in zip(batch, overlaps, strict=True):
            if self.phrases is not None:
                session = self._marked(session, tally)
            if overlap:
                reason: str | None = "test-set overlap"
            elif not any(turn.learn for turn in session.turns[1:]):
                reason = "no turn to learn"
            else:
                reason = self.language(session) if self.language else None
            if reason is None:
                yield session
            else:
                drop_session(session, reason, tally)

    def _marked(self, session: Session, tally: Tally) -> Session:
        assert self.phrases is not None
        turns, listed = mark(session.turns, self.phrases)
        if not listed:
            return session
        tally.counts["offensive_turns"] += listed
        return msgspec.structs.replace(session, turns=turns)


def blocked_subreddits(config: ExtractConfig) -> frozenset[str]:
    return load_names(config.block_subreddits) if config.block_subreddits else frozenset()


def unblocked(records: list[Record], blocked: frozenset[str], tally: Tally) -> list[Record]:
    """The records that are in no blocked subreddit; the others are counted."""
    kept = []
    for record in records:
        if lack(record) or (record.subreddit or "").casefold() not in blocked:
            kept.append(record)
        else:
            unit, units = ("comment", "comments") if record.body is not None else ("title", "submissions")
            tally.counts[units] += 1
            tally.drop(f"{unit}: blocked subreddit", record.id, record.body or record.title)
    return kept


def drop_session(session: Session, reason: str, tally: Tally) -> None:
    tally.drop(f"path: {reason}", session.id, "\n".join(turn.text for turn in session.turns))
