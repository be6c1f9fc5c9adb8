"""Human judgement: systems' replies to the same contexts -> judgements -> who wins, and how sure that is.

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
    better, 0 for a tie, -1 where the second's is, whichever side it stood on; of a rating it is 1 to 5.
    """

    judge: str
    item: str  # the context's id
    criterion: str
    systems: tuple[str, ...]
    value: int
    swapped: bool = False  # of a pair: whether the second system's reply stood first, as A
    seconds: float = 0.0  # from when the item was shown; all its criteria have the same
    passed: bool | None = None  # of an attention check, whether it was answered as asked; it counts in nothing else


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeConfig:
    """Settings of `judge`: systems' replies to the same contexts -> a blind study, on a web page."""

    study: Annotated[Path, "the study's file, SQLite: made from --hyps, or gone on with when it is there"]
    hyps: Annotated[tuple[Path, ...], "a file for each system, as `evaluate` reads them: --hyps A.jsonl B.jsonl"] = ()
    refs: Annotated[
        tuple[Path, ...], "references, as `evaluate` reads them, where the replies do not tell their contexts"
    ] = ()
    kind: Annotated[Kind, "pairs: which of two replies is better, or a tie; ratings: one reply, 1 to 5"] = "pairs"
    against: Annotated[
        Literal["first", "all"], "pairs of three or more systems: each with the first one, or all with all"
    ] = "first"
    criteria: Annotated[
        tuple[str, ...], "what is asked of each item (default: the paper's; of ratings those of DSTC-7)"
    ] = ()
    items: Annotated[int, "contexts, drawn at random (0: all of them)"] = 0
    judges: Annotated[int, "judges for each item"] = 3
    check_every: Annotated[int, "one attention check among so many items of a judge (0: none)"] = 20
    names: Annotated[
        tuple[str, ...], "print a link for each of these judges (without: who opens the page says a name)"
    ] = ()
    terminal: Annotated[str, "judge here, under this name, and open no page"] = ""
    host: Annotated[str, "address to listen at: 127.0.0.1 is this machine alone"] = "127.0.0.1"
    port: Annotated[int, "port to listen at"] = 8000
    seed: Annotated[int, "same seed, same items and sides"] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class JudgeReportConfig:
    """Settings of `judge report`: judgements -> wins, ties and losses or mean ratings, with how sure they are."""

    study: Annotated[
        Path, "a study's file, or a TSV of ratings: JudgeID, InstanceID, SystemID and a column a criterion"
    ]
    hyps: Annotated[tuple[Path, ...], "the systems' replies: prints how metrics correlate with the judges"] = ()
    refs: Annotated[tuple[Path, ...], "references of those replies, as `evaluate` reads them"] = ()
    metrics: Annotated[tuple[str, ...], "metrics to correlate, as `evaluate` names them (default: all)"] = ()
    format: Annotated[Format, "how the report is printed"] = "table"
    plot: Annotated[Path | None, "draw it to this file, PNG, SVG or PDF (extra: plots)"] = None
    keep_flagged: Annotated[bool, "count the judges who failed their checks, too"] = False
    samples: Annotated[int, "bootstrap samples of the items for 95% intervals (0: none)"] = 1000
    seed: Annotated[int, "same seed, same intervals"] = 1
