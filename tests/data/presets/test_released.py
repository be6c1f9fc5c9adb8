"""The `released` preset: golden cases, and a naive extractor beside it."""

import io
import json
import re
from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialogpt.data import ExtractConfig
from dialogpt.data.dumps import Record
from dialogpt.data.extract import counted_forest
from dialogpt.data.presets import resolve, rules_for
from dialogpt.data.presets.released import Normal, reason_against
from dialogpt.data.reddit import Post
from dialogpt.data.spill import SpillWriter, read_spill
from dialogpt.data.tally import Tally
from dialogpt.data.writers import as_tsv
from dialogpt.errors import DataError

GOOD = "this is fine"


def words(text: str) -> str:
    return " ".join(Normal(text).words)


def reason(*turns: str) -> str | None:
    return reason_against([Normal(turn) for turn in turns], 200)


@pytest.mark.parametrize(
    "text, expected",
    [
        ("Hello,  world!\n\nHow's it\tgoing?", "Hello , world ! How's it going ?"),
        ("a #hashtag is #gone but a#b stays", "a is but a b stays"),
        ("#all #gone", ""),
        ("b/c of that w/ or w/o me, j/k", "because of that with or without me , just kidding"),
        ("b/cause", "becauseause"),
        ("w/out", "withoutut"),
        ("caf\u00e9 \u4f60\u597d na\u00efve 😀 ok", "caf na ve ok"),
        ("“so” he-said — 50% @me *now* a_b", "“ so ” he said 50 me now a b"),
        ("Tom &amp; Jerry &lt;3 &quot;x&quot;", "Tom amp Jerry lt 3 quot x quot"),  # entities stay as they are
        ("ask __mention__ or MENTION or aMENTIONb", "ask __mention__ or __mention__ or a__mention__b"),
        ("MY WORD", "MY WORD"),
        ("", ""),
    ],
)
def test_golden_normal_forms(text: str, expected: str) -> None:
    assert words(text) == expected


@pytest.mark.parametrize(
    "text",
    ["http://a.b/c", "see:https://x.y", "aHTTPb", "(http://x.y)", "the URL is", "my __url__", "URLs", "x\u00e9http"],
)
def test_a_link_anywhere_is_a_reason(text: str) -> None:
    assert reason(f"look at {text} there", GOOD) == reason(GOOD, f"look {text}") == "url"


def test_a_word_that_ends_in_url_is_taken_apart_and_is_no_link() -> None:
    assert words("use cURL or myURL, 8URL") == "use c__url __ or my__url __ , 8__url__"
    assert reason(GOOD, "use cURL or so") is None
    assert reason(GOOD, "use cURLs or so") == "url"


@pytest.mark.parametrize(
    "turns, expected",
    [
        ((GOOD, GOOD), None),
        ((GOOD, "#tag \u4f60\u597d"), "empty target"),
        (("#tag \u4f60\u597d", GOOD), None),  # an empty source is let pass
        ((GOOD, "it " + "x" * 30), None),
        ((GOOD, "it " + "x" * 31), "long word"),
        (("it " + "x" * 31, GOOD), None),
        ((GOOD, "I am HERE"), None),
        ((GOOD, "I am THERE"), "capitals"),
        (("I am THERE", GOOD), "capitals"),
        ((GOOD, "soSHOUTy"), "capitals"),
        ((GOOD, "no no no"), "repeated word"),
        ((GOOD, "no no No"), None),
        (("no no no", GOOD), None),
        ((GOOD, "what!!!"), "repeated word"),
        ((GOOD, "what!!"), None),
        ((GOOD, "well..."), None),  # one word
        ((GOOD, "1.0 1.0 for all"), "repeated word"),  # the weight is the first of three
        *(((GOOD, f"a {mark} b"), "special markers") for mark in "[]()"),
        *(((f"a {mark} b", GOOD), "special markers") for mark in "[]()"),
    ],
)
def test_reasons_against_an_instance(turns: tuple[str, ...], expected: str | None) -> None:
    assert reason(*turns) == expected


def test_weights_and_end_tokens_count_as_words() -> None:
    # 3 turns: 3 weights and 1 EOS
    source, other = "a b " * 49, "c d " * 48  # 98 and 96 words
    assert reason(source, other, "a b") is None  # 200 with 4 more
    assert reason(source, other, "a b c") == "too many words"
    assert reason_against([Normal(source), Normal(other), Normal("a b c")], 0) is None


