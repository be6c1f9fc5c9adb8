"""What a bot itself says, in English and Arabic, and the names of its commands.

Arabic is for people whose client is in Arabic, or who write it.
"""

import re
from dataclasses import dataclass

from dialogpt.data.normalize import ARABIC_LETTER

COMMANDS = ("help", "reset", "retry", "undo", "start")  # in the order of the menu; `start` is Telegram's own

_LETTER = re.compile(r"[^\W\d_]")


@dataclass(frozen=True, slots=True)
class Words:
    """One language's sentences; `about` explains each command of the menu."""

    greeting: str
    about: dict[str, str]
    reset: str
    undone: str
    nothing: str
    unknown: str
    text_only: str
    slower: str
    busy: str
    failed: str

    @property
    def help(self) -> str:
        return "\n".join([self.greeting, "", *(f"/{name} - {text}" for name, text in self.about.items())])


ENGLISH = Words(
    greeting="Hello! I am a small language model that chats. I know no facts, so believe nothing I say. "
    "In a group, mention me or reply to me.",
    about={
        "help": "what I am",
        "reset": "begin a new conversation",
        "retry": "another reply to the last message",
        "undo": "take back the last exchange",
    },
    reset="A new conversation.",
    undone="Taken back.",
    nothing="There is nothing to take back yet.",
    unknown="I do not know this command; /help lists those I know.",
    text_only="I can only read text.",
    slower="That is more than I can answer. Please wait a minute.",
    busy="I am talking with too many people just now. Please try again in a moment.",
    failed="Something went wrong, and I have no reply to this.",
)

ARABIC = Words(
    greeting="مرحبًا! أنا نموذج لغوي صغير للدردشة. لا أعرف الحقائق، فلا تصدّق ما أقول. "
    "في المجموعات، أشر إليّ أو رُدّ على إحدى رسائلي.",
    about={
        "help": "من أنا",
        "reset": "محادثة جديدة",
        "retry": "رد آخر على الرسالة الأخيرة",
        "undo": "التراجع عن آخر رسالة وردّها",
    },
    reset="محادثة جديدة.",
    undone="تم التراجع.",
    nothing="لا شيء للتراجع عنه بعد.",
    unknown="لا أعرف هذا الأمر. لقائمة ما أعرفه من أوامر:\n/help",
    text_only="لا أقرأ إلا النصوص.",
    slower="هذا أكثر مما أستطيع الرد عليه. انتظر دقيقة من فضلك.",
    busy="أتحدث الآن مع كثيرين. حاول مرة أخرى بعد قليل من فضلك.",
    failed="حدث خطأ، وليس لديّ رد على هذا.",
)


def words_for(language: str, text: str) -> Words:
    """The words for a client's language (`ar`, `en-GB`; "" unknown) and a message: Arabic if either is."""
    letters = len(_LETTER.findall(text))
    arabic = len(ARABIC_LETTER.findall(text))
    return ARABIC if language.partition("-")[0] == "ar" or arabic > letters // 2 else ENGLISH


def command_in(text: str) -> str | None:
    """The name in `/name ...`; None if it is not a command."""
    found = re.match(r"/(\w+)(?!\S)", text)
    return found[1].lower() if found else None
