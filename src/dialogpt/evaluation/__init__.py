"""Stage 6: hypotheses + references -> scores.

`evaluate` reads systems' replies and the references (`inputs`), measures (`bleu`, `nist`, `meteor`, `diversity`,
`habits`), says how sure the numbers are (`significance`) and prints the paper's table (`report`). No torch.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec

Format = Literal["table", "json", "tsv", "latex"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateConfig:
    """Settings of `evaluate`: systems' replies and references -> the paper's table of scores."""

    hyps: Annotated[tuple[Path, ...], "a file for each system: text, a reply a line, or what `generate` writes"]
    refs: Annotated[
        tuple[Path, ...],
        "text files, one for each reference: --refs A B C; or one TSV or JSONL, several references a line",
    ]
    metrics: Annotated[
        tuple[str, ...], "families or names: --metrics bleu nist-4 distinct (default: all that can be computed)"
    ] = ()
    format: Annotated[Format, "how the scores are printed"] = "table"
    clean: Annotated[
        bool, "clean replies and references as the authors' script, for English (default: as they are)"
    ] = False
    training: Annotated[Path | None, "sessions of the training data: how much of the replies is copied from them"] = (
        None
    )
    samples: Annotated[int, "bootstrap samples for the 95% intervals and paired tests (0: none)"] = 1000
    trials: Annotated[int, "trials of the approximate randomisation test, with several systems (0: none)"] = 10_000
    seed: Annotated[int, "same seed, same intervals"] = 1


class Score(msgspec.Struct, frozen=True, kw_only=True):
    """A metric of a system; `signature` says how it was computed, and why there is no `value` where there is none.

    `low` and `high` are a 95% interval. BLEU, METEOR, Distinct and shares are fractions, entropy is in nats.
    """

    system: str
    name: str
    value: float | None
    signature: str
    low: float | None = None
    high: float | None = None
