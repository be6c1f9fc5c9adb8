"""Reddit markdown -> plain text as the person wrote it, on one line; any script, nothing transliterated.

Marks are removed and words stay: links keep their text, emphasis its words. What is not part of the conversation is
removed whole: quoted lines, code blocks, table rules and a closing "Edit: ..." that answers later readers.
"""

import html
import re
import unicodedata

_ENTITY = re.compile(r"&(?:#[0-9]{1,7}|#[xX][0-9a-fA-F]{1,6}|[A-Za-z][A-Za-z0-9]{1,31});")
# Invisible characters: controls that are no white space, soft hyphen, zero-width blank, word joiner, direction marks,
# byte order mark. Not U+200C and U+200D: Persian spelling and joined emoji need them.
INVISIBLE = (
    "\x00-\x08\x0e-\x1b\x7f-\x84\x86-\x9f\xad\u061c"
    "\u180e\u200b\u200e\u200f\u202a-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb"
)
ARABIC_SIGNS = "\u0640\u064b-\u065f\u0670\u06d6-\u06ed"  # tatweel, vowel signs and marks of recitation
ARABIC_LETTERS = str.maketrans("ىیةک", "ييهك")  # typed for each other: at a word's end, by Persian and Urdu keyboards
ARABIC_LETTER = re.compile("[\u0621-\u064a]")
ARABIC_HAMZA = str.maketrans("أإآٱؤئ", "ااااوي")  # -> what is often written in their place
_JUNK = re.compile(f"[{INVISIBLE}]")
_MARKS = re.compile(r"[\\`*_\[\]#>^~|]")

_SHRUG = re.compile(r"¯\\+_?\(ツ\)\\*_?/¯")
_ESCAPE = re.compile(r"\\([!-/:-@\[-`{-~])")
_PROTECTED = re.compile("[\U000f0021-\U000f007e]")
_PLANE = 0xF0000  # private use: stands for escaped characters while the marks are removed

_FENCED = re.compile(r"(?m)^ {0,3}```[^`\n]*\n(?:.*\n)*?(?: {0,3}```[ ]*$|\Z)")
_INDENTED = re.compile(r"(?:\A|(?<=\n\n))(?:(?: {4}|\t).*(?:\n|\Z))+")
_QUOTED = re.compile(r"(?m)^[ ]{0,3}>(?!!|[._-]+[<>]|[:;=]'?-?[()DPp/|\\@oO3]).*$")  # not a spoiler, not >:( or >.<
_RULE = re.compile(r"(?m)^[ \t]*+(?:(?:[-*_=][ \t]*+){3,}|[:| \t]*+-[-: \t]*+\|[-:| \t]*+)$")  # table rules too
_LINE_MARK = re.compile(r"(?m)^[ \t]*(?:#{1,6}[ \t]+|#{2,6}|[-*+•][ \t]+(?=\S))")
_EDIT = re.compile(r"(?im)^[^\w\n]*edit[ \t]*#?[0-9]{0,2}[^\w\n]*?[:\-–—]")
# Spans are bounded: a text of nothing but opening marks would cost the square of its length.
_SPOILER = re.compile(r">!(.{0,600}?)!<")
# The text may hold one level of brackets, the target one level of parentheses.
_LINK = re.compile(
    r"""!?\[((?:[^\[\]\\]|\\.|\[[^\[\]]*\])*)\]\(\s*(?:[^()\s]|\([^()\s]*\))*(?:\s+(?:"[^"]*"|'[^']*'))?\s*\)"""
)
_BEFORE, _AFTER = r"""(?<![^\s(\[{"'“‘*_~/…—-])""", r"""(?![^\s.,:;!?)\]}"'”’*_~/…—-])"""
_STARS = re.compile(rf"{_BEFORE}(\*{{1,3}})(?=[^\s*])((?:[^*]|\*(?!\*)){{0,600}}?[^\s*]\**?)\1{_AFTER}")
_UNDERSCORES = re.compile(
    r"""(?<![^\s(\[{"'“‘*~])(_{1,3})(?=[^\s_])((?:[^_\n]|(?<=\w)_(?=\w))*?[^\s_])\1(?![^\s.,:;!?)\]}"'”’*~])"""
)
_STRIKE = re.compile(r"~~(?=\S)(.+?)(?<=\S)~~")
_CODE = re.compile(r"(`{1,3})(?!`)([^`\n]+?)\1(?!`)")
_RAISED_GROUP = re.compile(r"(?<!\w)\^+\(([^()]*)\)")
_RAISED = re.compile(r"(?<!\S)\^+(?=[^\W_]|[(\"'*])")


def clean(text: str) -> str:
    """The words of a comment or title without entities, markdown, junk and line ends; may be empty."""
    if "&" in text:
        text = _ENTITY.sub(_unescape, text)
    if "\r" in text:
        text = text.replace("\r\n", "\n").replace("\r", "\n")
    if "\n" in text or _MARKS.search(text) or text[:1] in " \t-+•":
        text = strip_markdown(text)
    if "&" in text:  # the dump escapes once; what is still an entity, the writer typed
        text = _ENTITY.sub(_unescape, text)
    if not text.isascii() or not text.isprintable():
        text = unicodedata.normalize("NFC", _JUNK.sub("", text))
    return " ".join(text.split())


def strip_markdown(text: str) -> str:
    """Remove Reddit's marks; line ends stay where they are."""
    if not text.isascii():
        text = _PROTECTED.sub("", text)  # icons of some fonts, which would come out as letters
    if "\\" in text:
        text = _SHRUG.sub(lambda _: _protect(r"¯\_(ツ)_/¯"), text)
        text = _ESCAPE.sub(lambda match: _protect(match[1]), text)
    text = _strip_blocks(text)
    if (edit := _EDIT.search(text)) and text[: edit.start()].strip():
        text = text[: edit.start()]
    if ">!" in text:
        text = _SPOILER.sub(r"\1", text)
    if "](" in text:
        text = _LINK.sub(r"\1", text)
    if "`" in text:
        text = _CODE.sub(r"\2", text)
    if "~~" in text:
        text = _STRIKE.sub(r"\1", text)
    if "^" in text:
        text = _RAISED.sub("", _RAISED_GROUP.sub(r"\1", text))
    if "*" in text:
        text = _STARS.sub(r"\2", _STARS.sub(r"\2", text))  # twice: *it* may stand within **bold**
    if "_" in text:
        text = _UNDERSCORES.sub(r"\2", text)
    return _PROTECTED.sub(lambda match: chr(ord(match[0]) - _PLANE), text)


def _strip_blocks(text: str) -> str:
    """Remove what is not said: code blocks, quoted lines, rules; then the marks at the start of lines."""
    if "```" in text:
        text = _FENCED.sub("", text)
    if "    " in text or "\t" in text:
        text = _INDENTED.sub("", text)
    if ">" in text:
        text = _QUOTED.sub("", text)
    return _LINE_MARK.sub("", _RULE.sub("", text))


def _unescape(entity: re.Match[str]) -> str:
    # html.unescape alone would also turn `rock&not` into a sign: it accepts entities without their semicolon.
    return html.unescape(entity[0])


def _protect(text: str) -> str:
    return "".join(chr(_PLANE + ord(c)) if "!" <= c <= "~" else c for c in text)
