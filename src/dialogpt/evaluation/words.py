"""Texts -> words, in the three ways of the paper's numbers.

`mteval_words`, for BLEU and NIST, is the tokenisation of mteval-v13a and v14 (sacreBLEU's `13a`, lower case), after `&`
and `<` have become blanks as in the authors' script, which writes XML for mteval. `blank_words` splits at white space,
for entropy, Distinct and length. `released_clean` is what the authors' script does with `--clean` before anything else
(`clean_str` in dstc/tokenizers.py); it keeps English letters only.
"""

import re
from collections.abc import Iterable, Sequence

from dialogpt.data.presets.tweet import tweet_words

# mteval's rules, except those for blanks. Later rules see what earlier ones made.
_RULES = (
    (re.compile(r"([{-~\[-`!-&(-+:-@/])"), r" \1 "),
    (re.compile(r"([^0-9])([.,])"), r"\1 \2 "),
    (re.compile(r"([.,])([^0-9])"), r" \1 \2"),
    (re.compile(r"([0-9])(-)"), r"\1 \2 "),
)

_MARKDOWN_LINK = re.compile(r"\[([^\]]*)\] \( *__url__ *\)")
_NOT_KEPT = re.compile(r"[^A-Za-z0-9():,.!?\"']")
_CONTRACTIONS = ("'s", "'m", "'re", "n't", "'ll", "'ve", "'d", "'em")


def mteval_words(texts: Sequence[str]) -> list[list[str]]:
    """The words of each text in lower case, as mteval has them."""
    # All texts at once: the blanks at both ends of a line keep the rules from reaching into the next.
    text = "\n".join(f" {_one_line(text)} " for text in texts).lower().replace("&", " ").replace("<", " ")
    for rule, replacement in _RULES:
        text = rule.sub(replacement, text)
    return [line.split() for line in text.split("\n")] if texts else []


def blank_words(texts: Iterable[str]) -> list[list[str]]:
    return [text.split() for text in texts]


def released_clean(text: str) -> str:
    """The text as the authors' script cleans it: lower case, `__url__` for links, contractions taken apart."""
    text = " ".join(_without_link(word) for word in text.lower().split())
    text = _MARKDOWN_LINK.sub(r"\1", text).replace("__url__", "URL")
    text = _NOT_KEPT.sub(" ", text).replace("URL", "__url__")
    # To the tokenizer one quotation mark is as good as another, and tweet_words knows the curved one.
    words = tweet_words(text.replace('"', "“"))
    text = f" {' '.join(words)} ".replace("“", '"').replace(" won't ", " will n't ").replace(" can't ", " can n't ")
    for ending in _CONTRACTIONS:
        text = text.replace(f"{ending} ", f" {ending} ")
    return " ".join(text.split())


def _one_line(text: str) -> str:
    return text.replace("-\n", "").replace("\n", " ") if "\n" in text else text


def _without_link(word: str) -> str:
    at = word.find("http")
    return f"{word[:at]} __url__" if at >= 0 else word
