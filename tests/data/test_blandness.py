"""Tri-grams counted in parts, added up in any order, and the texts they make bland."""

import io
import random
import tempfile
from collections import Counter
from pathlib import Path
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialogpt.data import blandness
from dialogpt.data.blandness import TrigramSketch, TrigramWriter, width_for
from dialogpt.data.wordhash import between_blanks, grams
from dialogpt.errors import DataError

WIDTH = 1 << 12
words = st.sampled_from(["i", "do", "not", "know", "Да", "猫", "😂"])
texts = st.lists(words, max_size=8).map(" ".join)
corpora = st.lists(st.lists(texts, max_size=6), max_size=4)


def counted(made: list[str]) -> io.BytesIO:
    file = io.BytesIO()
    writer = TrigramWriter(file)
    for text in made:
        writer.add(text)
    writer.close()
    file.seek(0)
    return file


def merged(parts: list[list[str]], width: int = WIDTH) -> TrigramSketch:
    sketch = TrigramSketch(width)
    for part in parts:
        sketch.merge(counted(part))
    return sketch


def trigrams(made: list[str]) -> Counter[str]:
    split = [text.casefold().split() for text in made]
    return Counter(" ".join(found[i : i + 3]) for found in split for i in range(len(found) - 2))


def counts_of(sketch: TrigramSketch, names: list[str]) -> list[int]:
    return sketch.count(grams(names, 3, between_blanks()).hashes).tolist()


@settings(max_examples=50)
@given(corpora, st.integers(1, 12), st.integers(1, 4))
def test_counts_are_never_too_few(parts: list[list[str]], block: int, at_once: int) -> None:
    with patch.object(blandness, "BLOCK_TRIGRAMS", block), patch.object(blandness, "TEXTS_AT_ONCE", at_once):
        tiny, wide = merged(parts, 8), merged(parts)
    expected = trigrams([text for part in parts for text in part])
    assert counts_of(wide, list(expected)) == list(expected.values())
    assert all(found >= count for found, count in zip(counts_of(tiny, list(expected)), expected.values(), strict=True))


@settings(max_examples=30)
@given(corpora, st.randoms(use_true_random=False))
def test_the_order_of_parts_does_not_matter(parts: list[list[str]], rng: random.Random) -> None:
    everything = [text for part in parts for text in part]
    with tempfile.TemporaryDirectory() as name:
        saved = []
        for number, order in enumerate((parts, rng.sample(parts, len(parts)), [everything])):
            path = Path(name) / f"{number}.npy"
            np.save(path, merged(order).table)
            saved.append(path.read_bytes())
    assert saved[0] == saved[1] == saved[2]


def test_merging_says_how_many_were_counted() -> None:
    assert TrigramSketch(WIDTH).merge(counted(["a b c d", "a b c", "a b", ""])) == 3
    assert TrigramSketch(WIDTH).merge(counted([])) == 0


@pytest.mark.parametrize(
    "text, bland",
    [
        ("i do not know", True),
        ("I DO not  Know", True),
        ("i do not", True),
        ("i do not know that", False),  # 2 of 3
        ("do not", False),  # no tri-gram
        ("", False),
        ("yes no maybe", False),  # seen exactly as often as allowed
        ("привет как дела", False),
    ],
)
def test_bland_texts(text: str, bland: bool) -> None:
    sketch = merged([["i do not know"] * 6 + ["yes no maybe"] * 5])
    assert sketch.bland([text], 0.9, 5).tolist() == [bland]
    assert sketch.bland(["other", text, ""], 0.9, 5).tolist() == [False, bland, False]


def test_the_share_is_exact() -> None:
    common = " ".join(str(number) for number in range(11))  # 9 tri-grams
    sketch = merged([[common] * 3])
    assert sketch.bland([common + " x"], 0.9, 2).tolist() == [True]  # 9 of 10
    assert sketch.bland([common + " x"], 0.91, 2).tolist() == [False]
    assert sketch.bland([common + " x y"], 0.9, 2).tolist() == [False]
    assert sketch.bland([], 0.9, 2).tolist() == []


def test_a_full_counter_stays_full() -> None:
    sketch = TrigramSketch(WIDTH)
    hashes = np.array([5, 7], np.uint64)
    for _ in range(3):
        sketch.add(hashes, np.array([3_000_000_000, 1], np.uint32))
    assert sketch.count(hashes).tolist() == [0xFFFFFFFF, 3]  # both use counter 0 of the second row


def test_a_saved_sketch_is_mapped(tmp_path: Path) -> None:
    np.save(tmp_path / "counts.npy", merged([["i do not know"] * 3]).table)
    sketch = TrigramSketch.load(tmp_path / "counts.npy")
    assert sketch.bland(["i do not know"], 0.9, 2).tolist() == [True]


def test_strangers_do_not_make_a_text_bland() -> None:
    rare = [f"{n} {n + 1} {n + 2} {n + 3} {n + 4}" for n in range(0, 90_000, 3)]
    writer = TrigramWriter(file := io.BytesIO())
    for text in rare:
        writer.add(text)
    writer.close()
    file.seek(0)
    sketch = TrigramSketch(width_for(writer.trigrams, 50))
    assert sketch.merge(file) == writer.trigrams == 90_000
    assert not sketch.bland(rare, 0.9, 50).any()


def test_widths() -> None:
    assert width_for(0, 1000) == 1024
    assert width_for(1_600_000_000, 1000) == 1 << 24
    assert width_for(1_700_000_000, 1000) == 1 << 25
    assert width_for(5, 0) == 1024


@pytest.mark.parametrize("made", [b"", b"hello", "shape", "type", "width"])
def test_what_is_no_sketch_is_an_error(tmp_path: Path, made: bytes | str) -> None:
    file = tmp_path / "counts.npy"
    if isinstance(made, bytes):
        file.write_bytes(made)
    else:
        np.save(
            file,
            {"shape": np.zeros(4, np.uint32), "type": np.zeros((2, 4)), "width": np.zeros((2, 3), np.uint32)}[made],
        )
    with pytest.raises(DataError, match=r"counts\.npy.*tri-gram counts"):
        TrigramSketch.load(file)


@pytest.mark.parametrize(
    "damage", [lambda data: data[:-3], lambda data: data[:4] + b"no" + data[6:], lambda data: b"\x01"]
)
def test_damaged_counts_are_an_error(damage: object) -> None:
    data = damage(counted(["a b c d e"]).getvalue())  # type: ignore[operator]
    with pytest.raises(DataError, match="damaged tri-gram counts"):
        TrigramSketch(WIDTH).merge(io.BytesIO(data))
