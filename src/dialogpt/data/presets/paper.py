"""The `paper` preset: the released rules, and what the paper states (section 3.1) but the released code lacks.

Here: a response must hold one of the 50 most frequent words. Elsewhere: bland responses, which take the whole corpus
to tell (data/blandness.py); offensive subreddits, and phrases whose turns stay as context without loss
(data/blocklist.py).
"""

from collections.abc import Sequence

from dialogpt.data.presets.released import Normal, Released

# The 50 most frequent words of English, as most counts of mixed text have them.
FREQUENT_WORDS = frozenset(
    "the be to of and a in that have i it for not on with he as you do at this but his by from they we say her she or "  # noqa: SIM905
    "an will my one all would there their what so up out if about who is are was me".split()
)


class Paper(Released):
    def reason_against(self, turns: Sequence[Normal]) -> str | None:
        reason = super().reason_against(turns)
        if reason is None and FREQUENT_WORDS.isdisjoint(word.lower() for word in turns[-1].words):
            return "no frequent word"
        return reason
