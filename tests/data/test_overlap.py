"""Overlap with held-out texts, and the files these come in."""

import gzip
import pickle
import re
from pathlib import Path

import msgspec
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from dialogpt.data.overlap import HeldOut, contaminated, load_held_out, read_texts
from dialogpt.errors import DataError
from dialogpt.session import EvalItem, Session, Turn

FOX = "The quick brown fox jumps over the lazy dog."
HELD_OUT = HeldOut([FOX, "one two three", "съешь же ещё этих мягких булок", "أهلا وسهلا بكم في بيتنا"])


@pytest.mark.parametrize(
    "text, share",
    [
        (FOX, 1),
        ("the QUICK, brown... fox", 1),
        ("The quick brown fox sleeps", 1 / 2),
        ("See how the quick brown fox jumps", 2 / 4),
        ("one two three", 0),
        ("quick brown fox", 0),
        ("", 0),
        ("😂", 0),
        ("fox brown quick the lazy dog over", 0),
        ("Съешь же ещё этих французских булок", 1 / 3),
        ("أَهْلاً وسهلا بكم في بيتنا", 1),
    ],
)
def test_the_share_of_held_out_four_grams(text: str, share: float) -> None:
    assert HELD_OUT.overlap(text) == pytest.approx(share)
    assert HELD_OUT.overlaps(["what else is there", text, ""]).tolist() == pytest.approx([0, share, 0])


words = st.lists(st.sampled_from("abc"), max_size=9).map(" ".join)


@given(st.lists(words, max_size=5), words)
def test_it_is_what_sets_of_words_give(held_out: list[str], text: str) -> None:
    def four(found: str) -> list[str]:
        split = found.split()
        return [" ".join(split[i : i + 4]) for i in range(len(split) - 3)]

    known = {gram for each in held_out for gram in four(each)}
    asked = four(text)
    expected = sum(gram in known for gram in asked) / len(asked) if asked else 0
    assert HeldOut(held_out).overlap(text) == pytest.approx(expected)
    assert len(HeldOut(held_out)) == len(known)


def test_sessions_with_a_turn_of_the_test_set() -> None:
    texts = [("hi", FOX, "ok"), ("hi", "there"), (), ("The quick brown fox sleeps",), ("a b c d e",)]
    sessions = [Session(tuple(map(Turn, each))) for each in texts]
    assert contaminated(sessions, HELD_OUT, 0.8).tolist() == [True, False, False, False, False]
    assert contaminated(sessions, HELD_OUT, 0.5).tolist() == [True, False, False, True, False]
    assert contaminated(sessions, HELD_OUT, 0.0).tolist() == [True, False, False, True, False]
    assert contaminated([], HELD_OUT, 0.5).tolist() == []


def test_it_travels_to_other_processes() -> None:
    copy = pickle.loads(pickle.dumps(HELD_OUT))
    assert (copy.overlap(FOX), len(copy)) == (1, len(HELD_OUT))


ITEM = EvalItem((Turn("what is up"), Turn("the sky")), "1", ("so they say", "clouds"))


@pytest.mark.parametrize(
    "content, texts",
    [
        ("one\n\n two three \r\n", ["one", " two three "]),
        ("id\tfirst one\t3|second: 2|b\t-2|third", ["id", "first one", "second: 2|b", "third"]),
        ("hello EOS hi\t0.5|yes", ["hello", "hi", "yes"]),
        ("press 5|6 now\t-1|3|4", ["press 5|6 now", "3|4"]),  # a score is before the text, nowhere else
        ('{"turns": [{"text": "hi", "speaker": "A"}, {"text": "ho"}], "id": "7"}\n', ["hi", "ho"]),
        (msgspec.json.encode(ITEM).decode() + "\n", ["what is up", "the sky", "so they say", "clouds"]),
        ('\ufeff{"context": ["hi"], "references": ["ho"], "human": "he"}', ["hi", "ho", "he"]),
    ],
)
def test_files_of_every_form(tmp_path: Path, content: str, texts: list[str]) -> None:
    for name, data in (("plain", content.encode()), ("zipped", gzip.compress(content.encode()))):
        (tmp_path / name).write_bytes(data)
        assert [text for text in read_texts(tmp_path / name) if text] == texts


def test_files_and_folders_together(tmp_path: Path) -> None:
    (tmp_path / "sessions").mkdir()
    (tmp_path / "sessions" / "sessions-00000.jsonl").write_text('{"turns": [{"text": "a b c d"}]}\n', encoding="utf-8")
    (tmp_path / "references.txt").write_text("e f g h\n", encoding="utf-8")
    held_out = load_held_out([tmp_path / "sessions", tmp_path / "references.txt"])
    assert held_out.overlaps(["a b c d", "e f g h", "d e f g"]).tolist() == [1, 1, 0]


@pytest.mark.parametrize(
    "content, reason",
    [
        (b"", "no text of 4 words in .*held.txt"),
        (b"one two three\n", "no text of 4 words"),
        (b"one two three four\n\xe3\n", r"held\.txt:2: not UTF-8"),
        (b'{"turns": [{"text": "a"}]}\nplain text\n', r"held\.txt:2: neither a session nor an evaluation item"),
        (b'{"text": "a b c d"}\n', r"held\.txt:1: .*it has no text"),
        (b'{"turns": "a b c d"}\n', r"held\.txt:1: .*Expected `array`, got `str`"),
    ],
)
def test_files_that_hold_nothing_of_use(tmp_path: Path, content: bytes, reason: str) -> None:
    (tmp_path / "held.txt").write_bytes(content)
    with pytest.raises(DataError, match=reason):
        load_held_out([tmp_path / "held.txt"])


def test_real_references_are_found_again(shared: Path) -> None:
    references = shared / "eval" / "human.ref.6k.txt"
    held_out = load_held_out([references, shared / "eval" / "dstc7-task2" / "dstc7-task2-gold_responses.tsv"])
    lines = [line for line in references.read_text(encoding="utf-8").split("\n") if len(re.findall(r"\w+", line)) > 8]
    assert len(lines) > 3000
    assert np.all(held_out.overlaps(lines) == 1)
    assert np.mean(held_out.overlaps([" ".join(reversed(line.split())) for line in lines])) < 0.01
