"""Sessions -> files in four formats: our own JSONL, the released extractor's TSV, Parquet, and chat messages.

    jsonl      sessions-00000.jsonl.zst   {"turns": [{"text": "Hi", "speaker": "A"}, ...], "id": "7", "source": "chats"}
    tsv        sessions-00000.tsv         t3_1,t1_8,t1_9 <tab> 1.0 Hi EOS 0.0 Hello <tab> 1.0 Bye
    parquet    sessions-00000.parquet     id, source: string; turns: list<struct<text, speaker: string, learn: bool>>
    messages   chats-00000.jsonl.zst      {"messages": [{"role": "user", "content": "Hi"}, ...], "id": "7"}

A sink writes one stream of sessions into a binary file of any kind; `SessionWriter` fills a folder with such files.
"""

from collections.abc import Iterable
from itertools import accumulate
from pathlib import Path
from typing import IO, Any, Literal, Protocol

import msgspec
import zstandard

from dialogpt.data import Format
from dialogpt.errors import UsageError
from dialogpt.session import Session, Turn

ZSTD_LEVEL = 3
BUFFER_BYTES = 1 << 18  # handed to the file or the compressor at once: a call a line takes a tenth longer
SESSIONS_IN_ROW_GROUP = 50_000
_TO_BLANKS = dict.fromkeys(map(ord, "\t\n\v\f\r\x1c\x1d\x1e\x85\u2028\u2029"), " ")  # what would end a field or a line


class Sink(Protocol):
    """Takes the sessions of one file; `close` finishes the stream, and leaves the file itself open."""

    def write(self, session: Session) -> None: ...
    def close(self) -> None: ...


def open_sink(file: IO[bytes], format: Format) -> Sink:
    """A sink that writes `format` into a file open for writing in binary; UsageError when its library is missing."""
    if format == "parquet":
        return _ParquetSink(file)
    if format == "tsv":
        return _TsvSink(file)
    return _JsonSink(file, chat=format == "messages")


def file_name(number: int, format: Format) -> str:
    """The name of a folder's file `number`, from 0: `sessions-00000.jsonl.zst` and the like."""
    stem = "chats" if format == "messages" else "sessions"
    suffix = {"jsonl": "jsonl.zst", "tsv": "tsv", "parquet": "parquet", "messages": "jsonl.zst"}[format]
    return f"{stem}-{number:05}.{suffix}"


