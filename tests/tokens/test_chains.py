"""Chains of sessions: every session in one of them, within a length, without loss on where the subject changes."""

from collections.abc import Callable, Iterable
from pathlib import Path

import pytest

from dialogpt.session import Session, Turn
from dialogpt.tokens import TokenizeConfig
from dialogpt.tokens.batches import IGNORE, collate
from dialogpt.tokens.chains import Chains
from dialogpt.tokens.shards import TokenShards, tokenize


@pytest.fixture
def shards(write_sessions: Callable[[Iterable[Session]], Path], tokenizer_folder: Path, tmp_path: Path) -> TokenShards:
    made = [Session(tuple(Turn(f"{n} said {place}" * (1 + n % 3)) for place in range(2 + n % 4))) for n in range(40)]
    path = write_sessions(made)
    tokenize(TokenizeConfig(sessions=(path,), out=tmp_path / "out", tokenizer=str(tokenizer_folder), max_tokens=0))
    return TokenShards(tmp_path / "out")


def turns_of(sessions: TokenShards | Chains) -> list[list[int]]:
    return [turn.tolist() for i in range(len(sessions)) for turn in sessions[i].turns]


def test_every_session_is_in_one_chain(shards: TokenShards) -> None:
    chains = Chains(shards, 3, 10**6, seed=1)
    assert len(chains) == 14  # 13 of three, and one
    assert sorted(turns_of(chains)) == sorted(turns_of(shards))
    assert [len(chains[i]) for i in range(len(chains))] == chains.lengths.tolist()
    assert chains.lengths.sum() == shards.lengths.sum()


def test_a_chain_is_no_longer_than_may_be(shards: TokenShards) -> None:
    longest = int(shards.lengths.max())
    chains = Chains(shards, 100, longest, seed=1)
    assert chains.lengths.max() == longest
    assert 14 < len(chains) < len(shards)


def test_where_the_subject_changes_nothing_is_learned(shards: TokenShards) -> None:
    openings = {shards[i].turns[0].tobytes() for i in range(len(shards))}
    chains = Chains(shards, 3, 10**6, seed=1)
    for i in range(len(chains)):
        for turn, learn in zip(chains[i].turns, chains[i].learn, strict=True):
            assert learn is (turn.tobytes() not in openings)


def test_read_last_to_first_a_session_begins_with_its_last_turn(shards: TokenShards) -> None:
    closings = {shards[i].turns[-1].tobytes() for i in range(len(shards))}
    chains = Chains(shards, 3, 10**6, seed=1, reverse=True)
    for chain in (chains[i] for i in range(len(chains))):
        targets = collate([chain], reverse=True).targets[0]
        start = 0  # of a turn, in the order in which the turns are read
        for turn in chain.turns[::-1]:
            if start:
                assert (targets[start - 1] == IGNORE) == (turn.tobytes() in closings)
            start += len(turn)


def test_the_seed_shares_out(shards: TokenShards) -> None:
    first, again, other = (turns_of(Chains(shards, 3, 10**6, seed=seed)) for seed in (1, 1, 2))
    assert first == again
    assert first != other
