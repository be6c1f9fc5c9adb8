"""Scripts as tables: headers, delimiters, quotes, scenes."""

import csv
import io
import logging
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from dialogpt.data.readers import tidy
from dialogpt.errors import DataError, UsageError
from dialogpt.session import Turn

Read = Any


def lines(sessions: Any) -> list[list[tuple[str, str]]]:
    return [[(turn.speaker, turn.text) for turn in session.turns] for session in sessions]


TWO = [[("Ann", "Hi"), ("Bo", "Hello")]]


@pytest.mark.parametrize(
    "table, expected",
    [
        ("name,line\nAnn,Hi\nBo,Hello\n", TWO),
        ("Name;Line\nAnn;Hi\nBo;Hello\n", TWO),
        ("Speaker\tText\nAnn\tHi\nBo\tHello\n", TWO),
        ("\ufeffCharacter|Dialogue\r\nAnn|Hi\r\nBo|Hello\r\n", TWO),
        ('"Speaker Name","Line"\nAnn,Hi\nBo,Hello', TWO),
        ("id,text,author\n1,Hi,Ann\n2,Hello,Bo\n", TWO),
        ("الاسم,النص\nليلى,أهلا\nسامي,أهلين\n", [[("ليلى", "أهلا"), ("سامي", "أهلين")]]),
        ("Ann,Hi\nBo,Hello\n", TWO),
        ("Ann;Hi\nBo;Hello\n", TWO),
        ('name,line\nAnn,"Hi, ""you""\nthere"\nBo,Hello\n', [[("Ann", 'Hi, "you" there'), ("Bo", "Hello")]]),
        ('name, line\nAnn, "Hi, you"\n', [[("Ann", "Hi, you")]]),
        ("name,line\nAnn,Hi, you, there\n", [[("Ann", "Hi, you, there")]]),
        ("Ann,Well; hm\nBo,Hm; well\nAnn,So; yes\n", [[("Ann", "Well; hm"), ("Bo", "Hm; well"), ("Ann", "So; yes")]]),
        ('name\tline\nAnn\t"Hi" she said\n', [[("Ann", '"Hi" she said')]]),
        ('name\tline\nBo\t"He said ""no"""\n', [[("Bo", 'He said "no"')]]),
        ('name\tline\nAnn\t"Hi\nBo\tHello\n', [[("Ann", '"Hi'), ("Bo", "Hello")]]),
        ('name\tline\nAnn\t"Hi\n\n""you"""\nBo\tHello\n', [[("Ann", 'Hi "you"'), ("Bo", "Hello")]]),
        ('line\tname\n"Hi\nyou"\tAnn\nHello\tBo\n', [[("Ann", "Hi you"), ("Bo", "Hello")]]),
        ('name\tline\nAnn\t"Hi\n\nBo\tsay ""', [[("Ann", '"Hi')], [("Bo", 'say ""')]]),
        ("sep=;\r\nname;line\r\nAnn;Hi, you\r\nBo;Hello\r\n", [[("Ann", "Hi, you"), ("Bo", "Hello")]]),
        ("sep=;\nAnn;Hi\nBo;Hello\n", TWO),
        ("من;رسالة\nليلى;أهلا، كيف الحال؟\n", [[("ليلى", "أهلا، كيف الحال؟")]]),
        ("\u200fالمرسل,التاريخ,الرسالة\nليلى,١/٢,أهلا\n", [[("ليلى", "أهلا")]]),
        ("الْمُتَحَدِّث;الجمله\nليلى;أهلا\n", [[("ليلى", "أهلا")]]),
        ("الإسم,النــص\nليلى,أهلا\n", [[("ليلى", "أهلا")]]),
        ("السوال,الاجابة\nمن؟,أنا\n", [[("السوال", "من؟"), ("الاجابة", "أنا")]]),
        ("Author,Content,Date\nAnn,Hi,1\nBo,Hello,2\n", TWO),
    ],
)  # fmt: skip
def test_tables_of_every_spelling(read: Read, table: str, expected: Any) -> None:
    found, dropped = read(table, "script")
    assert lines(found) == expected
    assert not dropped


@pytest.mark.parametrize("encoding", ["utf-16", "utf-8-sig"])
def test_tables_that_excel_saves(read: Read, encoding: str) -> None:
    """Its Unicode text has tabs, UTF-16, a mark, and quotes around a field of several lines."""
    delimiter = "\t" if encoding == "utf-16" else ";"
    table = f'speaker{delimiter}utterance\r\nAnn{delimiter}"Hi\nyou"\r\nBo{delimiter}أهلا\r\n'
    found, dropped = read(table.encode(encoding), file="talk.csv")
    assert lines(found) == [[("Ann", "Hi you"), ("Bo", "أهلا")]]
    assert not dropped


