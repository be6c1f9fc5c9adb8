"""Which columns of a table hold the speaker, the text and the scene, by their usual names."""

import re
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

from dialogpt.data.readers.text import fold, tidy
from dialogpt.errors import DataError

SPEAKERS = (
    "speaker", "name", "character", "char", "author", "user", "username", "nickname", "sender", "from", "role", "who",
    "person", "actor", "participant", "speaker_name", "speaker_id", "user_id", "author_id", "character_name",
    "sender_name", "from_name", "display_name",
    "المتحدث", "الاسم", "المرسل", "الشخص", "المتكلم", "المستخدم", "الشخصية", "القائل",
    "متحدث", "اسم", "مرسل", "شخصية", "من",
    "имя", "персонаж", "автор", "отправитель", "nombre", "personaje", "autor", "remitente", "nom", "personnage",
    "auteur", "expéditeur", "名前", "话者",
)  # fmt: skip
TEXTS = (
    "line", "text", "dialogue", "dialog", "utterance", "message", "content", "body", "words", "sentence", "quote",
    "speech", "spoken_words", "turn", "value", "lines", "message_text", "message_content", "msg",
    "النص", "الجملة", "الرسالة", "الكلام", "المحتوى", "الحوار", "السطر", "نص", "جملة", "رسالة", "كلام", "محتوى", "حوار",
    "реплика", "текст", "сообщение", "texto", "mensaje", "texte", "réplique", "台词",
)  # fmt: skip
SCENES = (
    "season", "episode", "scene", "chapter", "conversation", "conversation_id", "conv_id", "dialogue_id", "dialog_id",
    "episode_id", "scene_id", "session", "session_id", "thread", "thread_id", "channel", "chat_id", "convo_id",
    "المحادثة", "المشهد", "الحلقة", "محادثة", "مشهد",
)  # fmt: skip
TIMES = ("date", "time", "timestamp", "datetime", "date_time", "created_at", "sent_at", "التاريخ", "الوقت")
PAIRS = (
    ("prompt", "response"), ("prompt", "completion"), ("question", "answer"), ("q", "a"), ("query", "response"),
    ("instruction", "output"), ("instruction", "response"), ("input", "output"), ("input", "response"),
    ("prompt", "chosen"), ("instruction", "chosen"), ("question", "chosen"), ("input", "chosen"),  # beside "rejected"
    ("context", "response"), ("source", "target"), ("user", "bot"), ("user", "assistant"), ("human", "bot"),
    ("human", "assistant"), ("message", "reply"), ("message", "response"),
    ("السؤال", "الجواب"), ("سؤال", "جواب"), ("السؤال", "الإجابة"), ("سؤال", "إجابة"),
    ("الرسالة", "الرد"), ("رسالة", "رد"),
)  # fmt: skip
LINKS = (
    "parent_id", "reply_to", "reply_to_id", "in_reply_to", "in_reply_to_id", "in_reply_to_status_id",
    "in_response_to_tweet_id",
)  # fmt: skip
MORE = {"instruction": ("input", "context")}  # further parts of a question


class Columns(NamedTuple):
    """Indexes of the columns; `speaker` is None where nobody is named."""

    speaker: int | None
    text: int
    scene: tuple[int, ...]

    @property
    def needed(self) -> int:
        """How many fields a row needs to hold a line."""
        return max(self.text, self.speaker or 0) + 1


def find_columns(header: Sequence[str]) -> Columns | None:
    """The columns by their names, or None where no text, or neither a speaker nor a scene, is among them."""
    names = list(map(fold_name, header))
    speaker = next((names.index(name) for name in map(fold_name, SPEAKERS) if name in names), None)
    text = next((names.index(name) for name in map(fold_name, TEXTS) if name in names), None)
    scenes = set(map(fold_name, SCENES))
    scene = tuple(index for index, name in enumerate(names) if name in scenes)
    if text is None or (speaker is None and not scene):
        return None
    return Columns(speaker, text, scene)


def refuse_links(header: Sequence[str], columns: Columns, path: Path) -> None:
    """DataError for rows that say what they answer, but not which conversation they belong to."""
    links = set(map(fold_name, LINKS))
    for name in header:
        if not columns.scene and fold_name(name) in links:
            raise DataError(
                f"{path}: its rows say what they answer (column {name}), which is not read: rows are taken in order",
                "add a column conversation_id; Reddit's posts go through `extract`, as JSON; to read the rows of a "
                "CSV as one conversation: --columns SPEAKER,TEXT",
            )


class Pair(NamedTuple):
    """Indexes of the columns of a question, which may be in several, and of its answer."""

    question: tuple[int, ...]
    answer: int


def find_pair(header: Sequence[str]) -> Pair | None:
    """The columns of a question and its answer by their names, or None where no such pair is among them."""
    names = list(map(fold_name, header))
    for question, answer in PAIRS:
        if {fold_name(question), fold_name(answer)} <= set(names):
            parts = [fold_name(question), *(name for name in MORE.get(question, ()) if name in names)]
            return Pair(tuple(map(names.index, parts)), names.index(fold_name(answer)))
    return None


def fold_name(name: str) -> str:
    """A name folded (`fold`), without blanks, hyphens and quotation marks: dialogueID is Dialogue_ID."""
    return "".join(re.split(r"[\s_-]+", fold(tidy(name)).strip(" '\"*")))
