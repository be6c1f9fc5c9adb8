"""The `open` preset: records -> posts -> sessions."""

import unicodedata
from typing import Any

import msgspec
import pytest

from dialogpt.data.dumps import Record
from dialogpt.data.presets.open import as_post
from dialogpt.data.reddit import Post, known_author
from dialogpt.files import read_lines
from dialogpt.session import read_sessions

RECORD = Record(
    id="c9",
    body="I *agree*",
    link_id="t3_7",
    parent_id="t1_c8",
    author="ann",
    subreddit="pics",
    score="4",
)


def changed(**fields: object) -> Post | str:
    return as_post(msgspec.structs.replace(RECORD, **fields))


def test_a_comment_becomes_a_post() -> None:
    assert as_post(RECORD, 5) == Post("t1_c9", "t1_c8", "t3_7", "ann", "I agree", 4, "pics", 5)


def test_a_submission_becomes_the_first_post_of_its_thread() -> None:
    title = as_post(Record(id="7", title="Look &amp; see", author="bob", subreddit="pics", score=9))
    assert title == Post("t3_7", "", "t3_7", "bob", "Look & see", 9, "pics", 0)


@pytest.mark.parametrize(
    "fields, reason",
    [
        ({"body": "[deleted]"}, "deleted"),
        ({"body": "[Deleted by user]"}, "deleted"),
        ({"body": "[removed]\n"}, "removed"),
        ({"body": "[ Removed by Reddit ]"}, "removed"),
        ({"body": ""}, "empty"),
        ({"body": "&gt; only a quote"}, "empty"),
        ({"body": "\u200b"}, "empty"),
        ({"author": "AutoModerator"}, "bot"),
        ({"author": "haiku-bot"}, "bot"),
        ({"author": "RemindMeBot"}, "bot"),
        ({"author": "bot_of_all"}, "bot"),
        ({"body": "*^I ^am ^a ^bot.*"}, "bot"),
        ({"body": "I am a bot, and this action was performed automatically."}, "bot"),
    ],
)
def test_records_that_are_no_post(fields: dict[str, object], reason: str) -> None:
    assert changed(**fields) == reason


@pytest.mark.parametrize("author", ["Talbot", "abbot", "robotics", "Botany", "sabotage"])
def test_names_that_only_look_like_bots(author: str) -> None:
    assert isinstance(changed(author=author), Post)


def test_people_who_left_have_no_name_but_their_words_stay() -> None:
    for author in ("[deleted]", "[anonymous]", None):
        found = changed(author=author)
        assert isinstance(found, Post)
        assert known_author(found.author) == ""


@pytest.mark.parametrize(
    "parent, link, expected",
    [
        ("t1_c8", "t3_7", "t1_c8"),
        ("c8", "7", "t1_c8"),
        ("7", "7", "t3_7"),
        ("t3_7", "t3_7", "t3_7"),
        (None, "t3_7", "t3_7"),
        ("", "t3_7", "t3_7"),
    ],
)
def test_parents_with_and_without_their_kind(parent: str | None, link: str, expected: str) -> None:
    found = changed(parent_id=parent, link_id=link)
    assert isinstance(found, Post)
    assert (found.parent, found.thread) == (expected, "t3_7")


DIALOGUES = {
    "arabic": ["هل قرأتَ رواية «موسم الهجرة إلى الشمال»؟", "نعم، قرأتُها مرّتين ـ وأحببتُها.", "وأنا أيضًا ٣ مرّات!"],
    "russian": ["Ты сейчас дома? Ёлки…", "Нет — я «в пути», буду к 18:30.", "Хорошо, жду!"],
    "japanese": ["最近、映画を見ましたか?", "はい!「君の名は。」を見ました。", "いいですね〜😊"],
    "persian": ["می‌خواهم بروم", "نمی‌دانم چرا", "باشد"],
    "thai": ["สวัสดีครับ สบายดีไหม", "สบายดีค่ะ แล้วคุณล่ะ", "สบายดีครับ"],
    "hindi": ["क्या हाल है?", "सब ठीक है, और आप?", "मैं भी ठीक हूँ"],
    "emoji": ["👍🏽", "👩‍👩‍👧‍👦 ❤️", "🇯🇴🏳️‍🌈"],
    "combining": ["cafe\u0301 or caf\u00e9?", "I\u0307stanbul", "Straße & ﬁn"],
}


def texts(session: Any) -> list[str]:
    return [turn.text for turn in session.turns]


