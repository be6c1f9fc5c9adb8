"""The `paper` preset: frequent words, lists, bland responses."""

from itertools import chain
from pathlib import Path
from typing import Any

import pytest

from dialogpt.data import ExtractConfig
from dialogpt.data.blocklist import OFFENSIVE_PHRASES, OFFENSIVE_SUBREDDITS, load_names, load_phrases, shipped
from dialogpt.data.presets import NONE, resolve
from dialogpt.data.presets.paper import FREQUENT_WORDS
from dialogpt.errors import DataError


def resolved(**options: Any) -> ExtractConfig:
    return resolve(ExtractConfig(dumps=("R",), out="out", preset="paper", **options))


@pytest.fixture
def phrases(tmp_path: Path) -> Path:
    path = tmp_path / "phrases.txt"
    path.write_text("# ours\nrotten fish\n", encoding="utf-8")
    return path


def test_fifty_words_are_frequent() -> None:
    assert len(FREQUENT_WORDS) == 50
    assert all(word.isascii() and word.islower() for word in FREQUENT_WORDS)


@pytest.mark.parametrize(
    "response, kept",
    [
        ("THE cat", True),
        ("Bonjour mon ami", False),
        ("Yes: it, yes", True),
        ("don't worry", False),
        ("theory itself", False),
    ],
)
def test_a_response_needs_a_frequent_word_and_its_context_does_not(dumps: Any, response: str, kept: bool) -> None:
    other = dumps.chain("Guten Tag", "is it so", thread="y")
    manifest, sessions = dumps.run(*dumps.chain("Guten Tag", response), *other, preset="paper")
    assert len(sessions) == 1 + kept
    assert manifest.dropped == ({} if kept else {"path: no frequent word": 1})


def test_the_shipped_lists_are_the_default_and_none_turns_them_off() -> None:
    config = resolved()
    assert (config.blocklist, config.block_subreddits) == (shipped(OFFENSIVE_PHRASES), shipped(OFFENSIVE_SUBREDDITS))
    assert len(load_phrases(shipped(OFFENSIVE_PHRASES))) > 10
    assert len(load_names(shipped(OFFENSIVE_SUBREDDITS))) > 10
    off = resolved(blocklist=NONE, block_subreddits=Path("none"), bland_share=0.0)
    assert (off.blocklist, off.block_subreddits, off.bland_share) == (None, None, 0.0)


def test_the_shipped_lists_work(dumps: Any) -> None:
    phrase = next(line for line in shipped(OFFENSIVE_PHRASES).read_text().splitlines() if line and line[0] != "#")
    name = min(load_names(shipped(OFFENSIVE_SUBREDDITS)))
    bad = dumps.chain("I am here", f"you are a {phrase}", "that is so")
    blocked = [record | {"subreddit": name.upper()} for record in dumps.chain("I am here", "so am I", thread="y")]
    manifest, (session,) = dumps.run(*bad, *blocked, preset="paper")
    assert [turn.learn for turn in session.turns] == [True, False, True]
    assert manifest.counts["offensive_turns"] == 1
    assert manifest.dropped == {"comment: blocked subreddit": 2, "title: blocked subreddit": 1}
    manifest, sessions = dumps.run(*bad, *blocked, preset="paper", blocklist=NONE, block_subreddits=NONE)
    assert all(turn.learn for session in sessions for turn in session.turns)
    assert (len(sessions), manifest.dropped, manifest.counts.get("offensive_turns")) == (2, {}, None)


def test_an_offensive_turn_is_context_only(dumps: Any, phrases: Path) -> None:
    chains = [
        dumps.chain("a rotten fish", "is it so", thread="first"),  # it would carry no loss anyway
        dumps.chain("is it", "Rotten, FISH!", "so what", thread="middle"),
        dumps.chain("is it", "so what", "a rotten fish", thread="last"),
        dumps.chain("is it", "a rotten fish", thread="nothing"),
        dumps.chain("is it", "rotten fishes", thread="other"),
    ]
    manifest, sessions = dumps.run(*chain.from_iterable(chains), preset="paper", blocklist=phrases, bland_share=0.0)
    learn = {session.id.split("/")[0]: [turn.learn for turn in session.turns] for session in sessions}
    assert learn == {
        "t3_first": [False, True], "t3_middle": [True, False, True], "t3_last": [True, True, False],
    }  # fmt: skip
    assert manifest.dropped == {"path: no turn to learn": 1, "path: no frequent word": 1}
    assert manifest.counts["offensive_turns"] == 4
    dumps.run(*chains[1], preset="paper", blocklist=phrases, format="jsonl")
    dumps.extract(dumps.write(*chains[1]), preset="paper", blocklist=phrases, format="tsv")
    (file,) = dumps.out.glob("*.tsv")
    assert file.read_text() == "t3_middle,t1_middle2,t1_middle3\t1.0 is it EOS 0.0 Rotten , FISH !\t1.0 so what\n"


