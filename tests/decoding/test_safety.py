"""What is not said: guards, the second attempt, the polite line, and that each is counted."""

from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from dialogpt import GPT, Tokenizer, Turn
from dialogpt.data.blocklist import Blocklist
from dialogpt.decoding import ReplyConfig
from dialogpt.decoding.responder import Responder
from dialogpt.decoding.safety import (
    HELP,
    HELP_AR,
    POLITE,
    POLITE_AR,
    AgreesWithOffence,
    Blocked,
    default_guards,
    empty,
    rejection,
)
from dialogpt.model.engine import TorchEngine

PHRASES = Blocklist(["rude word", "كلمة سيئة"])
HI = [Turn("hi")]


@pytest.mark.parametrize("text", ["", " \n", "\t"])
def test_nothing_is_no_reply(text: str) -> None:
    assert empty(HI, text) == "empty"


@pytest.mark.parametrize("text", ["A RUDE, word!", "قال كلمة سيئة هنا"])
def test_a_listed_phrase_is_named(text: str) -> None:
    assert Blocked(PHRASES)(HI, text) in ("listed phrase: rude word", "listed phrase: كلمة سيئة")
    assert Blocked(PHRASES)(HI, "a rude sword") is None


@pytest.mark.parametrize(
    "reply", ["Yes!", "I agree with you", "so true", "You are right.", "نعم، هذا صحيح", "أتفق معك"]
)
def test_agreeing_with_an_offence(reply: str) -> None:
    guard = AgreesWithOffence(PHRASES)
    for said in ("they are a rude word", "هذه كلمة سيئة"):
        assert guard([Turn("hello"), Turn(said)], reply) == "agrees with an offence"
    assert guard([Turn("do you like films?")], reply) is None
    assert guard([Turn("a rude word"), Turn("sorry")], reply) is None  # only what is replied to counts
    assert guard([Turn("a rude word")], "No, that is unkind.") is None
    assert guard([Turn("a rude word")], "Yesterday I was away.") is None


def test_the_first_reason_counts() -> None:
    assert rejection([empty, lambda context, text: "second"], HI, "") == "empty"
    assert rejection([empty, lambda context, text: "second"], HI, "x") == "second"
    assert rejection([], HI, "") is None


def test_the_list_that_ships_lets_small_talk_through() -> None:
    guards = default_guards()
    for text in ("I love classical music.", "It was a hell of a game!", "أهلا وسهلا"):
        assert rejection(guards, HI, text) is None


@pytest.mark.parametrize(
    ("said", "line"),
    [("I don't want to live anymore.", HELP), ("sometimes i think about SUICIDE", HELP), ("أريد أن أموت", HELP_AR),
     ("لا أُريدُ أن أعيش", HELP_AR), ("I'm dying to see that film!", None), ("This job kills me.", None),
     ("I don\u2019t want to live", HELP), ("Have you seen Suicide Squad?", None), ("I take my life slowly.", None)],
)  # fmt: skip
def test_somebody_in_distress_is_not_left_to_a_model(
    scripted_engine: Callable[..., Any], tiny_tokenizer: Tokenizer, said: str, line: str | None
) -> None:
    engine = scripted_engine([[*tiny_tokenizer.encode("Great!"), tiny_tokenizer.end_id]], tiny_tokenizer.vocab_size)
    config = ReplyConfig(no_repeat_ngram=0, temperature=0, max_new_tokens=20)
    responder = Responder(engine, tiny_tokenizer, config, guards=default_guards())
    reply, _ = responder.reply([Turn("How are you?"), Turn("Fine."), Turn(said)], 1)
    assert reply.text == (line or "Great!")
    assert (responder.counts["distress"] > 0) is (line is not None)


@pytest.fixture
def scripted(scripted_engine: Callable[..., Any], tiny_tokenizer: Tokenizer) -> Callable[..., Responder]:
    """A responder whose model says one text, whatever it is asked."""

    def make(says: str, **settings: Any) -> Responder:
        script = [*tiny_tokenizer.encode(says), tiny_tokenizer.end_id]
        engine = scripted_engine([script], tiny_tokenizer.vocab_size)
        config = ReplyConfig(**{"no_repeat_ngram": 0, "min_new_tokens": 0, "max_new_tokens": 60, **settings})
        return Responder(engine, tiny_tokenizer, config, guards=[empty, Blocked(PHRASES)])

    return make


