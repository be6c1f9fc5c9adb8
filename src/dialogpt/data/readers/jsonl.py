"""JSON conversations -> sessions: an object per line, or one document that is an object or a list of them.

{"id": "7", "turns": [["A", "Hi"], ["B", "Hello"]]}                  [speaker, text] pairs
{"turns": ["Hi", "Hello"]}                                           texts alone
{"turns": [{"speaker": "A", "text": "Hi", "learn": false}, ...]}     our own sessions
{"messages": [{"role": "user", "content": "Hi"}, ...]}               chat messages; system messages are left out
{"conversations": [{"from": "human", "value": "Hi"}, ...]}           ShareGPT's, likewise; `preferences` has more
{"instruction": "Hi", "input": "", "output": "Hello"}                a question and its answer (see `columns`), before
                                                                     which a `history` of such pairs may stand
A list of messages is a conversation, too. The names of speaker and text in a turn may be others that `columns` knows.
"""

import re
from collections import Counter
from collections.abc import Iterator
from functools import lru_cache
from typing import Any, TypeVar

import msgspec

from dialogpt.data.readers.chatlog import ReadOptions
from dialogpt.data.readers.columns import find_columns, find_pair
from dialogpt.data.readers.preferences import DISLIKED, is_disliked, is_messages, liked
from dialogpt.data.readers.text import TextFile
from dialogpt.errors import DataError
from dialogpt.files import without_halves
from dialogpt.session import Session, Turn

FORMS = 'it is {"turns": [["A", "Hi"], ...]} or {"messages": [{"role": "user", "content": "Hi"}, ...]}'
MESSAGE_LISTS = ("messages", "conversations", "conversation")
TURN_LISTS = ("turns", "dialog", "dialogue", "utterances")
BESIDE = ("history", "system")  # of a question: the pairs before it, and what is said to the model
NEWLINE = b"\n"
DAMAGED = "the file is damaged, or of another kind (see --from)"
SYSTEM = ("system", "developer")
TOOLS = ("tool", "function", "ipython", "observation", "function_call", "function_response", "tool_response")
T = TypeVar("T")
WRONG = (msgspec.DecodeError, RecursionError, KeyError, TypeError, ValueError, AttributeError)


def read(file: TextFile, options: ReadOptions, dropped: Counter[str]) -> Iterator[Session]:
    """Yield the conversations; any other line or record is a DataError with its place."""
    for place, record in records(file):
        number = place.rpartition(":")[2]
        try:
            session = as_session(record, f"{file.source}/{number}", file.source, dropped)
        except WRONG as error:
            raise DataError(f"{place}: not a conversation: {reason(error)}", FORMS) from error
        if session is not None:
            yield session


def as_session(record: Any, id: str, source: str, dropped: Counter[str]) -> Session | None:
    """One decoded conversation, None if it is left out; an unknown form raises KeyError, TypeError or ValueError."""
    if is_messages(record):
        record = {"messages": record}
    if not isinstance(record, dict):
        raise TypeError(f"a JSON object is needed, this is a {type(record).__name__}")
    if is_disliked(record):
        dropped[DISLIKED] += 1
        return None
    record = liked(record, dropped)
    return Session(
        tuple(_turns(record, dropped)),
        id=str(_either(_either(record.get("id"), record.get("conversation_id")), id)),
        source=str(record.get("source") or source),
    )


def decode_each(file: TextFile, type: type[T]) -> Iterator[tuple[int, T]]:
    """Number, from 1, and value of each record: of a list, of a file of lines, or of one that is the document.

    They are decoded one by one; an invalid one is a DataError with its line, or its number in the list.
    """
    first = next((line for line in file.head() if line.strip()), "")
    if is_document(first) and not first.lstrip().startswith("["):
        yield 1, decode_document(file, type)
        return
    records = enumerate(decode_document(file, list[msgspec.Raw]), 1) if is_document(first) else file.lines()
    decoder = msgspec.json.Decoder(type)
    for number, record in records:
        if not isinstance(record, str) or record.strip():
            yield number, decode_part(file, decoder, record, f"{file.path}:{number}")


def decode(decoder: "msgspec.json.Decoder[T]", data: bytes | str | msgspec.Raw) -> T:
    """As the decoder does, but half an emoji is an unseen character, which `tidy` leaves out (`without_halves`)."""
    try:
        return decoder.decode(data)
    except msgspec.DecodeError:
        given = data.encode() if isinstance(data, str) else bytes(data)
        if (whole := without_halves(given)) == given:
            raise
    return decoder.decode(whole)


def decode_part(file: TextFile, decoder: "msgspec.json.Decoder[T]", part: msgspec.Raw | str, place: str) -> T:
    """A part of a document, or a line, that was left undecoded; a DataError names its place, or a wrong byte's line."""
    try:
        return decode(decoder, part)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if isinstance(error, UnicodeDecodeError) and file.is_utf8:
            file.decode(file.whole())  # raises
        raise DataError(f"{place}: {error}", DAMAGED) from error


