"""Stage 1: raw text -> sessions.

`extract` reads Reddit dumps (comments, and submissions when given), `import` reads conversational files, `mix` several
sources of them by weights; each writes a folder of `sessions-*.jsonl.zst` with a manifest that counts what was dropped,
by reason.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

Engine = Literal["local", "ray"]
Preset = Literal["open", "released", "paper"]
Format = Literal["jsonl", "tsv", "parquet", "messages"]
SourceFormat = Literal[
    "auto",
    "jsonl",
    "script",
    "original",
    "whatsapp",
    "line",
    "kakaotalk",
    "telegram",
    "discord",
    "messenger",
    "slack",
    "googlechat",
    "skype",
    "signal",
    "matrix",
    "snapchat",
    "irc",
    "imessage",
    "chatgpt",
    "claude",
    "openassistant",
    "sillytavern",
    "dstc7",
    "parquet",
]


@dataclass(frozen=True, slots=True, kw_only=True)
class ExtractConfig:
    """Settings of `extract`: Reddit dumps -> sessions."""

    dumps: Annotated[tuple[str | Path, ...], "comment (RC_*) and submission (RS_*) dumps: .zst .xz .bz2 .gz or NDJSON"]
    out: Annotated[str | Path, "folder to write"]
    preset: Annotated[
        Preset, "open: natural text; released: the rules of the authors' extractor; paper: those and the paper's"
    ] = "open"
    format: Annotated[Format, "how the sessions are written"] = "jsonl"
    min_turns: Annotated[int, "shortest path kept, in turns"] = 2
    max_turns: Annotated[int | None, "keep the last N turns of a longer path  [open: 10, else 5]"] = None
    min_score: Annotated[int, "lowest score of a path's last comment"] = 1
    min_words: Annotated[int | None, "fewest words of a comment  [open: 1, else 2]"] = None
    max_words: Annotated[
        int | None, "most words of a comment; a longer one ends the path above it  [open: 100, else 30]"
    ] = None
    max_session_words: Annotated[int | None, "most words of a session, 0: no limit  [open: 0, else 200]"] = None
    title: Annotated[bool | None, "the submission's title is a path's first turn  [open: yes, else no]"] = None
    blocklist: Annotated[
        Path | None, "phrases, one per line: a turn with one carries no loss; none: no list  [paper: our short one]"
    ] = None
    block_subreddits: Annotated[
        Path | None, "subreddits to leave out, one per line; none: no list  [paper: our short one]"
    ] = None
    bland_share: Annotated[
        float | None, "drop responses with this share of frequent tri-grams, 0: keep them  [paper: 0.9, else 0]"
    ] = None
    bland_count: Annotated[int, "a tri-gram is frequent if it occurs in the responses more than N times"] = 1000
    dedup: Annotated[bool | None, "drop near-duplicates: last turn and response again  [open: yes, else no]"] = None
    held_out: Annotated[
        tuple[Path, ...], "held-out responses or references, not to be trained on; may be repeated"
    ] = ()
    max_overlap: Annotated[float, "drop a session if this share of a turn's 4-grams is in --held-out"] = 0.5
    language: Annotated[tuple[str, ...], "keep only sessions in this language (ar, en, ...); may be repeated"] = ()
    sample_dropped: Annotated[int, "keep N examples of each reason for dropping in dropped.jsonl"] = 0
    workers: Annotated[int, "processes, or tasks at once on a cluster"] = 1
    engine: Annotated[Engine, "where the work is done; ray: a Ray cluster"] = "local"
    address: Annotated[str, "the Ray cluster's address (default: the one that runs here, or a new one)"] = ""
    overwrite: Annotated[bool, "replace an existing folder, or an unfinished job"] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ReferencesConfig:
    """Settings of `references`: Reddit dumps -> a test set of contexts with several human responses each."""

    dumps: Annotated[tuple[str | Path, ...], "comment (RC_*) and submission (RS_*) dumps, as for `extract`"]
    out: Annotated[str | Path, "folder to write"]
    min_references: Annotated[int, "fewest references of a context, besides the human response set apart"] = 5
    max_turns: Annotated[int, "keep the last N turns of a longer context"] = 10
    min_words: Annotated[int, "fewest words of a comment"] = 1
    max_words: Annotated[int, "most words of a comment"] = 30
    min_score: Annotated[int, "lowest score of a response"] = 1
    title: Annotated[bool, "the submission's title is a context's first turn"] = True
    blocklist: Annotated[Path | None, "phrases, one per line: a response with one of them is left out"] = None
    block_subreddits: Annotated[Path | None, "subreddits to leave out, one per line"] = None
    limit: Annotated[int, "keep N contexts, chosen by a hash of their ids, 0: all"] = 0
    workers: Annotated[int, "processes, or tasks at once on a cluster"] = 1
    engine: Annotated[Engine, "where the work is done; ray: a Ray cluster"] = "local"
    address: Annotated[str, "the Ray cluster's address (default: the one that runs here, or a new one)"] = ""
    overwrite: Annotated[bool, "replace an existing folder, or an unfinished job"] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class PreferencesConfig:
    """Settings of `preferences`: Reddit dumps -> pairs of replies to the same context, of which one got more votes."""

    dumps: Annotated[
        tuple[str | Path, ...],
        "comment (RC_*) and submission (RS_*) dumps, as for `extract`, or JSON of chosen and rejected answers (DPO)",
    ]
    out: Annotated[str | Path, "folder to write"]
    min_gap: Annotated[int, "by how many votes the replies of a pair differ at least"] = 1
    max_turns: Annotated[int, "keep the last N turns of a longer context"] = 10
    min_words: Annotated[int, "fewest words of a comment"] = 1
    max_words: Annotated[int, "most words of a comment"] = 30
    title: Annotated[bool, "the submission's title is a context's first turn"] = True
    blocklist: Annotated[Path | None, "phrases, one per line: a response with one of them is left out"] = None
    block_subreddits: Annotated[Path | None, "subreddits to leave out, one per line"] = None
    limit: Annotated[int, "keep N pairs, chosen by a hash of their ids, 0: all"] = 0
    workers: Annotated[int, "processes, or tasks at once on a cluster"] = 1
    engine: Annotated[Engine, "where the work is done; ray: a Ray cluster"] = "local"
    address: Annotated[str, "the Ray cluster's address (default: the one that runs here, or a new one)"] = ""
    overwrite: Annotated[bool, "replace an existing folder, or an unfinished job"] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class ImportConfig:
    """Settings of `import`: conversational files -> sessions."""

    files: Annotated[
        tuple[Path, ...],
        "JSONL, scripts (CSV, TSV), WhatsApp, Telegram, Discord, Slack, Messenger, LINE, ... exports",
    ]
    out: Annotated[Path, "folder to write"]
    from_: Annotated[SourceFormat, "format of the files (auto: detected from their content)"] = "auto"
    encoding: Annotated[str, "text encoding, such as windows-1256 (default: UTF-8, or UTF-16 by its mark)"] = ""
    date_order: Annotated[
        Literal["auto", "dmy", "mdy", "ymd"], "order of day, month and year in WhatsApp's and LINE's dates"
    ] = "auto"
    columns: Annotated[
        str, "CSV, TSV: names of the columns SPEAKER,TEXT[,CONVERSATION], or their numbers if there is no header"
    ] = ""
    gap: Annotated[int, "chat logs: a silence of more than N minutes begins a new conversation (0: never)"] = 60
    replies: Annotated[
        bool, "a session for each path of replies (Telegram, Discord, ...), of each branch (ChatGPT, ...)"
    ] = False
    speaker: Annotated[str, "only this speaker's turns carry loss (default: everybody's)"] = ""
    merge: Annotated[bool | None, "join consecutive turns of a speaker (default: in chats only)"] = None
    head: Annotated[int, "keep only the first N turns of a conversation (0: all)"] = 0
    max_words: Annotated[int, "a turn with more words ends the session before it (0: no limit)"] = 0
    remove: Annotated[
        tuple[str, ...], "regular expression to take out of turns, such as a transcript's marks; may be repeated"
    ] = ()
    reject: Annotated[tuple[str, ...], "a turn that matches this ends the session before it; may be repeated"] = ()
    blocklist: Annotated[Path | None, "phrases, one per line: a turn with one of them carries no loss"] = None
    window: Annotated[int, "a session for each turn that carries loss, with the N turns before it (0: whole ones)"] = 0
    format: Annotated[Format, "how the sessions are written"] = "jsonl"
    overwrite: Annotated[bool, "replace an existing folder"] = False


@dataclass(frozen=True, slots=True, kw_only=True)
class MixConfig:
    """Settings of `mix`: a mixture file, which names sources and how much to read of each -> sessions."""

    mixture: Annotated[Path, "TOML: a table for each source, with `import`'s settings for it, and its weight"]
    out: Annotated[Path, "folder to write"]
    root: Annotated[Path | None, "folder that the sources' files are in (default: the mixture file's)"] = None
    without: Annotated[tuple[str, ...], "name of a source to leave out; may be repeated"] = ()
    dedup: Annotated[bool, "drop near-duplicates, across sources too: last turn and response again"] = True
    overwrite: Annotated[bool, "replace an existing folder"] = False
