"""Stage 1: raw text -> sessions.

`extract` reads Reddit dumps (comments, and submissions when given), `import` reads conversational files;
both write a folder of `sessions-*.jsonl.zst` with a manifest that counts what was dropped, by reason.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated


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
    """Settings of `import`: conversational JSONL -> sessions."""

    files: Annotated[tuple[Path, ...], 'JSONL, a conversation a line: {"turns": ...} or {"messages": ...}']
    out: Annotated[Path, "folder to write"]
    speaker: Annotated[str, "only this speaker's turns carry loss (default: everybody's)"] = ""
    head: Annotated[int, "keep only the first N turns of a conversation (0: all)"] = 0
    merge: Annotated[bool, "join a speaker's turns that follow each other"] = False
    max_words: Annotated[int, "a turn with more words ends the session before it (0: no limit)"] = 0
    overwrite: Annotated[bool, "replace an existing folder"] = False
