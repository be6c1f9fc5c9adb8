"""The optional language filter: a session is dropped when its text is in another language (extra `language`).

py3langid's naive Bayes over byte n-grams judges the end of a session, offline. A few words leave it unsure, so a
session is dropped only if another language is ten times as likely as the wanted ones together. Of English Reddit
sessions none in 4000 goes, of exchanges of 2 to 6 words 1.6%; of 32 short exchanges in other languages none stays.
"""

import difflib
from collections.abc import Sequence
from functools import cache
from typing import Any

from dialogpt.errors import UsageError
from dialogpt.session import Session

CHARACTERS = 200  # from the end: about 0.2 ms, a microsecond a character
LEAST_RATIO = 0.1

# Languages that the classifier separates from the one that people would name.
_VARIETIES = {"ar": ("ary", "arz"), "zh": ("wuu", "yue"), "no": ("nn",), "uz": ("uzs",), "ku": ("sdh",), "en": ("pcm",)}


class LanguageFilter:
    """Called with a session: "language" when it is in none of the languages, else None; may be pickled.

    Languages are ISO 639 codes as `en` or `ar`. Raises UsageError for an unknown one, and when py3langid is missing.
    """

    def __init__(self, languages: Sequence[str]) -> None:
        self.languages = tuple(languages)
        self._identifier = _load()
        known = self._identifier.labels
        if not self.languages:
            raise UsageError("no language to keep is given", f"known: {' '.join(sorted(known))}")
        for code in self.languages:
            if code not in known:
                close = difflib.get_close_matches(code.lower(), known, 1)
                asked = f"did you mean {close[0]!r}? " if close else ""
                raise UsageError(f"unknown language {code!r}", f"{asked}known: {' '.join(sorted(known))}")
        self._wanted = {name for code in self.languages for name in (code, *_VARIETIES.get(code, ()))}

    def __call__(self, session: Session) -> str | None:
        text = "\n".join(turn.text for turn in session.turns)[-CHARACTERS:]
        shares = self._identifier.rank(text)  # the likeliest first
        wanted = sum(share for name, share in shares if name in self._wanted)
        return "language" if wanted < LEAST_RATIO * shares[0][1] else None

    def __reduce__(self) -> tuple[type["LanguageFilter"], tuple[tuple[str, ...]]]:
        return LanguageFilter, (self.languages,)


@cache
def _load() -> Any:
    """The classifier, one per process: loading it takes half a second."""
    try:
        from py3langid.langid import MODEL_FILE, LanguageIdentifier  # type: ignore[import-untyped]
    except ImportError as error:
        raise UsageError(
            "telling languages apart needs py3langid", 'install it: pip install "dialogpt[language]"'
        ) from error
    return LanguageIdentifier.from_model_file(MODEL_FILE, norm_probs=True)