def test_a_row_of_a_question_and_an_answer_is_a_session(read: Read) -> None:
    found, dropped = read("id,Question,Answer\n1,Who?,Me.\n2,Where?,\n3,When?,Now.\n", file="talk.csv")
    assert lines(found) == [
        [("Question", "Who?"), ("Answer", "Me.")], [("Question", "When?"), ("Answer", "Now.")],
    ]  # fmt: skip
    assert dropped == {"row without a question or an answer": 1}


@pytest.mark.parametrize(
    "table, columns, expected",
    [
        ("who,what,x\nAnn,Hi,1\nBo,Hello,2\n", "who,what", TWO),
        ("x;What he said;Who\n1;Hi;Ann\n2;Hello;Bo\n", "who,what he said", TWO),
        ("1,Ann,Hi, you\n2,Bo,Hello\n", "2,3", [[("Ann", "Hi, you"), ("Bo", "Hello")]]),
        ("a\tHi\tAnn\na\tHello\tBo\nb\tOh\tAnn\n", "3,2,1", [*TWO, [("Ann", "Oh")]]),
        ("x,y\nHi,1\nHello,2\n", ",x", [[("", "Hi"), ("", "Hello")]]),
        ("text\nHi\nHello\n", ",text", [[("", "Hi"), ("", "Hello")]]),
        ("المرسل إليه;القول;القائل\nس;Hi;Ann\nس;Hello;Bo\n", "القائل،القول", TWO),
        ("م;Hi;Ann\nم;Hello;Bo\n", "٣،٢", TWO),
        ("sep=|\nwho|name|line\nAnn|1|Hi\nBo|2|Hello\n", "who,line", TWO),  # what is named goes before what is known
    ],
)
def test_columns_that_are_named(read: Read, table: str, columns: str, expected: Any) -> None:
    found, _ = read(table, "script", columns=columns)
    assert lines(found) == expected