@pytest.mark.parametrize("entry", ["Rude", "r/rude", "/R/RUDE", "/r/rude/"])
def test_listed_subreddits_go_in_any_case(dumps: Any, tmp_path: Path, entry: str) -> None:
    path = tmp_path / "names.txt"
    path.write_text(f"# rude ones\n{entry}\n", encoding="utf-8")
    rude = [record | {"subreddit": "rUde"} for record in dumps.chain("is it", "so what")]
    ruder = [record | {"subreddit": "ruder"} for record in dumps.chain("is it", "so what", thread="y")]
    unknown = [record | {"subreddit": None} for record in dumps.chain("is it", "so what", thread="z")]
    for preset in ("paper", "released", "open"):
        manifest, sessions = dumps.run(*rude, *ruder, *unknown, preset=preset, block_subreddits=path, dedup=False)
        assert {session.source for session in sessions} == {"reddit/ruder", "reddit/"}
        assert manifest.dropped == {"comment: blocked subreddit": 2, "title: blocked subreddit": 1}


def test_a_list_of_nothing_but_a_prefix_is_an_error(dumps: Any, tmp_path: Path) -> None:
    (tmp_path / "names.txt").write_text("r/pics\nr/\n", encoding="utf-8")
    with pytest.raises(DataError, match=r"names.txt:2: 'r/' is not a subreddit's name"):
        dumps.run(*dumps.chain("is it", "so what"), preset="paper", block_subreddits=tmp_path / "names.txt")


def test_bland_responses_go(dumps: Any) -> None:
    bland = [dumps.chain("this is it", "I do not know", thread=f"b{n}") for n in range(4)]
    rare = dumps.chain("this is it", "we sat in a boat", thread="r")
    mixed = dumps.chain("this is it", "I do not know the boat", thread="m")  # 2 of its 4 tri-grams are frequent
    short = [dumps.chain("this is it", "it is", thread=f"s{n}") for n in range(4)]  # without a tri-gram none is bland
    records = list(chain.from_iterable([*bland, rare, mixed, *short]))

    def kept(**options: Any) -> set[str]:
        manifest, sessions = dumps.run(*records, preset="paper", **options)
        assert manifest.dropped == ({"path: bland": 10 - len(sessions)} if len(sessions) < 10 else {})
        assert not {"trigrams", "keys"} & manifest.counts.keys()
        return {session.id.split("/")[0][3] for session in sessions}

    assert kept() == set("brms")  # nothing is seen more than a thousand times
    assert kept(bland_count=4) == kept(bland_count=3) == set("rms")  # they hold them five times
    assert kept(bland_count=5) == set("brms")
    assert kept(bland_count=4, bland_share=0.5) == set("rs")
    assert kept(bland_count=4, bland_share=0.51) == set("rms")
    assert kept(bland_count=4, bland_share=0.0) == set("brms")


def test_a_real_month_adds_up(dumps: Any, shared: Path) -> None:
    reddit = shared / "reddit"
    months = [reddit / f"{kind}_2006-02.{end}" for kind, end in (("RC", "bz2"), ("RS", "zst"))]
    released = dumps.extract(*months, preset="released")
    paper = dumps.extract(*months, preset="paper", bland_count=5)
    assert paper.counts["comments"] == released.counts["comments"] == 9095
    assert paper.dropped["path: no frequent word"] > 0
    assert paper.counts["sessions"] == released.counts["sessions"] - sum(
        paper.dropped.get(f"path: {reason}", 0) for reason in ("no frequent word", "bland", "no turn to learn")
    )
