"""Text in the few characters that the released extractor leaves -> the words of NLTK's `TweetTokenizer`, in their case.

The released script tokenises with it after it has blanked everything but ``A-Za-z0-9()[]:,.!?'“” _`` and taken out
links, so that most of its patterns (addresses, handles, tags, arrows, HTML, emoji) cannot match; what can is here, in
its order. That the result is equal is tested against NLTK itself. Source: nltk/tokenize/casual.py.
"""

import re

# A bare domain: reddit.com. It is looked for only in texts that hold `_DOTTED`: in a long run of digits it takes the
# square of their number.
_DOMAIN = r"[A-Za-z0-9]++(?:[.][A-Za-z0-9]++){0,126}[.][A-Za-z]{2,13}\b |"
# Words come first, as the most frequent; in NLTK they are third, but nothing else starting with a letter is as long.
_OTHER = r"""
      [A-Za-z][A-Za-z'_]+[A-Za-z]                                                 # a word, with apostrophes
    | (?:[01][ .)]*)?(?:\(?\d{3}[ .)]*)?\d{3}[ .)]*\d{4}                          # a phone number
    | [:8][oO']?[)\](\[dDpP:] | [)\](\[dDpP:][oO']?[:8]                           # emoticons, whose eyes may be 8
    | \d+[,.:]\d+ | \w+                                                           # numbers; other words
    | \.(?:[ ]*\.)+ | \S                                                          # ellipses; any other character
    """
_WORD = re.compile(_OTHER, re.VERBOSE)
_WORD_OR_DOMAIN = re.compile(_DOMAIN + _OTHER, re.VERBOSE)
_PLAIN_WORD = re.compile(r"[A-Za-z](?:[A-Za-z']*[A-Za-z])?|\.(?: *\.)+|\S")
_HANGING = re.compile(r"([^A-Za-z0-9 ])\1{3,}")  # more than three of a kind; of blanks, any number is as good as one

# What rules out the faster ways; each is quick to search for.
_USUAL = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz.,!?' "
_ODD_DOT = re.compile(r"\.(?:[A-Za-z]| *\.)")  # of a domain, or of an ellipsis
_DOTTED = re.compile(r"\.[A-Za-z]")
_OUTER_QUOTE = re.compile(r"'(?:(?![A-Za-z])|(?<![A-Za-z]'))")  # what begins with a letter is found much faster


def tweet_words(text: str) -> list[str]:
    """The words of a text that holds only the characters named above; an ellipsis may hold blanks."""
    odd_dot = "." in text and _ODD_DOT.search(text)
    if odd_dot and _DOTTED.search(text):
        return _WORD_OR_DOMAIN.findall(_HANGING.sub(r"\1\1\1", text))
    if text.encode().translate(None, _USUAL):  # something is left
        return _WORD.findall(_HANGING.sub(r"\1\1\1", text))
    if (
        odd_dot or ("'" in text and _OUTER_QUOTE.search(text))
        or "!!!!" in text or "????" in text or ",,,," in text
    ):  # fmt: skip
        return _PLAIN_WORD.findall(_HANGING.sub(r"\1\1\1", text))
    for mark in ".,!?":
        if mark in text:
            text = text.replace(mark, f" {mark} ")
    return text.split()