@pytest.mark.parametrize(
    "columns, message",
    [
        ("who,line", "'who,line': the first line has no such columns: 'name', 'line', 'x'"),
        ("1,4", "no such columns: 'name', 'line', 'x'"),
        ("0,1", "no such columns"),
        ("line", "does not name two or three"),
        ("name,", "does not name two or three"),
        ("a,b,c,d", "does not name two or three"),
    ],
)
def test_columns_that_are_not_there(read: Read, columns: str, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        read("name,line,x\nAnn,Hi,1\n", "script", columns=columns)


def test_a_question_may_be_in_two_columns(read: Read) -> None:
    found, dropped = read("instruction,input,output\nSay:,Hi,Hi\nGreet.,,Hello\nNothing,,\nCut\n", file="a.csv")
    assert [[turn.text for turn in session.turns] for session in found] == [["Say: Hi", "Hi"], ["Greet.", "Hello"]]
    assert dropped == {"row without a question or an answer": 2}


def test_discord_chat_exporters_csv_is_to_be_json(read: Read) -> None:
    table = '\ufeffAuthorID,Author,Date,Content,Attachments,Reactions\r\n"1","Ann","2024-01-15","Hi","",""\r\n'
    with pytest.raises(DataError, match=r"talk\.txt: DiscordChatExporter's CSV") as caught:
        read(table)
    assert "--columns Author,Content" in caught.value.hint
    (session,), _ = read(table, columns="Author,Content")
    assert session.turns == (Turn("Hi", "Ann"),)


def test_times_that_are_not_read_are_told(read: Read, caplog: pytest.LogCaptureFixture) -> None:
    read("Date,Name,Message\n2024-01-01,Ann,Hi\n2025-01-01,Bo,Hello\n")
    assert "column Date is not read" in caplog.text
    caplog.clear()
    read("date,name,message,conversation\n2024-01-01,Ann,Hi,1\n2025-01-01,Bo,Hello,2\n")
    read("name,message\nAnn,Hi\nBo,Hello\n")
    read("date,question,answer\n2024-01-01,Hi,Hello\n")
    assert "is not read" not in caplog.text


@pytest.mark.parametrize("link", ["parent_id", "in_response_to_tweet_id", "replyTo"])
def test_rows_that_answer_others_are_no_conversation(read: Read, link: str) -> None:
    table = f"{link},author,text\n,Ann,a\n1,Bo,b\n"
    with pytest.raises(DataError, match=rf"what they answer \(column {link}\).*--columns"):
        read(table)
    assert len(read(table, columns="author,text")[0]) == 1
    (session,), _ = read(f"conversation_id,{link},author,text\n5,,Ann,a\n5,1,Bo,b\n")
    assert session.id == "talk/5"
    assert len(read(f"prompt,response,{link}\na,b,7\n")[0]) == 1


def test_what_is_not_known_is_told(read: Read, caplog: pytest.LogCaptureFixture) -> None:
    """A first row that may be a header is warned of; one of a speaker who speaks again is not."""
    caplog.set_level(logging.WARNING)
    rows = "Ann,Hi\nBo,Hello\nAnn,Bye\n"
    assert len(read("wer,was\n" + rows, file="talk.csv")[0][0].turns) == 4
    assert "'wer', 'was', is read as a turn" in caplog.text
    caplog.clear()
    assert len(read(rows, file="talk.csv")[0][0].turns) == 3
    assert not caplog.messages
    with pytest.raises(DataError, match=r"talk\.csv:1: no column of names.*'wer', 'was', 'wann' \(.*--columns"):
        read("wer,was,wann\n1,2,3\n", file="talk.csv")
    numbered = "".join(f"{number},a line\n" for number in range(20))
    with pytest.raises(DataError, match=r"no name occurs twice in the first column: '0', 'a line' \(.*--columns"):
        read(numbered, file="talk.csv")


@pytest.mark.parametrize(
    "table, names",
    [
        ("name,line\nAnn,a\nBo,b\n,\nAnn,c\nBo,d\n", ["talk/0", "talk/1"]),
        ("name,line\nAnn,a\nBo,b\n\n\nAnn,c\nBo,d\n", ["talk/0", "talk/1"]),
        ("name,line\n\nAnn,a\nBo,b\nSCENE 2,\nAnn,c\nBo,d\n\n", ["talk/0", "talk/1"]),
        ("scene,name,line\n1,Ann,a\n1,Bo,b\n2,Ann,c\n2,Bo,d\n", ["talk/1", "talk/2"]),
        ("dialogueID,from,to,text\n1,Ann,Bo,a\n1,Bo,Ann,b\n2,Ann,,c\n2,Bo,,d\n", ["talk/1", "talk/2"]),
        ("season,episode,name,line\n1,1,Ann,a\n1,1,Bo,b\n1,2,Ann,c\n1,2,Bo,d\n", ["talk/1/1", "talk/1/2"]),
        ("dialogue_id,utterance\nx,a\nx,b\ny,c\ny,d\n", ["talk/x", "talk/y"]),
    ],
)
def test_scenes(read: Read, table: str, names: list[str]) -> None:
    found, dropped = read(table)
    assert [session.id for session in found] == names
    assert [[turn.text for turn in session.turns] for session in found] == [["a", "b"], ["c", "d"]]
    assert dropped == ({"row without a line (ends its scene)": 1} if "SCENE" in table else {})


@pytest.mark.parametrize(
    "table, message",
    [
        ('name,line\nAnn,Hi\nAnn,"Hello\nBo,Hi\n', ":3: unexpected end of data"),
        ('name,line\nAnn,"Hi" there\nBo,x\n', ":2: .*expected after"),
        ('name,line\nAnn,"Hi\nBo,Oh\nAnn,"no"\n', ":2: .*expected after"),
        ("line,name\nHi, you,Ann\n", ":2: 3 fields, 2 are expected"),
        ("a,b,c\n1,2,3\n", ":1: no column of names"),
        ("one column\nonly\n", ":1: no column of names"),
        ('name,line\nAnn,"' + "x" * 200_000 + '"\n', ":2: field larger than"),
    ],
)
def test_a_table_that_cannot_be_read_is_named_with_its_line(read: Read, table: str, message: str) -> None:
    with pytest.raises(DataError, match=rf"talk\.txt{message}"):
        read(table, "script")


WORD = st.text(st.characters(codec="utf-8", categories=("L", "N", "P", "S")), min_size=1)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.tuples(WORD, st.lists(WORD, min_size=1, max_size=4)), min_size=1), st.sampled_from(",;|"))
def test_what_a_csv_writer_writes_comes_back(read: Read, rows: list[tuple[str, list[str]]], delimiter: str) -> None:
    table = io.StringIO()
    writer = csv.writer(table, delimiter=delimiter)
    writer.writerow(["name", "line"])
    writer.writerows((name, "\n".join(words)) for name, words in rows)
    found, _ = read(table.getvalue(), "script")
    expected = [(name, tidy(" ".join(words))) for name, words in rows]
    assert [turn for session in lines(found) for turn in session] == [turn for turn in expected if turn[1]]
