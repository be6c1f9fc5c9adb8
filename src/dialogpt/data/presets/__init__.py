"""What becomes a session: the three presets of `extract`, as settings and as rules.

open       natural text in any language                   open.py
released   the authors' extractor to the letter           released.py
paper      that, and what only the paper states           paper.py
"""

import dataclasses
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, Protocol

from dialogpt.data import ExtractConfig
from dialogpt.data.blocklist import OFFENSIVE_PHRASES, OFFENSIVE_SUBREDDITS, shipped
from dialogpt.data.dumps import Record
from dialogpt.data.reddit import Forest, Mark, Post
from dialogpt.data.tally import Tally
from dialogpt.errors import UsageError, check_least, given
from dialogpt.files import is_url
from dialogpt.session import Session

NONE = Path("none")  # the name of no list

_RELEASED = {
    "max_turns": 5, "min_words": 2, "max_words": 30, "max_session_words": 200, "title": False,
    "blocklist": NONE, "block_subreddits": NONE, "bland_share": 0.0, "dedup": False,
}  # fmt: skip
DEFAULTS: dict[str, dict[str, Any]] = {
    "open": {
        "max_turns": 10, "min_words": 1, "max_words": 100, "max_session_words": 0, "title": True,
        "blocklist": NONE, "block_subreddits": NONE, "bland_share": 0.0, "dedup": True,
    },
    "released": _RELEASED,
    "paper": _RELEASED | {
        "blocklist": shipped(OFFENSIVE_PHRASES), "block_subreddits": shipped(OFFENSIVE_SUBREDDITS), "bland_share": 0.9,
    },
}  # fmt: skip


class Rules(Protocol):
    """Records -> posts and marks (first pass), their forest -> sessions (second pass); what is left out is counted."""

    def posts(self, records: Iterable[Record], order: int, tally: Tally) -> tuple[list[Post], list[Mark]]: ...
    def sessions(self, forest: Forest, tally: Tally) -> Iterator[Session]: ...


def resolve(config: ExtractConfig) -> ExtractConfig:
    """The settings with the preset's own in place of those that were not given; UsageError if they cannot work."""
    own = DEFAULTS[config.preset]
    missing = {name: value for name, value in own.items() if getattr(config, name) is None}
    config = dataclasses.replace(config, **missing)
    no_lists: dict[str, Any] = {n: None for n in ("blocklist", "block_subreddits") if getattr(config, n) == NONE}
    config = dataclasses.replace(config, **no_lists, **_absolute(config, no_lists))
    check_least(config, min_words=1, max_session_words=0, bland_count=0, sample_dropped=0)
    if config.min_turns < 2:
        raise UsageError(f"--min-turns {config.min_turns} is below 2", "a session is a turn and its response at least")
    if (config.max_turns or 0) < config.min_turns:
        raise UsageError(f"--max-turns {config.max_turns} is below --min-turns {config.min_turns}", "raise --max-turns")
    if (config.max_words or 0) < (config.min_words or 0):
        raise UsageError(f"--max-words {config.max_words} is below --min-words {config.min_words}", "raise --max-words")
    for name, share in (("bland-share", config.bland_share or 0.0), ("max-overlap", config.max_overlap)):
        if not 0 <= share <= 1:
            raise UsageError(f"--{name} {share} is not a share", "name a number from 0 to 1")
    no_share = "bland_share" in missing and not config.bland_share
    for name, needed, lacks in (
        ("bland_count", "--bland-share", no_share),
        ("max_overlap", "--held-out", not config.held_out),
    ):
        if lacks and given(config, name):
            flag = f"--{name.replace('_', '-')} {getattr(config, name)}"
            raise UsageError(f"{flag} is not used without {needed}", f"add {needed}, or leave it out")
    return config


def _absolute(config: ExtractConfig, no_lists: Iterable[str]) -> dict[str, Any]:
    """The paths among the settings, absolute: a worker on a cluster has a different current folder."""
    lists = {name: getattr(config, name) for name in ("blocklist", "block_subreddits") if name not in no_lists}
    return {
        "dumps": tuple(path if is_url(path) else Path(path).absolute() for path in config.dumps),
        "held_out": tuple(path.absolute() for path in config.held_out),
        **{name: path.absolute() for name, path in lists.items() if path},
    }


def rules_for(config: ExtractConfig) -> Rules:
    """The rules of resolved settings."""
    if config.preset == "open":
        from dialogpt.data.presets.open import Open

        return Open(config)
    if config.preset == "paper":
        from dialogpt.data.presets.paper import Paper

        return Paper(config)
    from dialogpt.data.presets.released import Released

    return Released(config)
