"""A file of a given content, read as one format: its conversations and what was left out."""

from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dialogpt.data.readers import FORMATS, ReadOptions, TextFile, recognise
from dialogpt.data.readers.chatlog import ChatLog
from dialogpt.session import Session

Read = Callable[..., tuple[list[Session], Counter[str]]]


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Read text or bytes as a format (None: the one it is recognised as); a chat log's turns come as one session."""

    def run(content: str | bytes, name: str | None = None, *, file: str = "talk.txt", **options: Any) -> Any:
        path = tmp_path / file
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        source = TextFile(path, options.pop("encoding", ""))
        dropped: Counter[str] = Counter()
        form = FORMATS[name or recognise(source) or "jsonl"]
        found = []
        for item in form.read(source, ReadOptions(**options), dropped):
            assert isinstance(item, ChatLog) == (form.chat_log or options.get("replies", False))
            found.append(Session(tuple(item.turns), id=item.id, source=item.source))
        return found, dropped

    return run
