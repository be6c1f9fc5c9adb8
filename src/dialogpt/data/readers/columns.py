"""Which columns of a table hold the speaker, the text and the scene, by the names that people give them."""

from collections.abc import Sequence
from typing import NamedTuple

SPEAKERS = (
    "speaker", "name", "character", "char", "author", "user", "username", "nickname", "sender", "from", "role", "who",
    "person", "actor", "participant", "speaker_name", "speaker_id", "user_id", "author_id", "character_name",
    "المتحدث", "الاسم", "имя", "персонаж", "автор", "nombre", "personaje", "nom", "personnage", "名前", "话者",
)  # fmt: skip
TEXTS = (
    "line", "text", "dialogue", "dialog", "utterance", "message", "content", "body", "words", "sentence", "quote",
    "speech", "spoken_words", "turn", "value", "lines", "النص", "الجملة", "реплика", "текст", "texto", "texte", "台词",
)  # fmt: skip
SCENES = (
    "season", "episode", "scene", "chapter", "conversation", "conversation_id", "conv_id", "dialogue_id", "dialog_id",
    "episode_id", "scene_id", "session", "session_id", "thread", "thread_id", "channel",
)  # fmt: skip


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
    names = ["_".join(name.strip(" \t'\"*").casefold().replace("-", " ").split()) for name in header]
    speaker = next((names.index(name) for name in SPEAKERS if name in names), None)
    text = next((names.index(name) for name in TEXTS if name in names), None)
    scene = tuple(index for index, name in enumerate(names) if name in SCENES)
    if text is None or (speaker is None and not scene):
        return None
    return Columns(speaker, text, scene)