@pytest.mark.parametrize(
    "body, count",
    [
        ("[deleted]", {"comment: deleted": 1}),
        ("[deleted] ", {"comment: too few words": 1}),
        ("one > two", {"comment: quote": 1}),
        ("&gt; two words", {"comment: quote": 1}),
        ("one", {"comment: too few words": 1}),
        ("one\\", {"comment: too few words": 1}),
        (" \n\t", {"comment: too few words": 1}),
        ("a b " * 15 + "c", {"comment: too many words": 1}),
        ("a b " * 15, {}),
        ("\\ ".join("ab" * 15), {}),
    ],
)
def test_comments_that_are_absent(dumps: Any, body: str, count: dict[str, int]) -> None:
    manifest, sessions = dumps.run(*dumps.chain("the first", "the second", body, "the fourth", "the fifth"),
                                   preset="released")  # fmt: skip
    assert {reason: n for reason, n in manifest.dropped.items() if reason.startswith("comment")} == count
    paths = [[turn.text for turn in session.turns] for session in sessions]
    whole = [["the first", "the second", " ".join(body.replace("\\", "").split()), "the fourth", "the fifth"]]
    if not count:
        assert paths == whole
    elif "comment: too many words" in count:  # it is there: what it answers is no leaf
        assert paths == [["the fourth", "the fifth"]]
    else:
        assert paths == [["the first", "the second"], ["the fourth", "the fifth"]]


def test_a_long_comment_at_the_top_cuts_its_paths_and_hides_no_thread(dumps: Any) -> None:
    chain = dumps.chain("a b " * 20, "the second", "the third")
    manifest, sessions = dumps.run(*chain, *dumps.chain("x y", "y z", thread="y"), preset="released")
    assert [[turn.text for turn in session.turns] for session in sessions] == [
        ["the second", "the third"],
        ["x y", "y z"],
    ]
    assert manifest.dropped == {"comment: too many words": 1}
    with pytest.raises(DataError, match=r"no session.*need submissions, RS_\*"):  # whatever stands below it
        dumps.run(*chain[1:], preset="released")


@pytest.mark.parametrize(
    "fields, kept",
    [({}, True), ({"score": 1}, True), ({"score": 0}, False), ({"score": None}, False), ({"score": "3"}, True),
     ({"author": None}, True)],
)  # fmt: skip
def test_scores_and_nulls(dumps: Any, fields: dict[str, object], kept: bool) -> None:
    manifest, sessions = dumps.run(*dumps.chain("a b", "c d", "e f", **fields), *dumps.chain("u v", "w x", thread="y"),
                                   preset="released")  # fmt: skip
    assert [len(session.turns) for session in sessions] == ([3, 2] if kept else [2])
    assert manifest.dropped == ({} if kept else {"path: low score": 1})


@pytest.mark.parametrize("name", ["author", "parent_id", "score"])
def test_a_missing_field_is_a_reason(dumps: Any, name: str) -> None:
    chain = dumps.chain("a b", "c d", "e f")
    del chain[-1][name]
    manifest, sessions = dumps.run(*chain, preset="released")
    assert [len(session.turns) for session in sessions] == [2]
    assert manifest.dropped == {"comment: missing field": 1}


@pytest.mark.parametrize(
    "number, there", [(2, True), ("2", True), (2.0, True), (1, False), (None, False), ("x", False)]
)
def test_a_thread_needs_a_submission_of_two_comments(dumps: Any, number: object, there: bool) -> None:
    _, *comments = dumps.chain("a b", "c d")
    submission = dumps.submission(num_comments=number, title="")
    other = dumps.chain("u v", "w x", thread="y")
    manifest, sessions = dumps.run(*comments, submission, *other, preset="released")
    assert len(sessions) == 1 + there
    expected = {"submission: fewer than 2 comments": 1, "comment: no submission": 2}
    assert manifest.dropped == ({} if there else expected)
    manifest, sessions = dumps.run(*comments, *other, preset="released")
    assert (len(sessions), manifest.dropped) == (1, {"comment: no submission": 2})


