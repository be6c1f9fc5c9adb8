"""The `open` preset: records -> posts."""

import msgspec
import pytest

from dialogpt.data.dumps import Record
from dialogpt.data.presets.open import as_post
from dialogpt.data.reddit import Post, known_author

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
