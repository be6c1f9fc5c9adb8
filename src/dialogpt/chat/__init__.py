"""Stage 7: a conversation with a person.

`bot` is the conversation itself, in Python; `terminal` puts it on a screen or into a pipe, `commands` are what may be
typed there, `store` keeps what was said. One model for many is `serving`, over HTTP, and `bots`, in chats elsewhere.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from dialogpt.decoding import ReplyConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatConfig(ReplyConfig):
    """Settings of `chat`: talk with a model; a pipe works too, with a reply per line."""

    model: Annotated[str, "checkpoint folder, run folder, hub name or .pkl file (default: the bundled model)"] = ""
    show_hypotheses: Annotated[bool, "with each reply, what it was chosen from: scores, and why some were rejected"] = (
        False
    )
    continue_: Annotated[bool, "resume the last conversation held at a terminal"] = False
    log: Annotated[bool, "keep what is said at a terminal (see `dialogpt conversations`)"] = True
    json: Annotated[bool, "for scripts: a JSON object for each input line, errors included"] = False
    self_play: Annotated[str, "let the model talk with this one (`same`: with itself)"] = ""
    turns: Annotated[int, "turns of --self-play"] = 8
    opening: Annotated[str, "the first turn of --self-play"] = "Hello! How are you?"
    device: Annotated[str, "auto, cpu, cuda, mps"] = "auto"


@dataclass(frozen=True, slots=True, kw_only=True)
class ConversationsConfig:
    """Settings of `conversations`: what was said, to bots too -> a list, a conversation, or a file of sessions."""

    search: Annotated[str, "list only conversations in which this was said"] = ""
    show: Annotated[int | None, "print the conversation of this number"] = None
    export: Annotated[Path | None, "write them, or the one of --show, as sessions for `tokenize`"] = None
    delete: Annotated[int | None, "delete the conversation of this number for good"] = None