def test_only_leaves_give_a_path_of_five_at_most(dumps: Any) -> None:
    chain = dumps.chain(*(f"turn {n}" for n in range(1, 8)))
    _, sessions = dumps.run(*chain, dumps.comment(9, 1, "an aside"), preset="released", format="jsonl")
    assert [[turn.text for turn in session.turns] for session in sessions] == [
        [f"turn {n}" for n in range(3, 8)],
        ["turn 1", "an aside"],
    ]
    assert [session.id for session in sessions] == ["t3_x/t1_x6/t1_x7", "t3_x/t1_x1/t1_x9"]


def test_of_two_comments_with_one_id_the_last_counts_and_months_meet(dumps: Any) -> None:
    first, second, third = dumps.chain("a b", "the first form")
    again = third | {"body": "the last form"}
    january = dumps.write(second, third, name="RC_1")
    february = dumps.write(again, first, name="RC_2")
    for paths in ((january, february), (dumps.write(first, second, third, again),)):
        manifest = dumps.extract(*paths, preset="released", format="tsv")
        (line,) = (dumps.out / "sessions-00000.tsv").read_text().splitlines()
        assert line == "t3_x,t1_x1,t1_x2\t1.0 a b\t1.0 the last form"
        assert manifest.dropped == {"comment: duplicate id": 1}


def test_no_limit_of_words_and_titles_if_asked_for(dumps: Any) -> None:
    bodies = ["a, b, " * 15] * 4 + ["c, d, " * 15]
    with pytest.raises(DataError, match="no session"):
        dumps.run(*dumps.chain(*bodies), preset="released")
    manifest, _ = dumps.run(*dumps.chain(*bodies), preset="released", max_session_words=0)
    assert manifest.counts["sessions"] == 1
    _, (session,) = dumps.run(*dumps.chain("only comment"), preset="released", title=True)
    assert [turn.text for turn in session.turns] == ["title : A title", "only comment"]
    assert session.turns[0].speaker == "op"


# --- a naive extractor ------------------------------------------------------------------------------------------------


def naive_words(text: str, tokenize: Any) -> str:
    found = [word for word in text.split() if word[0] != "#"]
    found = [re.sub("(?is)http.*", " __url__", word) for word in found]
    text = " ".join(found)
    for short, long in ("b/c", "because"), ("j/k", "just kidding"), ("w/o", "without"), ("w/", "with"):
        text = text.replace(short, long)
    text = text.replace("__mention__", "MENTION").replace("__url__", "URL")
    text = re.sub(r"[^A-Za-z0-9()\[\]:,.!?'“” ]", " ", text)
    text = text.replace("MENTION", "__mention__").replace("URL", "__url__")
    return " ".join(" ".join(tokenize(text)).split())


def is_bad(source: str, target: str) -> bool:
    both, words = f"{source} {target}", target.split()
    return (
        len(words) < 2
        or max(map(len, words)) > 30
        or len(both.split()) > 200
        or "__url__" in both
        or re.search(r"[\[\]()]|[A-Z]{5}", both) is not None
        or any(len(set(words[i : i + 3])) == 1 for i in range(len(words) - 2))
    )


def naive_lines(records: list[dict[str, Any]], tokenize: Any) -> set[str]:
    threads = {f"t3_{r['id']}" for r in records if "title" in r and int(r["num_comments"] or 0) >= 2}
    comments: dict[str, dict[str, Any]] = {}
    for r in records:
        if "body" in r and r["link_id"] in threads and {"author", "parent_id", "score"} <= r.keys():
            body = r["body"].replace("\\", "")
            if r["body"] != "[deleted]" and not re.search(">|&gt;", r["body"]) and len(body.split()) >= 2:
                comments[f"t1_{r['id']}"] = r | {"body": body}

    def path(name: str, depth: int) -> list[str]:
        if not depth or name not in comments or len(comments[name]["body"].split()) > 30:
            return []
        return [*path(comments[name]["parent_id"], depth - 1), comments[name]["body"]]

    lines = set()
    for name in comments.keys() - {c["parent_id"] for c in comments.values()}:
        turns = [f"1.0 {naive_words(text, tokenize)}" for text in path(name, 5)]
        source, target = " EOS ".join(turns[:-1]), turns[-1] if turns else ""
        if len(turns) >= 2 and int(comments[name]["score"] or 0) >= 1 and not is_bad(source, target):
            lines.add(f"{comments[name]['link_id']},{comments[name]['parent_id']},{name}\t{source}\t{target}")
    return lines


