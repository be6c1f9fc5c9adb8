"""What 8 bits and 4 cost the bundled model: its perplexity, and how often a greedy reply is another."""

import json
import math
from collections.abc import Sequence
from itertools import islice
from pathlib import Path

import pytest

from dialogpt import Tokenizer
from dialogpt.decoding import DecodingConfig
from dialogpt.decoding.hypotheses import make
from dialogpt.engine import Engine
from dialogpt.hub import BUNDLED
from dialogpt.model.opening import open_engine
from dialogpt.native.engine import open_native
from dialogpt.session import Turn

REFERENCES = Path(__file__).parents[2] / "recipes" / "bundled" / "references" / "references.jsonl"
SESSIONS = [
    ["Hello, how are you?", "I am good, how are you?", "I am doing well. Do you like movies?"],
    ["Did you watch the game last night?", "No, I missed it. Who won?", "The Patriots did."],
    ["What is your favorite movie?", "I really like Star Wars.", "Me too, it is a great movie."],
    ["Do you like to read?", "Yes, I read a lot of science fiction.", "Who is your favorite author?", "Asimov."],
    ["What music do you listen to?", "Mostly rock, some jazz.", "I saw a jazz band last week.", "How was it?"],
    ["Good morning!", "Good morning, what are you up to?", "I am going to the park with my dog."],
    ["I think football is boring.", "Why do you say that?", "There are too many breaks in the game."],
    ["Have you ever donated to a charity?", "Sometimes, when I have the money.", "That is very kind of you."],
]
STARTS = [
    "Hello there.", "Do you play any sports?", "Who is your favorite actor?", "I love pizza.", "What do you do?",
    "Have you seen the new Batman film?", "It is raining again.", "Where are you from?", "I have two cats.",
    "Can you recommend a good book?", "My team lost on Sunday.", "Do you like horror movies?", "I need more water.",
    "What did you have for dinner?", "The president gave a speech.", "How old is the moon?", "I play the guitar.",
]  # fmt: skip


def perplexity(engine: Engine, tokenizer: Tokenizer) -> float:
    """Of some 4,600 tokens: of a few hundred, rounding to 4 bits may change it by 2%, to a lower one too."""
    with REFERENCES.open(encoding="utf-8") as file:
        unseen = [[*item["context"], item["references"][0]] for item in map(json.loads, islice(file, 150))]
    pairs = []
    for texts in [*SESSIONS, *unseen]:
        first, *rest = tokenizer.encode_turns(map(Turn, texts))
        pairs.append((first, [token for turn in rest for token in turn]))
    return math.exp(sum(engine.nats(pairs)) / sum(len(target) for _, target in pairs))


@pytest.mark.parametrize("bits", [8, 4])
def test_perplexity_stays_within_one_percent(kernels: str, bits: int) -> None:
    reference, tokenizer = open_engine(None, "cpu", "fp32")
    engine = open_native(BUNDLED, bits)
    assert engine is not None
    found, expected = perplexity(engine, tokenizer), perplexity(reference, tokenizer)
    print(f"{kernels}, {bits} bits: perplexity {found:.3f}, in fp32 {expected:.3f}")
    assert found == pytest.approx(expected, rel=0.01)


def replies(engine: Engine, tokenizer: Tokenizer, contexts: Sequence[list[int]]) -> list[str]:
    config = DecodingConfig(temperature=0, max_new_tokens=20)
    return [group[0].text for group in make(engine, tokenizer, contexts, config, [[0]] * len(contexts))]


@pytest.mark.filterwarnings("ignore:.*quantize_per_channel.*:UserWarning")
def test_greedy_replies_are_mostly_those_of_the_torch_engine() -> None:
    reference, tokenizer = open_engine(None, "cpu", "int8")
    engine = open_native(BUNDLED)
    assert engine is not None
    turns = [texts[:n] for texts in SESSIONS for n in range(1, len(texts) + 1)] + [[text] for text in STARTS]
    contexts = [[token for turn in tokenizer.encode_turns(map(Turn, texts)) for token in turn] for texts in turns]
    pairs = list(zip(replies(engine, tokenizer, contexts), replies(reference, tokenizer, contexts), strict=True))
    share = sum(a == b for a, b in pairs) / len(pairs)
    print(f"{share:.0%} of {len(pairs)} greedy replies are those of the torch engine in 8 bits")
    assert share >= 0.8
