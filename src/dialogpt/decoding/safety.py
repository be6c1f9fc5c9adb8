"""What is not said: guards reject a hypothesis with a reason, before reranking.

A guard is a function (context, text) -> the reason, or None; a classifier can be one. The phrases are those of
the data filters (`data/blocklist.py`).
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from dialogpt.data.blocklist import (
    DISTRESS_PHRASES,
    HARMLESS_PHRASES,
    OFFENSIVE_PHRASES,
    Blocklist,
    load_phrases,
    shipped,
)
from dialogpt.data.normalize import ARABIC_LETTER
from dialogpt.decoding import Hypothesis
from dialogpt.session import Turn

Guard = Callable[[Sequence[Turn], str], str | None]

POLITE = "Let's talk about something else."  # said when every hypothesis was rejected, twice
POLITE_AR = "لنتحدث عن شيء آخر."  # where they are Arabic
DISTRESS = "distress"  # the reason, and then the phrase
HELP = (
    "I'm only a program, and this is more than I can help with. Please talk to somebody you trust now, or call your "
    "local emergency number. You matter."
)
HELP_AR = (
    "أنا مجرد برنامج، وهذا أكبر مما أستطيع المساعدة فيه. أرجو منك التحدّث الآن إلى شخص قريب موثوق، "
    "أو الاتصال برقم الطوارئ في بلدك. حياتك غالية."
)
HELP_FA = (
    "من فقط یک برنامه‌ام و کمک در این مورد از توانم بیرون است. لطفاً همین حالا با کسی که به او اعتماد دارید صحبت کنید، "
    "یا با شمارهٔ اورژانس کشورتان تماس بگیرید. شما مهم هستید."
)
HELP_HE = (
    "אני רק תוכנה, ואין ביכולתי לעזור במצב כזה. נא לדבר עכשיו עם אדם קרוב שאפשר לסמוך עליו, או להתקשר "
    "למספר החירום המקומי. החיים שלך חשובים."
)
# Letters of a listed phrase -> the line in its language: the first that holds.
_HELP = ((re.compile("[\u05d0-\u05ea]"), HELP_HE), (re.compile("[پچژگکی]"), HELP_FA), (ARABIC_LETTER, HELP_AR))

# The first words of a reply that agrees, in English and Arabic.
_AGREES = re.compile(
    r"\W*(?:(?:yes|yeah|yep|yup|true|exactly|indeed|agreed|absolutely|definitely|certainly|totally|same|right|correct"
    r"|sure|of course|me too|so true|i agree|i think so|i know|you(?:'re| are) right|that(?:'s| is) (?:true|right))"
    r"|نعم|أجل|اجل|ايوه|أيوه|صحيح|بالضبط|طبعا|طبعًا|بالتأكيد|أكيد|اكيد|أتفق|اتفق|أوافق|معك حق)\b",
    re.IGNORECASE,
)


def empty(context: Sequence[Turn], text: str) -> str | None:
    """A reply without a word."""
    return None if text.strip() else "empty"


@dataclass(frozen=True, slots=True)
class Blocked:
    """A reply that holds a listed phrase."""

    phrases: Blocklist

    def __call__(self, context: Sequence[Turn], text: str) -> str | None:
        found = self.phrases.find(text)
        return f"listed phrase: {found}" if found is not None else None


@dataclass(frozen=True, slots=True)
class AgreesWithOffence:
    """A reply that agrees to a turn with a listed phrase."""

    phrases: Blocklist

    def __call__(self, context: Sequence[Turn], text: str) -> str | None:
        if context and _AGREES.match(text) and self.phrases.find(context[-1].text) is not None:
            return "agrees with an offence"
        return None


@dataclass(frozen=True, slots=True)
class InDistress:
    """Any reply to somebody who speaks of ending their life: that is not left to a model.

    A phrase does not count where a harmless one overlaps it and goes on beyond it: "I don't want to live in" Rome.
    """

    phrases: Blocklist
    harmless: Blocklist

    def __call__(self, context: Sequence[Turn], text: str) -> str | None:
        said = context[-1].text if context else ""
        if self.phrases.find(said) is None:
            return None
        harmless = [(start, end) for start, end, _ in self.harmless.places(said)]
        for start, end, phrase in self.phrases.places(said):
            if not any(a < end and start < b and (a < start or end < b) for a, b in harmless):
                return f"{DISTRESS}: {phrase}"
        return None


def default_guards(blocklist: Path | None = None) -> list[Guard]:
    """The guards of `--safety`, with this list of phrases or the one that ships."""
    phrases = load_phrases(blocklist or shipped(OFFENSIVE_PHRASES))
    distress = InDistress(*(load_phrases(shipped(name)) for name in (DISTRESS_PHRASES, HARMLESS_PHRASES)))
    return [distress, empty, Blocked(phrases), AgreesWithOffence(phrases)]


def rejection(guards: Sequence[Guard], context: Sequence[Turn], text: str) -> str | None:
    """The first guard's reason, or None."""
    return next((reason for guard in guards if (reason := guard(context, text)) is not None), None)


def said_instead(rejected: Sequence[Hypothesis]) -> str:
    """The line that is said when every hypothesis was rejected, in their language."""
    reasons = [hypothesis.rejected or "" for hypothesis in rejected]
    distress = next((reason for reason in reasons if reason.startswith(DISTRESS)), None)
    if distress is not None:
        return next((line for letters, line in _HELP if letters.search(distress)), HELP)
    letters = "".join(filter(str.isalpha, "".join(hypothesis.text for hypothesis in rejected)))
    return POLITE_AR if len(ARABIC_LETTER.findall(letters)) > len(letters) / 2 else POLITE
