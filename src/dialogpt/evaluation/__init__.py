"""Stage 6: hypotheses + references -> scores.

`evaluate` reads systems' replies and the references (`inputs`), measures (`bleu`, `nist`, `meteor`, `diversity`,
`habits`; of models `likelihood`), says how sure the numbers are (`scoring`) and prints the paper's table (`report`).
`select` has models tell human responses from others (`selection`). Without models no torch.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import msgspec

Format = Literal["table", "json", "tsv", "latex"]


@dataclass(frozen=True, slots=True, kw_only=True)
class EvaluateConfig:
    """Settings of `evaluate`: systems' replies and references -> the paper's table of scores."""

    hyps: Annotated[tuple[Path, ...], "a file for each system: text, a reply per line, or what `generate` writes"]
    refs: Annotated[
        tuple[Path, ...],
        "text files, one for each reference: --refs A B C; or one TSV or JSONL, several references per line; without "
        "any, only what needs none is measured",
    ] = ()
    metrics: Annotated[
        tuple[str, ...], "families or names: --metrics bleu nist-4 distinct (default: all that can be computed)"
    ] = ()
    format: Annotated[Format, "how the scores are printed"] = "table"
    clean: Annotated[
        bool, "clean replies and references like the authors' script, for English (default: as they are)"
    ] = False
    training: Annotated[Path | None, "sessions of the training data: how much of the replies is copied from them"] = (
        None
    )
    models: Annotated[
        tuple[str, ...], "the systems' models, in the same order: prints their perplexity of the references"
    ] = ()
    published: Annotated[
        Literal["", "reddit-6k", "dstc7"], "print the paper's rows of this test set below, as published"
    ] = ""
    plot: Annotated[Path | None, "draw how long the replies are to this file, PNG, SVG or PDF (extra: plots)"] = None
    samples: Annotated[int, "bootstrap samples for the 95% intervals and paired tests (0: none)"] = 1000
    trials: Annotated[int, "trials of the approximate randomisation test, with several systems (0: none)"] = 10_000
    seed: Annotated[int, "same seed, same intervals"] = 1


@dataclass(frozen=True, slots=True, kw_only=True)
class SelectConfig:
    """Settings of `select`: models and human responses -> how often a model tells them from others (hits@k)."""

    refs: Annotated[tuple[Path, ...], "references with contexts, as `evaluate` reads them, or sessions: the last turn"]
    models: Annotated[tuple[str, ...], "checkpoints, run folders or hub names (default: the bundled model)"] = ()
    backward: Annotated[
        tuple[str, ...], "their backward models, in the same order (default: the companion of each that has one)"
    ] = ()
    mmi_source: Annotated[Literal["last", "all"], "what the backward model predicts: the last turn, or all"] = "last"
    rankers: Annotated[tuple[str, ...], "rankers besides them, such as microsoft/DialogRPT-human-vs-rand"] = ()
    distractors: Annotated[int, "responses to other contexts besides the human one"] = 9
    adversarial: Annotated[bool, "distractors are the responses with the most words like the context's"] = False
    items: Annotated[int, "contexts, drawn at random (0: all)"] = 0
    format: Annotated[Format, "how the scores are printed"] = "table"
    samples: Annotated[int, "bootstrap samples for the 95% intervals and paired tests (0: none)"] = 1000
    trials: Annotated[int, "trials of the approximate randomisation test (0: none)"] = 10_000
    seed: Annotated[int, "same seed, same distractors and intervals"] = 1
    device: Annotated[str, "auto, cpu, cuda, mps"] = "auto"
    precision: Annotated[Literal["auto", "fp32", "bf16", "fp16", "int8", "int4"], "as of `generate`"] = "auto"


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
