"""Reranking: MMI's score is the source's, not the hypothesis's; a dull hypothesis does not win; rankers compose."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest
import torch

from dialogpt import GPT, Session, Tokenizer, Turn
from dialogpt.decoding import Hypothesis, ReplyConfig
from dialogpt.decoding.rerank import MMI, Forward, Unsaid, rerank
from dialogpt.decoding.responder import Responder
from dialogpt.errors import UsageError
from dialogpt.model.engine import TorchEngine
from dialogpt.model.gpt import GPT as Network
from dialogpt.model.loss import nats
from dialogpt.tokens.batches import collate
from dialogpt.tokens.shards import TokenSession

Pair = tuple[GPT, Tokenizer]


def made(*texts: str, logprob: float = -1.0) -> list[Hypothesis]:
    return [Hypothesis(text=text, tokens=(1,), logprob=logprob, ended=True) for text in texts]


@pytest.mark.parametrize("source", ["last", "all"])
def test_the_score_is_the_loss_on_the_source_alone(tiny_model: Pair, source: str) -> None:
    model, tokenizer = tiny_model
    context = [Turn("does money buy happiness?"), Turn("صباح الخير")]
    scores = MMI(TorchEngine(model), tokenizer, source)(context, made("yes", "it is great 😀", "no"))  # type: ignore[arg-type]
    for score, text in zip(scores, ("yes", "it is great 😀", "no"), strict=True):
        hypothesis = [*tokenizer.encode(text), tokenizer.end_id]
        told = [context[1]] if source == "last" else [context[1], context[0]]
        target = [token for turn in told for token in (*tokenizer.encode(turn.text), tokenizer.end_id)]
        with torch.inference_mode():
            logprobs = model(torch.tensor([[*hypothesis, *target]]))[0].double().log_softmax(-1)
        by_hand = sum(logprobs[len(hypothesis) - 1 + i, token].item() for i, token in enumerate(target))
        assert score == pytest.approx(by_hand, abs=1e-3)


def test_hypotheses_drawn_several_times_are_scored_once(tiny_model: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    model, tokenizer = tiny_model
    engine, context = TorchEngine(model), [Turn("does money buy happiness?")]
    alone = MMI(engine, tokenizer)(context, made("yes", "no"))
    scored, nats_of = [], engine.nats
    monkeypatch.setattr(engine, "nats", lambda pairs: scored.extend(pairs) or nats_of(pairs))
    assert MMI(engine, tokenizer)(context, made("yes", "no", "yes", "yes")) == [alone[i] for i in (0, 1, 0, 0)]
    assert len(scored) == 2


def test_a_source_that_does_not_fit_is_cut_alike_for_all(tiny_model: Pair) -> None:
    model, tokenizer = tiny_model
    ranker = MMI(TorchEngine(model), tokenizer)
    scores = ranker([Turn("x" * 200)], made("a", "b" * 30))
    shorter = ranker([Turn("x" * (model.config.n_ctx - 31))], made("a", "b" * 30))
    assert scores == pytest.approx(shorter, abs=1e-3)


def test_a_hypothesis_that_is_too_long_keeps_its_end(tiny_model: Pair) -> None:
    model, tokenizer = tiny_model
    ranker, half = MMI(TorchEngine(model), tokenizer), model.config.n_ctx // 2
    ending = "z" * (half - 1)
    long, cut, other = ranker([Turn("hi")], made("x" * 500 + ending, "y" * 300 + ending, "x" * 500))
    assert long == pytest.approx(cut, abs=1e-5)
    assert long != pytest.approx(other, abs=1e-5)


@pytest.fixture(scope="module")
def backward(tiny_tokenizer: Tokenizer, make_model: Callable[..., GPT]) -> TorchEngine:
    """A model that has really learned to tell what a reply answers: colours, each with its fruit, and a bland reply."""
    pairs = [("red", "apple"), ("yellow", "banana"), ("green", "pear"), ("blue", "plum")]
    sessions = [Session((Turn(f"what is {colour}?"), Turn(f"the {fruit} is"))) for colour, fruit in pairs]
    sessions += [Session((Turn(f"what is {colour}?"), Turn("i do not know"))) for colour, _ in pairs]
    sessions += [Session((Turn(f"what is {colour}?"), Turn("ha ha ha ha ha ha ha"))) for colour, _ in pairs]
    batch = collate([_tokens(tiny_tokenizer, session) for session in sessions], reverse=True)
    torch.manual_seed(0)
    model = Network(make_model().config).train()
    optimizer = torch.optim.AdamW(model.parameters(), lr=3e-3)
    for _ in range(120):
        optimizer.zero_grad()
        (nats(model, torch.from_numpy(batch.tokens), torch.from_numpy(batch.targets)) / batch.target_count).backward()
        optimizer.step()
    return TorchEngine(model.eval())


def _tokens(tokenizer: Tokenizer, session: Session) -> TokenSession:
    import numpy as np

    turns = tuple(np.array(turn, dtype=np.uint16) for turn in tokenizer.encode_turns(session.turns))
    return TokenSession(turns, (True,) * len(turns))


@pytest.mark.parametrize("colour, fruit", [("red", "apple"), ("blue", "plum")])
def test_neither_a_bland_nor_a_repetitive_hypothesis_wins(
    backward: TorchEngine, tiny_tokenizer: Tokenizer, colour: str, fruit: str
) -> None:
    hypotheses = made("i do not know", "ha ha ha ha ha ha ha", f"the {fruit} is", "the banana is")
    ranked = rerank([Turn(f"what is {colour}?")], hypotheses, [(MMI(backward, tiny_tokenizer), 1.0)])
    assert ranked[0].text == f"the {fruit} is"
    assert [h.scores["mmi"] for h in ranked] == sorted((h.scores["mmi"] for h in ranked), reverse=True)


@dataclass(frozen=True)
class Length:
    name: str = "length"

    def __call__(self, context: Sequence[Turn], hypotheses: Sequence[Hypothesis]) -> list[float]:
        return [float(len(hypothesis.text)) for hypothesis in hypotheses]


def test_rankers_compose_by_weights() -> None:
    hypotheses = [*made("aaaa", logprob=-9.0), *made("b", logprob=-1.0), *made("c", logprob=-1.0)]
    by_length = rerank([], hypotheses, [(Length(), 1.0)])
    assert [h.text for h in by_length] == ["aaaa", "b", "c"]
    both = rerank([], hypotheses, [(Length(), 1.0), (Forward(), 1.0)])
    assert [h.text for h in both] == ["b", "c", "aaaa"]  # equal ones keep their order
    assert both[2].scores == {"length": 4.0, "forward a token": -9.0}
    assert rerank([], hypotheses, []) == hypotheses
    assert rerank([], [], [(Length(), 1.0)]) == []


def test_the_forward_models_opinion_is_a_mean_and_may_be_unknown() -> None:
    long = Hypothesis(text="a b", tokens=(1, 2, 3, 4), logprob=-6.0, ended=True)
    assert Forward()([], [long, *made("c", logprob=math.nan)]) == [-1.5, 0.0]


def test_what_was_said_is_not_said_again_but_short_turns_may_be() -> None:
    context = [Turn("I love the sea."), Turn("Me too!"), Turn("أحب البحر كثيرا")]
    texts = "i LOVE, the sea", "me too", "أحب البحر كثيرا!", "I love the sea and you"
    assert Unsaid()(context, made(*texts)) == [-1.0, 0.0, -1.0, 0.0]


def test_the_forward_model_counts_beside_the_backward_model_as_much_as_is_asked(tiny_checkpoint: Path) -> None:
    def best(weight: float) -> Hypothesis:
        config = ReplyConfig(mmi=True, backward=str(tiny_checkpoint), forward_weight=weight, seed=1, max_new_tokens=6)
        reply, _ = Responder.load(str(tiny_checkpoint), config, device="cpu").reply([Turn("what now?")], 7)
        totals = [h.scores["mmi"] + weight * h.logprob / h.size for h in reply.hypotheses if h.rejected is None]
        assert totals == sorted(totals, reverse=True)
        return reply.hypotheses[0]

    assert best(0).scores.keys() == {"mmi"}
    assert best(1e6).logprob / best(1e6).size >= best(0).logprob / best(0).size
    with pytest.raises(UsageError, match="--forward-weight 1 is not used without --mmi"):
        Responder.load(str(tiny_checkpoint), ReplyConfig(forward_weight=1), device="cpu")
    with pytest.raises(UsageError, match="is not used without --mmi"):
        Responder.load(str(tiny_checkpoint), ReplyConfig(backward=str(tiny_checkpoint)), device="cpu")
    with pytest.raises(UsageError, match="--mmi-source all is not used without --mmi"):
        Responder.load(str(tiny_checkpoint), ReplyConfig(mmi_source="all"), device="cpu")
    with pytest.raises(UsageError, match="--length-penalty 2 is for beams"):
        Responder.load(str(tiny_checkpoint), ReplyConfig(length_penalty=2), device="cpu")
    with pytest.raises(UsageError, match="--blocklist bad is not used with --no-safety"):
        Responder.load(str(tiny_checkpoint), ReplyConfig(blocklist=Path("bad"), safety=False), device="cpu")
    with pytest.raises(UsageError, match="--forward-weight -1"):
        ReplyConfig(forward_weight=-1)


def test_a_responder_with_a_backward_model(tiny_checkpoint: Path) -> None:
    config = ReplyConfig(mmi=True, backward=str(tiny_checkpoint), seed=1, max_new_tokens=6, num_hypotheses=5)
    responder = Responder.load(str(tiny_checkpoint), config, device="cpu")
    reply, _ = responder.reply([Turn("does money buy happiness?")], 7)
    left = [h for h in reply.hypotheses if h.rejected is None]
    assert len(reply.hypotheses) == 5
    assert reply.text == left[0].text
    assert left[0].scores["mmi"] == max(h.scores["mmi"] for h in left)
    (again,) = responder.replies([[Turn("does money buy happiness?")]], [7])
    assert [h.tokens for h in again.hypotheses] == [h.tokens for h in reply.hypotheses]


def test_sixteen_hypotheses_by_default() -> None:
    assert ReplyConfig(mmi=True).hypotheses == 16
    assert ReplyConfig().hypotheses == 1


def test_without_a_backward_model_it_is_said(tiny_checkpoint: Path) -> None:
    with pytest.raises(UsageError, match="no backward companion"):
        Responder.load(str(tiny_checkpoint), ReplyConfig(mmi=True), device="cpu")


def test_the_bundled_model_has_its_companion() -> None:
    responder = Responder.load(None, ReplyConfig(mmi=True, num_hypotheses=4), device="cpu")
    ((ranker, weight),) = responder.rankers
    assert (ranker.name, weight) == ("mmi", 1.0)
    source = [Turn("What is your favorite movie?")]
    good, bad = ranker(source, made("My favorite movie is Star Wars.", "I like to play football on Sundays."))
    assert good > bad + 1
