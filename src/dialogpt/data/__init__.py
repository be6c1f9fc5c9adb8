"""Stage 1: raw text -> sessions.

`extract` reads Reddit dumps (comments, and submissions when given), `import` reads conversational files;
both write a folder of `sessions-*.jsonl.zst` with a manifest that counts what was dropped, by reason.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

SourceFormat = Literal["auto", "jsonl", "script", "original", "whatsapp", "telegram", "discord", "dstc7", "parquet"]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractConfig:
    """Settings of `extract`: Reddit dumps -> sessions."""

    dumps: Annotated[tuple[Path, ...], "comment (RC_*) and submission (RS_*) dumps: .zst .xz .bz2 .gz or plain NDJSON"]
    out: Annotated[Path, "folder to write"]
    min_turns: Annotated[int, "shortest path kept, in turns"] = 2
    max_turns: Annotated[int, "keep the last N turns of a longer path"] = 10
    min_score: Annotated[int, "lowest score of a path's last comment"] = 1
    min_words: Annotated[int, "fewest words of a comment"] = 1
    max_words: Annotated[int, "most words of a comment; a longer one ends the path above it"] = 100
    title: Annotated[bool, "the submission's title is a path's first turn"] = True
    overwrite: Annotated[bool, "replace an existing folder"] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportConfig:
    """Settings of `import`: conversational files -> sessions."""

    files: Annotated[tuple[Path, ...], "JSONL, scripts (CSV, TSV), WhatsApp, Telegram, Discord, Parquet, ... exports"]
    out: Annotated[Path, "folder to write"]
    from_: Annotated[SourceFormat, "what the files are (auto: told by their content)"] = "auto"
    encoding: Annotated[str, "encoding of text, such as windows-1256 (default: UTF-8, or UTF-16 by its mark)"] = ""
    date_order: Annotated[Literal["auto", "dmy", "mdy", "ymd"], "order of day, month and year in WhatsApp's dates"] = (
        "auto"
    )
    gap: Annotated[int, "chat logs: a silence of more minutes begins a new conversation (0: never)"] = 60
    replies: Annotated[bool, "Telegram, Discord: follow reply links, a session for each path of replies"] = False
    speaker: Annotated[str, "only this speaker's turns carry loss (default: everybody's)"] = ""
    merge: Annotated[bool | None, "join a speaker's turns that follow each other (default: in chat logs only)"] = None
    head: Annotated[int, "keep only the first N turns of a conversation (0: all)"] = 0
    max_words: Annotated[int, "a turn with more words ends the session before it (0: no limit)"] = 0
    window: Annotated[int, "a session for each turn that carries loss, with the N turns before it (0: whole ones)"] = 0
    overwrite: Annotated[bool, "replace an existing folder"] = False