def our_lines(records: list[dict[str, Any]]) -> list[str]:
    config = resolve(ExtractConfig(dumps=("R",), out="out", preset="released"))
    rules, tally, file = rules_for(config), Tally(), io.BytesIO()
    decoder = msgspec.json.Decoder(Record)
    spill = SpillWriter(file, 1)
    for block, record in enumerate(records):
        spill.add(*rules.posts([decoder.decode(json.dumps(record))], block, tally))
    spill.close()
    posts: list[Post] = []
    marks: list[str] = []
    for some_posts, some_marks in read_spill(file, 0):
        posts += some_posts
        marks += some_marks
    forest = counted_forest(posts, marks, tally)
    return [as_tsv(session) for session in rules.sessions(forest, tally)]


WORDS = ["the", "cat", "sat", "no", "no", "yes", "Is", "it's", "don't", "ok!", "so,", "what?"]
ODD_WORDS = [
    *("FOUR", "FIVES", "b/c", "w/o", "w/", "j/k", "8)", "reddit.com", "...", ".", "555", "1234", "1.0", "1.0", "cURL"),
    *("cafe\u0301", "\u4f60\u597d", "“hi”", "'", "a_b,", "\\", "x\\y", "&amp;", "!!!!", "x" * 30, "x" * 31, "#tag"),
    *("http://x.y", "see:HTTPx", "MENTION", "URL", "__url__", "[x]", "(y)", "x>y", "&gt;", "THERE"),
]
BODIES = st.one_of(
    *[st.lists(st.sampled_from(WORDS), min_size=2, max_size=6).map(" ".join)] * 5,
    st.lists(st.sampled_from([*WORDS * 3, *ODD_WORDS]), min_size=1, max_size=6).map("\n".join),
    st.sampled_from(["[deleted]", "a b " * 15, "a b " * 15 + "c", "it's, " * 30, "one", ""]),
)
COMMENTS = st.fixed_dictionaries(
    {
        "parent": st.integers(0, 3),
        "thread": st.integers(0, 1),
        "body": BODIES,
        "score": st.sampled_from([*[1] * 8, 0, 2, None, "3", "-1"]),
        "author": st.sampled_from(["a", None]),
        "lacks": st.sampled_from([*[""] * 20, "score", "author", "parent_id"]),
        "again": st.one_of(*[st.none()] * 7, BODIES),
    }
)


def as_records(comments: list[dict[str, Any]], numbers: list[int | str | None]) -> list[dict[str, Any]]:
    records: list[dict[str, Any]] = [{"id": str(t), "title": "", "num_comments": n} for t, n in enumerate(numbers)]
    of_thread = Counter[int]()
    for c in comments:
        thread = c["thread"]
        number = of_thread[thread] = of_thread[thread] + 1
        parent = max(number - 1 - c["parent"], 0)  # chains, mostly
        record = {
            "id": f"{thread}c{number:02}",
            "link_id": f"t3_{thread}",
            "parent_id": f"t1_{thread}c{parent:02}" if parent else f"t3_{thread}",
            "body": c["body"],
            "score": c["score"],
            "author": c["author"],
        }
        record.pop(c["lacks"], None)
        records.append(record)
        if c["again"] is not None and (len(c["again"].split()) > 30) == (len(c["body"].split()) > 30):
            records.append(record | {"body": c["again"]})
    return records


@settings(max_examples=300)
@given(
    st.lists(COMMENTS, min_size=1, max_size=12),
    st.lists(st.sampled_from([2, 3, 9, 5, "7", 1, None]), min_size=2, max_size=2),
)
def test_the_lines_are_those_of_a_naive_extractor(comments: list[dict[str, Any]], numbers: list[Any]) -> None:
    casual = pytest.importorskip("nltk.tokenize.casual", reason="needs nltk, of the extra `test`")
    records = as_records(comments, numbers)
    lines = our_lines(records)
    assert len(lines) == len(set(lines))
    assert set(lines) == naive_lines(records, casual.TweetTokenizer(preserve_case=True).tokenize)
    if all(comment["again"] is None for comment in comments):
        assert our_lines(records[::-1]) == lines  # the order of lines is irrelevant