class SessionWriter:
    """Writes sessions to numbered files in a folder, a new file every `per_file` sessions; none without a session."""

    def __init__(self, folder: Path, format: Format = "jsonl", per_file: int = 1_000_000) -> None:
        self.folder, self.format, self.per_file = folder, format, per_file
        self.sessions = self.turns = self.words = 0
        self._file: IO[bytes] | None = None
        self._sink: Sink | None = None

    def write(self, session: Session) -> None:
        if self._sink is None or self.sessions % self.per_file == 0:
            self._sink = self._next_sink()
        self._sink.write(session)
        self.sessions += 1
        self.turns += len(session.turns)
        # As in `extract`: tidy texts have one blank between words, and to count it is quicker than to split.
        self.words += sum([turn.text.count(" ") + 1 for turn in session.turns if turn.text])

    def write_all(self, sessions: Iterable[Session]) -> None:
        for session in sessions:
            self.write(session)

    def close(self) -> None:
        """Finish the last file. The file is closed even when its stream cannot be finished, on a full disk for one."""
        sink, file = self._sink, self._file
        self._sink = self._file = None
        try:
            if sink is not None:
                sink.close()
        finally:
            if file is not None:
                file.close()

    @property
    def counts(self) -> dict[str, int]:
        return {"sessions": self.sessions, "turns": self.turns, "words": self.words}

    def _next_sink(self) -> Sink:
        self.close()
        self._file = (self.folder / file_name(self.sessions // self.per_file, self.format)).open("wb")
        return open_sink(self._file, self.format)


class Message(msgspec.Struct, frozen=True, omit_defaults=True):
    """A message of a chat; `weight` 0, OpenAI's word for it: no loss."""

    role: Literal["user", "assistant"]
    content: str
    weight: int = 1


class Chat(msgspec.Struct, frozen=True, omit_defaults=True):
    """A session as other trainers read it: roles alternate and end with the assistant's."""

    messages: tuple[Message, ...]
    id: str = ""
    source: str = ""


def as_chat(session: Session) -> Chat:
    """The session as a chat: the response is the assistant's, and roles alternate backwards from it.

    In a session of exactly two named speakers the speaker has the role, and turns of one that follow each other are one
    message of several lines, with loss only if all of them carry it; otherwise every other turn is the user's. The
    first message may be the assistant's: to leave it out would take context from every second session. `weight` is
    written for the assistant alone, as trainers take no loss from a user's message.
    """
    turns = session.turns
    speakers = {turn.speaker for turn in turns}
    by_speaker = len(speakers) == 2 and "" not in speakers
    messages: list[Message] = []
    for i, turn in enumerate(turns):
        is_response = turn.speaker == session.response.speaker if by_speaker else (len(turns) - i) % 2 == 1
        message = _message(turn, is_response)
        if messages and messages[-1].role == message.role:
            above = messages.pop()
            text = f"{above.content}\n{message.content}"
            message = Message(message.role, text, min(above.weight, message.weight))
        messages.append(message)
    return Chat(tuple(messages), session.id, session.source)


def _message(turn: Turn, is_response: bool) -> Message:
    if is_response:
        return Message("assistant", turn.text, 1 if turn.learn else 0)
    return Message("user", turn.text)


def as_tsv(session: Session) -> str:
    """The session as the released extractor wrote it, without the line's end; weight 0.0 where no loss falls."""
    texts = [f"{'1.0' if turn.learn else '0.0'} {_one_field(turn.text)}" for turn in session.turns]
    return "\t".join((_one_field(session.id.replace("/", ",")), " EOS ".join(texts[:-1]), *texts[-1:]))


def _one_field(text: str) -> str:
    return (
        text if text.isprintable() else text.translate(_TO_BLANKS)
    )  # translating every text takes three times as long


class _JsonSink:
    """A session, or a chat, a line of JSON, compressed."""

    def __init__(self, file: IO[bytes], *, chat: bool) -> None:
        self._stream = zstandard.ZstdCompressor(level=ZSTD_LEVEL).stream_writer(file, closefd=False)
        self._encoder = msgspec.json.Encoder()
        self._buffer = bytearray()
        self._chat = chat

    def write(self, session: Session) -> None:
        self._encoder.encode_into(as_chat(session) if self._chat else session, self._buffer, -1)
        self._buffer += b"\n"
        if len(self._buffer) >= BUFFER_BYTES:
            self._stream.write(self._buffer)
            self._buffer.clear()

    def close(self) -> None:
        self._stream.write(self._buffer)
        self._stream.close()  # type: ignore[no-untyped-call]


class _TsvSink:
    def __init__(self, file: IO[bytes]) -> None:
        self._file = file
        self._buffer = bytearray()

    def write(self, session: Session) -> None:
        self._buffer += as_tsv(session).encode() + b"\n"
        if len(self._buffer) >= BUFFER_BYTES:
            self._flush()

    def close(self) -> None:
        self._flush()

    def _flush(self) -> None:
        self._file.write(self._buffer)
        self._buffer.clear()


class _ParquetSink:
    """Row groups of `SESSIONS_IN_ROW_GROUP` sessions, held in memory until they are full."""

    def __init__(self, file: IO[bytes]) -> None:
        try:
            import pyarrow as pa  # type: ignore[import-untyped]
            from pyarrow import parquet
        except ImportError as error:
            raise UsageError("Parquet files need pyarrow", 'pip install "dialogpt[parquet]"') from error
        self._pa = pa
        turn = pa.struct([("text", pa.string()), ("speaker", pa.string()), ("learn", pa.bool_())])
        self._schema = pa.schema([("id", pa.string()), ("source", pa.string()), ("turns", pa.list_(turn))])
        self._writer: Any = parquet.ParquetWriter(file, self._schema, compression="zstd")
        self._held: list[Session] = []

    def write(self, session: Session) -> None:
        self._held.append(session)
        if len(self._held) == SESSIONS_IN_ROW_GROUP:
            self._flush()

    def close(self) -> None:
        if self._held:
            self._flush()
        self._writer.close()

    def _flush(self) -> None:
        pa, sessions = self._pa, self._held
        self._held = []
        turns = [turn for session in sessions for turn in session.turns]
        fields = [[turn.text for turn in turns], [turn.speaker for turn in turns], [turn.learn for turn in turns]]
        offsets = [0, *accumulate(len(session.turns) for session in sessions)]
        kind = self._schema.field("turns").type
        values = pa.StructArray.from_arrays(
            [pa.array(column, field.type) for column, field in zip(fields, kind.value_type, strict=True)],
            fields=list(kind.value_type),
        )
        columns = [
            pa.array([session.id for session in sessions], pa.string()),
            pa.array([session.source for session in sessions], pa.string()),
            pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values, type=kind),
        ]
        self._writer.write_table(pa.table(columns, schema=self._schema), row_group_size=SESSIONS_IN_ROW_GROUP)