@pytest.mark.parametrize("settings", [{}, {"temperature": 0}, {"num_hypotheses": 3}], ids=str)
def test_all_rejected_are_drawn_once_more_and_then_a_polite_line_is_said(
    scripted: Callable[..., Responder], settings: dict[str, Any]
) -> None:
    responder = scripted("a rude word", **settings)
    reply, _ = responder.reply(HI, 1)
    count = settings.get("num_hypotheses", 1)
    assert reply.text == POLITE
    assert [h.rejected for h in reply.hypotheses] == ["listed phrase: rude word"] * (2 * count)
    assert responder.counts == {"listed phrase": 2 * count, "drawn again": 1, "replaced by a fixed line": 1}
    assert responder.engine.contexts == [responder.engine.contexts[0]] * 2  # type: ignore[attr-defined]


def test_an_arabic_model_says_its_polite_line_in_arabic(
    scripted_engine: Callable[..., Any], tiny_tokenizer: Tokenizer
) -> None:
    engine = scripted_engine([[*tiny_tokenizer.encode("كلام سيئ"), tiny_tokenizer.end_id]], tiny_tokenizer.vocab_size)
    config = ReplyConfig(no_repeat_ngram=0, temperature=0, max_new_tokens=40)
    responder = Responder(engine, tiny_tokenizer, config, guards=[Blocked(Blocklist(["سيئ"]))])
    reply, _ = responder.reply(HI, 1)
    assert [hypothesis.text for hypothesis in reply.hypotheses] == ["كلام سيئ"] * 2
    assert reply.text == POLITE_AR


def test_what_is_fine_is_said(scripted: Callable[..., Responder]) -> None:
    responder = scripted("hello")
    reply, _ = responder.reply(HI, 1)
    assert (reply.text, len(reply.hypotheses), dict(responder.counts)) == ("hello", 1, {})


def test_a_classifier_is_one_more_guard(tiny_model: tuple[GPT, Tokenizer]) -> None:
    def long(context: Sequence[Turn], text: str) -> str | None:
        return "too long" if len(text) > 12 else None

    config = ReplyConfig(num_hypotheses=12, max_new_tokens=12, temperature=1.0)
    responder = Responder(TorchEngine(tiny_model[0]), tiny_model[1], config, guards=[long])
    reply, _ = responder.reply(HI, 3)
    kept = [h for h in reply.hypotheses if h.rejected is None]
    rejected = [h for h in reply.hypotheses if h.rejected is not None]
    assert kept
    assert rejected
    assert reply.text == kept[0].text
    assert reply.hypotheses == (*kept, *rejected)
    assert all(len(h.text) <= 12 for h in kept)
    assert responder.counts["too long"] == len(rejected)


def test_many_contexts_only_some_of_which_are_drawn_again(tiny_model: tuple[GPT, Tokenizer]) -> None:
    contexts = [[Turn(text)] for text in ("a", "bb", "ccc", "dddd")]
    config = ReplyConfig(max_new_tokens=8)
    plain = Responder(TorchEngine(tiny_model[0]), tiny_model[1], config)
    first = [reply.text for reply in plain.replies(contexts, [1, 2, 3, 4])]
    guarded = Responder(
        TorchEngine(tiny_model[0]), tiny_model[1], config,
        guards=[lambda context, text: "no" if text in first[1:3] else None],
    )  # fmt: skip
    again = [reply.text for reply in guarded.replies(contexts, [1, 2, 3, 4])]
    assert [again[0], again[3]] == [first[0], first[3]]
    assert not set(again[1:3]) & set(first[1:3])
    assert guarded.counts["drawn again"] == 2


def test_safety_by_the_settings(tiny_checkpoint: Path, tmp_path: Path) -> None:
    own = tmp_path / "own.txt"
    own.write_text("my phrase\n")
    load = Responder.load
    assert load(str(tiny_checkpoint), ReplyConfig(safety=False), device="cpu").guards == []
    guards = load(str(tiny_checkpoint), ReplyConfig(blocklist=own), device="cpu").guards
    assert rejection(guards, HI, "that is My Phrase.") == "listed phrase: my phrase"
