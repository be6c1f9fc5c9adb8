"""The paper's own rows of its two automatic tables (arXiv 1911.00536), shown below ours, not to be matched exactly.

Only parts of the test sets still exist; of the Reddit set only the human responses were released.
"""

from collections.abc import Mapping, Sequence

from dialogpt.evaluation import Score
from dialogpt.evaluation.report import PAPER

PERCENT = ("bleu-2", "bleu-4", "meteor", "distinct-1", "distinct-2")  # as printed; scores are fractions

Rows = Mapping[str, Sequence[float]]
TABLES: Mapping[str, Rows] = {
    "reddit-6k": {
        "117M": (2.39, 2.41, 10.54, 1.55, 7.53, 10.78, 8.6, 39.9, 12.8),
        "345M": (3.00, 3.06, 16.96, 4.56, 9.81, 9.13, 6.8, 26.3, 12.2),
        "762M": (2.84, 2.90, 18.66, 5.25, 9.66, 9.72, 7.76, 29.93, 11.2),
        "345M, beam": (3.40, 3.50, 21.76, 7.92, 10.74, 10.48, 12.38, 48.74, 11.3),
        "345M, MMI": (3.28, 3.33, 15.68, 3.94, 11.23, 11.25, 9.39, 45.55, 17.2),
        "human": (3.41, 4.25, 17.90, 7.48, 10.64, 11.0, 14.5, 63.0, 13.1),
    },
    "dstc7": {
        "winner of DSTC-7": (2.51, 2.52, 14.35, 1.83, 8.07, 9.03, 10.89, 32.49, 15.1),
        "345M": (2.80, 2.82, 14.16, 2.31, 8.51, 10.08, 9.13, 39.73, 16.9),
        "345M, beam": (2.92, 2.97, 19.18, 6.05, 9.29, 9.57, 15.73, 51.03, 14.2),
        "human": (2.62, 2.65, 12.35, 3.13, 8.31, 10.45, 16.66, 67.01, 18.8),
    },
}
SLIP = {("reddit-6k", "human", "nist-4"): "|a slip: the authors' repository once had 3.50"}


def published(table: str) -> list[Score]:
    """The rows of a table as scores without intervals; none for no table."""
    return [
        Score(
            system=f"paper: {system}",
            name=name,
            value=value / 100 if name in PERCENT else value,
            signature=f"published|arXiv:1911.00536|set:{table}{SLIP.get((table, system, name), '')}",
        )
        for system, values in TABLES.get(table, {}).items()
        for name, value in zip(PAPER, values, strict=True)
    ]