@pytest.mark.parametrize("format", ["jsonl", "parquet", "messages", "tsv"])
def test_dialogues_in_any_script_survive_intact(dumps: Any, format: str) -> None:
    expected = {
        f"t3_{name}/": [unicodedata.normalize("NFC", text) for text in said] for name, said in DIALOGUES.items()
    }
    records = [record for name, said in DIALOGUES.items() for record in dumps.chain(*said, thread=name)[1:]]
    manifest = dumps.extract(dumps.write(*records), format=format)
    assert manifest.counts["sessions"] == len(expected)
    assert manifest.dropped == {}
    (file,) = (path for path in dumps.out.iterdir() if path.name != "manifest.json")
    found: dict[str, list[str]] = {}
    if format == "jsonl":
        found = {session.id: texts(session) for session in read_sessions(dumps.out)}
    elif format == "messages":
        for line in read_lines(file):
            chat = msgspec.json.decode(line)
            assert [message["role"] for message in chat["messages"]] == ["assistant", "user", "assistant"]
            found[chat["id"]] = [message["content"] for message in chat["messages"]]
    elif format == "parquet":
        parquet = pytest.importorskip("pyarrow.parquet", reason="needs pyarrow, of the extra `parquet`")
        for row in parquet.read_table(file).to_pylist():
            assert row["source"] == "reddit/s"
            found[row["id"]] = [turn["text"] for turn in row["turns"]]
    else:
        for line in file.read_text(encoding="utf-8").split("\n")[:-1]:
            header, source, target = line.split("\t")
            turns = [*source.split(" EOS "), target]
            assert all(turn.startswith("1.0 ") for turn in turns)
            found[header.replace(",", "/")] = [turn[4:] for turn in turns]
    for name in DIALOGUES:
        assert found[f"t3_{name}/t1_{name}2/t1_{name}3"] == expected[f"t3_{name}/"]


def test_markdown_entities_and_line_ends_become_plain_words(dumps: Any) -> None:
    chain = dumps.chain(
        "Tom &amp; *Jerry*, **really**\n\n&gt; you said\n\nyes &lt;3",
        "see [this page](https://example.com/x) it's `code`",
        "so\r\nmuch\u200b text\x00\n\nEdit: a word",
    )
    _, (session,) = dumps.run(*chain)
    assert texts(session) == ["A title", "Tom & Jerry, really yes <3", "see this page it's code", "so much text"]


@pytest.mark.parametrize(
    "fields, reason",
    [
        ({"body": "look: https://example.com/x"}, "url"),
        ({"body": "&gt; only a quote"}, "empty"),
        ({"author": "AutoModerator"}, "bot"),
        ({"body": "[removed]"}, "removed"),
        ({"body": "w " * 101}, "too many words"),
        ({"body": "字" * 201}, "too many words"),
    ],
)
def test_what_is_left_out_cuts_the_path(dumps: Any, fields: dict[str, str], reason: str) -> None:
    title, *chain = dumps.chain("one", "two", "three", "four", "five")
    chain[2] |= fields
    manifest, sessions = dumps.run(title, *chain)
    assert list(map(texts, sessions)) == [["A title", "one", "two"], ["four", "five"]]
    assert manifest.dropped == {f"comment: {reason}": 1}


@pytest.mark.parametrize("body", ["v w " * 50, "字" * 200, "word"])
def test_the_longest_and_the_shortest_comment(dumps: Any, body: str) -> None:
    _, (session,) = dumps.run(*dumps.chain("one", body))
    assert texts(session) == ["A title", "one", body.strip()]


def test_the_most_words_of_a_session(dumps: Any) -> None:
    chain = dumps.chain("one two", "三四五", "six")  # with the title 2 + 2 + 2 + 1
    assert dumps.run(*chain, max_session_words=7)[0].counts["sessions"] == 1
    other = dumps.chain("one", thread="y")
    manifest, sessions = dumps.run(*chain, *other, max_session_words=6)
    assert [session.id for session in sessions] == ["t3_y/t3_y/t1_y1"]
    assert manifest.dropped == {"path: too many words": 1}
    assert dumps.run(*chain, max_session_words=0)[0].counts["sessions"] == 1


@pytest.mark.parametrize("preset", ["open", "released"])
def test_sessions_come_in_the_order_of_their_leaves_whatever_that_of_the_lines(dumps: Any, preset: str) -> None:
    chains = [dumps.chain(*(f"word {name} {n}" for n in range(4)), thread=name) for name in ("b", "a", "aa")]
    records = [record for chain in chains for record in chain]
    records += [dumps.comment(n, 2, f"word {n} more", name) for n in (5, 6, 7) for name in ("a", "b")]
    expected = [f"t1_{name}{n}" for name in ("a", "b") for n in (4, 5, 6, 7)] + ["t1_aa4"]
    for lines in (records, records[::-1], records[::2] + records[1::2]):
        _, sessions = dumps.run(*lines, preset=preset)
        assert [session.id.split("/")[2] for session in sessions] == expected
