"""Stage 7: a conversation with a person.

`bot` is the conversation itself, in Python; `terminal` puts it on a screen or into a pipe.
"""

from dataclasses import dataclass
from typing import Annotated

from dialogpt.decoding import ReplyConfig


@dataclass(frozen=True, slots=True, kw_only=True)
class ChatConfig(ReplyConfig):
    """Settings of `chat`: talk with a model; a pipe works too, a reply a line."""

    model: Annotated[str, "checkpoint folder, run folder, hub name or .pkl file (default: the bundled model)"] = ""
    show_hypotheses: Annotated[bool, "with each reply, what it was chosen from: scores, and why some were rejected"] = (
        False
    )
    device: Annotated[str, "auto, cpu, cuda, mps"] = "auto"
