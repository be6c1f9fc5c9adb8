"""SillyTavern's chats, a line of JSON per message, as tools also write Character.AI's -> sessions, one per file.

    {"user_name": "You", "character_name": "Mara", "create_date": "2026-10-05 @09h 30m 00s", "chat_metadata": {}}
    {"name": "Mara", "is_user": false, "mes": "Hello.", "send_date": "October 5, 2025 9:30am", "swipes": ["Hello."]}

`mes` is the reply that was chosen; other `swipes` are not read. Another header line begins another session.
Left out and counted: system messages, which the character never saw.
"""

from collections import Counter
from collections.abc import Iterator

import msgspec

from dialogpt.data.readers.chatlog import ReadOptions
from dialogpt.data.readers.jsonl import decode
from dialogpt.data.readers.text import TextFile
from dialogpt.errors import DataError
from dialogpt.session import Session, Turn

FORM = '{"name": "Mara", "is_user": false, "mes": "Hello."} is a message'


class _Line(msgspec.Struct):
    name: str | None = None
    mes: str | msgspec.UnsetType | None = msgspec.UNSET
    is_user: bool | None = None
    is_system: bool | None = None
    user_name: str | None = None
    character_name: str | None = None
    chat_metadata: msgspec.Raw = msgspec.Raw()

    @property
    def is_header(self) -> bool:
        return self.mes is msgspec.UNSET and bool(self.user_name or self.character_name or self.chat_metadata)


def read(file: TextFile, options: ReadOptions, dropped: Counter[str]) -> Iterator[Session]:
    """Yield the chats; a line that is neither a message nor a header is a DataError with its place."""
    decoder = msgspec.json.Decoder(_Line)
    header, turns, chats = _Line(), list[Turn](), 0
    for number, line in file.lines():
        if not line.strip():
            continue
        try:
            message = decode(decoder, line)
        except (msgspec.DecodeError, RecursionError) as error:
            raise DataError(f"{file.path}:{number}: not a line of a chat: {error}", FORM) from error
        if message.is_header:
            if turns:
                yield Session(tuple(turns), id=f"{file.source}/{chats}", source=file.source)
            header, turns, chats = message, [], chats + bool(turns)
        elif message.mes is msgspec.UNSET:
            raise DataError(f"{file.path}:{number}: not a line of a chat: 'mes' is missing", FORM)
        elif message.is_system:
            dropped["system message"] += 1
        else:
            name = message.name or (header.user_name if message.is_user else header.character_name)
            turns.append(Turn(message.mes or "", name or ""))
    if turns:
        yield Session(tuple(turns), id=f"{file.source}/{chats}", source=file.source)
