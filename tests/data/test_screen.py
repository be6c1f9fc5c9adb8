"""Lists, held-out texts and languages, through the whole command."""

import json
from pathlib import Path
from typing import Any

import pytest

from dialogpt.data import ExtractConfig
from dialogpt.data.screen import SESSIONS_AT_ONCE, Screen
from dialogpt.data.tally import Tally
from dialogpt.errors import DataError, UsageError
from dialogpt.session import Session, Turn

HELD_OUT = "the quick brown fox jumps over the lazy dog"  # six 4-grams
HALF = "the quick brown fox jumps over my dog"  # three of five
OTHER = "nobody has ever seen a cat that swims so well"


def names(sessions: list[Session]) -> set[str]:
    return {session.id.split("/")[0].removeprefix("t3_") for session in sessions}


def threads(dumps: Any) -> list[dict[str, Any]]:
    return [
        *dumps.chain("tell me", "The quick Brown fox, jumps over the lazy dog!", thread="same"),
        *dumps.chain(HELD_OUT, "so it is", thread="context"),
        *dumps.chain("tell me", HALF, thread="half"),
        *dumps.chain("tell me", OTHER, thread="other"),
        *dumps.chain("quick brown", "quick brown fox", thread="short"),
    ]


@pytest.mark.parametrize(
    "max_overlap, dropped",
    [(0.5, {"same", "context", "half"}), (0.6, {"same", "context", "half"}), (0.61, {"same", "context"}),
     (1.0, {"same", "context"}), (0.0, {"same", "context", "half"})],
)  # fmt: skip
def test_held_out_texts_are_not_trained_on(dumps: Any, tmp_path: Path, max_overlap: float, dropped: set[str]) -> None:
    (tmp_path / "held.txt").write_text(f"12|{HELD_OUT}\tx\n", encoding="utf-8")
    held_out = (tmp_path / "held.txt",)
    manifest, sessions = dumps.run(*threads(dumps), held_out=held_out, max_overlap=max_overlap)
    assert names(sessions) == {"same", "context", "half", "other", "short"} - dropped
    assert manifest.dropped == {"path: test-set overlap": len(dropped)}


@pytest.mark.parametrize("preset", ["open", "released", "paper"])
def test_several_kinds_of_held_out_files_at_once(dumps: Any, tmp_path: Path, preset: str) -> None:
    (tmp_path / "items.jsonl").write_text(json.dumps({"context": ["hello"], "references": [HELD_OUT]}) + "\n")
    folder = tmp_path / "sessions"
    folder.mkdir()
    (folder / "a.jsonl").write_text(json.dumps({"turns": [{"text": "hi"}, {"text": OTHER}]}) + "\n")
    (tmp_path / "text.txt").write_text("we have it EOS this is what we have\n")
    held_out = (tmp_path / "items.jsonl", folder, tmp_path / "text.txt")
    more = [
        *dumps.chain("tell me", "this is what we have", thread="text"),
        *dumps.chain("tell me", "that is all", thread="new"),
    ]
    manifest, sessions = dumps.run(*threads(dumps), *more, held_out=held_out, preset=preset)
    assert names(sessions) == ({"new"} if preset == "paper" else {"new", "short"})  # "short" has no frequent word
    assert manifest.dropped["path: test-set overlap"] == 5


@pytest.mark.parametrize(
    "content, why", [(None, "does not exist"), ("two words\n", "no text of 4 words"), ('{"no": 1}\n', "it has no text")]
)
def test_a_bad_held_out_file_is_told_before_a_dump_is_read(
    dumps: Any, tmp_path: Path, content: str | None, why: str
) -> None:
    if content is not None:
        (tmp_path / "held").write_text(content)
    with pytest.raises(DataError, match=why):
        dumps.run(*threads(dumps), held_out=(tmp_path / "held",))
    assert not (tmp_path / ".out.job").exists()


@pytest.mark.parametrize("option", ["blocklist", "block_subreddits"])
def test_a_bad_list_is_told_before_a_dump_is_read(dumps: Any, tmp_path: Path, option: str) -> None:
    with pytest.raises(DataError, match="does not exist"):
        dumps.run(*threads(dumps), **{option: tmp_path / "none.txt"})
    (tmp_path / "list.txt").write_text("# nothing\n\n")
    with pytest.raises(DataError, match="the list is empty"):
        dumps.run(*threads(dumps), **{option: tmp_path / "list.txt"})
    assert not (tmp_path / ".out.job").exists()


def test_only_some_languages_stay(dumps: Any) -> None:
    pytest.importorskip("py3langid", reason="needs py3langid, of the extra `language`")
    said = {
        "ar": ["هل قرأت هذه الرواية الجميلة؟", "نعم، قرأتها مرتين وأحببتها كثيرا"],
        "ru": ["Ты уже читал эту книгу?", "Да, два раза, и она мне очень нравится"],
        "en": ["Have you read this book before?", "Yes, I read it twice and I liked it a lot"],
    }
    records = [record for code, turns in said.items() for record in dumps.chain(*turns, thread=code)[1:]]
    for wanted in (("ar",), ("en",), ("ru", "ar")):
        manifest, sessions = dumps.run(*records, language=wanted)
        assert names(sessions) == set(wanted)
        assert manifest.dropped == {"path: language": 3 - len(wanted)}
    with pytest.raises(UsageError, match="unknown language 'english'"):
        dumps.run(*records, language=("english",))


def test_every_session_of_many_batches_is_kept_or_counted(tmp_path: Path) -> None:
    (tmp_path / "phrases").write_text("bad fish\n")
    (tmp_path / "held").write_text(HELD_OUT)
    config = ExtractConfig(dumps=(), out="", blocklist=tmp_path / "phrases", held_out=(tmp_path / "held",))
    count = 2 * SESSIONS_AT_ONCE + 7
    answers = ["fine", "a bad fish", HELD_OUT]
    sessions = [Session((Turn("hello"), Turn(answers[n % 3])), id=f"t3_{n}") for n in range(count)]
    tally = Tally(keep=2)
    kept = list(Screen(config)(iter(sessions), tally))
    assert kept == sessions[::3]
    assert tally.dropped == {"path: no turn to learn": 669, "path: test-set overlap": 669}
    assert tally.counts["offensive_turns"] == 669
    assert [len(examples) for examples in tally.samples.values()] == [2, 2]
