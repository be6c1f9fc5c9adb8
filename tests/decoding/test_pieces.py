"""A reply in pieces: they are those of the whole text, and end before a stop."""

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialogpt import Tokenizer
from dialogpt.decoding.hypotheses import sayable
from dialogpt.decoding.responder import Pieces


@pytest.mark.parametrize(
    "text, stops, told",
    [
        ("hello there you", ["there"], ["h", "e", "l", "l", "o"]),
        ("abcabd!", ["abd"], ["abc"]),
        ("one two", ["x", "two", "one two three"], ["one"]),
        ("aab", ["ab"], ["a"]),
        ("نعم لا", ["لا"], ["ن", "ع", "م"]),
        ("ok", ["zzz"], ["o", "k"]),
    ],
)
def test_a_reply_ends_before_a_stop(text: str, stops: list[str], told: list[str]) -> None:
    tokenizer = Tokenizer.train(["x"], 257)
    pieces = Pieces(tokenizer, stops)
    said = []
    for token in tokenizer.encode(text):
        said.append(pieces.feed(token))
        if pieces.stopped:
            break
    assert "".join(said).strip() == "".join(told)
    assert pieces.text == "".join(said)
    assert pieces.stopped is (stops != ["zzz"])


@settings(max_examples=200)
@given(tokens=st.lists(st.integers(0, 359), max_size=30), text=st.text(max_size=10))
def test_pieces_are_those_of_the_whole_text(tiny_tokenizer: Tokenizer, tokens: list[int], text: str) -> None:
    tokens = [*tokens, *tiny_tokenizer.encode(text), tiny_tokenizer.end_id]
    pieces, said = Pieces(tiny_tokenizer), ""
    for place, token in enumerate(tokens, 1):
        said += pieces.feed(token)
        assert said == pieces.text == sayable(tiny_tokenizer.decode(tokens[:place]))
