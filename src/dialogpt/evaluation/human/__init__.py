"""Human judgement: systems' replies to the same contexts -> judgements -> who wins, and how certain that is.

`judge` puts a study into one SQLite file and asks its judges, blind, on a web page or in the terminal. `judge report`
reads that file, or a table of ratings as DSTC-7 published it, and prints the paper's table with statistics. No torch.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec

from dialogpt.evaluation import Format

Kind = Literal["pairs", "ratings"]
PAIR_CRITERIA = ("relevance", "informativeness", "human-likeness")  # the paper's
RATING_CRITERIA = ("relevance", "informativeness")  # those of DSTC-7
RATINGS = (1, 2, 3, 4, 5)


class Judgement(msgspec.Struct, frozen=True, kw_only=True):
    """What a judge said of an item by one criterion.

    `systems` are the two of a pair, or the one that was rated. `value` of a pair is 1 where the first system's reply is
    better, 0 for a tie, -1 where the second's is, whichever was shown first; for a rating it is 1 to 5.
    """

    judge: str
    item: str  # the context's id
    criterion: str
    systems: tuple[str, ...]
    value: int
    swapped: bool = False  # for a pair: whether the second system's reply was shown first, as A
    seconds: float = 0.0  # since the item was shown; the same for all its criteria
    passed: bool | None = None  # for an attention check: whether it was answered as asked; it counts for nothing else


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeConfig:
    """Settings of `judge`: systems' replies to the same contexts -> a blind study, on a web page."""

    study: Annotated[Path, "the study's file (SQLite): made from --hyps, or continued if it exists"]
    hyps: Annotated[tuple[Path, ...], "a file for each system, as `evaluate` reads them: --hyps A.jsonl B.jsonl"] = ()
    refs: Annotated[
        tuple[Path, ...], "references, as `evaluate` reads them, if the replies do not include their contexts"
    ] = ()
    kind: Annotated[Kind, "pairs: which of two replies is better, or a tie; ratings: one reply, 1 to 5"] = "pairs"
    against: Annotated[
        Literal["first", "all"], "pairs of three or more systems: each against the first one, or all against all"
    ] = "first"
    criteria: Annotated[
        tuple[str, ...], "what is asked of each item (default: the paper's; for ratings, DSTC-7's)"
    ] = ()
    items: Annotated[int, "contexts, drawn at random (0: all of them)"] = 0
    judges: Annotated[int, "judges for each item"] = 3
    check_every: Annotated[int, "one attention check in every N items of a judge (0: none)"] = 20
    names: Annotated[
        tuple[str, ...], "print a link for each of these judges (default: whoever opens the page gives a name)"
    ] = ()
    terminal: Annotated[str, "judge here in the terminal under this name, without a page"] = ""
    host: Annotated[str, "address to listen on: 127.0.0.1 is this machine only"] = "127.0.0.1"
    port: Annotated[int, "port to listen on"] = 8000
    seed: Annotated[int, "same seed, same items and sides"] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeReportConfig:
    """Settings of `judge report`: judgements -> wins, ties and losses or mean ratings, with how sure they are."""

    study: Annotated[
        Path, "a study's file, or a TSV of ratings: JudgeID, InstanceID, SystemID and a column per criterion"
    ]
    hyps: Annotated[tuple[Path, ...], "the systems' replies: prints how metrics correlate with the judges"] = ()
    refs: Annotated[tuple[Path, ...], "references of those replies, as `evaluate` reads them"] = ()
    metrics: Annotated[tuple[str, ...], "metrics to correlate, as `evaluate` names them (default: all)"] = ()
    format: Annotated[Format, "how the report is printed"] = "table"
    plot: Annotated[Path | None, "draw it to this file, PNG, SVG or PDF (extra: plots)"] = None
    preferences: Annotated[
        Path | None, "also write what judges preferred to this file, JSONL, on which a ranker can be trained"
    ] = None
    keep_flagged: Annotated[bool, "also count the judges who failed their checks"] = False
    samples: Annotated[int, "bootstrap samples of the items for 95% intervals (0: none)"] = 1000
    seed: Annotated[int, "same seed, same intervals"] = 1