def decode_document(file: TextFile, type: Any = Any) -> Any:
    """The whole file as one JSON value; a DataError names the line."""
    data = file.whole()
    try:
        return decode(msgspec.json.Decoder(type), data)
    except (msgspec.DecodeError, UnicodeDecodeError, RecursionError) as error:
        if isinstance(error, UnicodeDecodeError) and file.is_utf8:
            file.decode(data)  # raises, with the line
        where = re.search(r"\(byte (\d+)\)", str(error))
        place = f"{file.path}:{data.count(NEWLINE, 0, int(where[1])) + 1}" if where else str(file.path)
        raise DataError(f"{place}: {error}", DAMAGED) from error


def reason(error: BaseException) -> str:
    """The error in words; a KeyError alone is only the key."""
    return f"{error} is missing" if isinstance(error, KeyError) else str(error)


def is_document(first: str) -> bool:
    """Whether a file with this first line is one JSON document, not an object per line."""
    return first.strip() == "{" or first.lstrip().startswith("[")


def records(file: TextFile) -> Iterator[tuple[str, Any]]:
    """Every decoded record and its place, `path:line`; for a list, `path:number in the list`."""
    if is_document(next((line for line in file.head() if line.strip()), "")):
        document = decode_document(file)
        many = isinstance(document, list) and not is_messages(document)
        for number, record in enumerate(document if many else [document], 1):
            yield f"{file.path}:{number}", record
        return
    decoder = msgspec.json.Decoder()
    for number, line in file.lines():
        if line.strip():
            try:
                yield f"{file.path}:{number}", decode(decoder, line)
            except (msgspec.DecodeError, RecursionError) as error:
                raise DataError(f"{file.path}:{number}: not a conversation: {error}", FORMS) from error


def _turns(record: dict[str, Any], dropped: Counter[str]) -> Iterator[Turn]:
    if record.get("system"):
        dropped["system message"] += 1
    name = next((name for name in (*TURN_LISTS, *MESSAGE_LISTS) if name in record), None)
    if name is None:
        yield from _pair(record)
        return
    if not isinstance(record[name], list):
        raise TypeError(f"{name!r} is a {type(record[name]).__name__}, a list is needed")
    for turn in record[name]:
        if name in MESSAGE_LISTS or (
            isinstance(turn, dict) and "speaker" not in turn and ("role" in turn or "from" in turn)
        ):
            yield from _message(turn, dropped)
        else:
            yield _turn(turn)


def _message(message: dict[str, Any], dropped: Counter[str]) -> Iterator[Turn]:
    """The turn in a chat message, or nothing and a count."""
    role, text = ("from", "value") if "from" in message else ("role", "content")
    text = next((name for name in (text, "value", "text") if name in message), text)
    if (speaker := str(message[role])) in SYSTEM:
        dropped["system message"] += 1
    elif speaker in TOOLS:
        dropped["message of a tool"] += 1
    elif message[text] is None:  # a call of a tool
        dropped["message without words"] += 1
    else:
        yield Turn(_text(message[text]), speaker, learn=_learned(message))


def _pair(record: dict[str, Any]) -> Iterator[Turn]:
    names = [name for name in record if name != "source"]  # where it comes from
    pair = find_pair(names)
    if pair is None and ("link_id" in record or "permalink" in record):
        raise ValueError("it is a record of a Reddit dump, which `extract` reads")
    if pair is None:
        keys = ", ".join(names)[:200]
        raise ValueError(
            f"it has neither 'turns' nor 'messages', nor a question and an answer (its keys: {keys or 'none'})"
        )
    question, answer = [names[place] for place in pair.question], names[pair.answer]
    for before in record.get("history") or ():
        if not isinstance(before, list):
            raise TypeError("its 'history' holds something other than pairs of a question and an answer")
        asked, answered = before
        yield from (Turn(_text(asked), question[0]), Turn(_text(answered), answer))
    yield Turn(" ".join(_text(_either(record[name], "")) for name in question), question[0])
    yield Turn(_text(_either(record[answer], "")), answer)


def _turn(turn: Any) -> Turn:
    if isinstance(turn, str):
        return Turn(turn)
    if isinstance(turn, dict):
        speaker, text = ("speaker", "text") if "speaker" in turn and "text" in turn else _names(tuple(turn))
        return Turn(_text(turn[text]), speaker=str(_either(turn.get(speaker), "")), learn=_learned(turn))
    speaker, text = turn
    return Turn(_text(text), speaker=str(_either(speaker, "")))


def _learned(turn: dict[str, Any]) -> bool:
    """False where a turn says no loss: our `learn`, OpenAI's `weight`, what Axolotl and ms-swift call it."""
    return all(_either(turn.get(name), True) for name in ("learn", "weight", "train", "training", "loss"))


@lru_cache(256)
def _names(keys: tuple[str, ...]) -> tuple[str, str]:
    """The keys of a turn's speaker and text."""
    columns = find_columns(keys)
    speaker = "speaker" if columns is None or columns.speaker is None else keys[columns.speaker]
    return speaker, "text" if columns is None or "text" in keys else keys[columns.text]


def _either(value: Any, otherwise: Any) -> Any:
    return otherwise if value is None else value


def _text(value: Any) -> str:
    if isinstance(value, list):  # chat messages may hold their content in typed parts
        return " ".join(part["text"] for part in value if part["type"] == "text")
    if not isinstance(value, str):
        raise TypeError(f"a turn's text is a {type(value).__name__}")
    return value
