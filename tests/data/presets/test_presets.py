"""The presets' settings: defaults, what cannot work, and what the command line says of it."""

import subprocess
import sys
from typing import Any

import pytest

from dialogpt import cli
from dialogpt.data import ExtractConfig, language
from dialogpt.data.extract import extract
from dialogpt.data.presets import DEFAULTS, resolve
from dialogpt.errors import UsageError


def test_what_is_given_goes_before_the_presets_own() -> None:
    for preset, defaults in DEFAULTS.items():
        config = resolve(ExtractConfig(dumps=("R",), out="out", preset=preset))  # type: ignore[arg-type]
        lists = ("blocklist", "block_subreddits")
        assert {name: getattr(config, name) for name in defaults if name not in lists} == {
            name: value for name, value in defaults.items() if name not in lists
        }
        given = ExtractConfig(dumps=("R",), out="out", preset=preset, title=False, dedup=True, max_turns=7)  # type: ignore[arg-type]
        assert (resolve(given).title, resolve(given).dedup, resolve(given).max_turns) == (False, True, 7)


@pytest.mark.parametrize(
    "options, message",
    [
        ({"min_words": 0}, "--min-words 0 is below 1"),
        ({"max_session_words": -1}, "--max-session-words -1 is below 0"),
        ({"bland_count": -1}, "--bland-count -1 is below 0"),
        ({"sample_dropped": -1}, "--sample-dropped -1 is below 0"),
        ({"bland_share": 1.01}, "--bland-share 1.01 is not a share"),
        ({"max_overlap": -0.5}, "--max-overlap -0.5 is not a share"),
        ({"bland_share": float("nan")}, "--bland-share nan is not a share"),
        ({"preset": "released", "bland_count": 9}, "--bland-count 9 is not used without --bland-share"),
        ({"max_overlap": 0.3}, "--max-overlap 0.3 is not used without --held-out"),
        ({"preset": "released", "max_words": 1}, "--max-words 1 is below --min-words 2"),
        ({"preset": "released", "max_turns": 1}, "--max-turns 1 is below --min-turns 2"),
    ],
)
@pytest.mark.parametrize("preset", ["open", "paper"])
def test_numbers_out_of_range(dumps: Any, preset: str, options: dict[str, Any], message: str) -> None:
    dump = dumps.write(*dumps.chain("one", "two"))
    with pytest.raises(UsageError, match=message):
        extract(ExtractConfig(**{"dumps": (dump,), "out": dumps.out, "preset": preset} | options))
    assert [path.name for path in dumps.folder.iterdir()] == ["R"]


def test_a_missing_library_is_told_before_a_dump_is_read(dumps: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    dump = dumps.write(*dumps.chain("one", "two"))
    for module_name, options, extra in [
        ("pyarrow", {"format": "parquet"}, "parquet"),
        ("py3langid.langid", {"language": ("ar",)}, "language"),
    ]:
        language._load.cache_clear()
        monkeypatch.setitem(sys.modules, module_name, None)
        with pytest.raises(UsageError, match=rf"pip install \"dialogpt\[{extra}\]\""):
            extract(ExtractConfig(dumps=(dump,), out=dumps.out, **options))
    assert [path.name for path in dumps.folder.iterdir()] == ["R"]


def test_help_names_the_defaults_of_every_preset() -> None:
    command = [sys.executable, "-m", "dialogpt", "extract", "--help"]
    result = subprocess.run(command, capture_output=True, text=True, encoding="utf-8", check=True)
    out = " ".join(result.stdout.split())
    shown = {
        "max_turns": "[open: 10, else 5]",
        "min_words": "[open: 1, else 2]",
        "max_words": "[open: 100, else 30]",
        "max_session_words": "[open: 0, else 200]",
        "title": "[open: yes, else no]",
        "blocklist": "[paper: our short one]",
        "block_subreddits": "[paper: our short one]",
        "bland_share": "[paper: 0.9, else 0]",
        "dedup": "[open: yes, else no]",
    }
    # ... of these values:
    assert [DEFAULTS[preset]["max_turns"] for preset in ("open", "released", "paper")] == [10, 5, 5]
    assert [DEFAULTS[preset]["bland_share"] for preset in ("open", "released", "paper")] == [0.0, 0.0, 0.9]
    assert {frozenset(defaults) for defaults in DEFAULTS.values()} == {frozenset(shown)}
    for name, text in shown.items():
        after = out[out.index(f"--{name.replace('_', '-')}") :]
        assert after.index(text) < 200, name
    assert "[open|released|paper]" in out


@pytest.mark.parametrize(
    "arguments, code, message",
    [
        (["--preset", "papers"], 2, "papers"),
        (["--bland-share", "2"], 2, "--bland-share 2.0 is not a share"),
        (["--max-overlap", "half"], 2, "half"),
        (["--blocklist", "missing.txt"], 1, "missing.txt does not exist"),
        (["--block-subreddits", "missing.txt"], 1, "missing.txt does not exist"),
        (["--held-out", "missing.txt"], 1, "missing.txt does not exist"),
        (["--language", "xx"], 2, "unknown language 'xx'"),
        (["--format", "csv"], 2, "csv"),
    ],
)
def test_wrong_usage_is_one_line(
    dumps: Any,
    capsys: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    message: str,
) -> None:
    if "--language" in arguments:
        pytest.importorskip("py3langid", reason="needs py3langid, of the extra `language`")
    dump = dumps.write(*dumps.chain("one", "two"))
    monkeypatch.setattr(sys, "argv", ["dialogpt", "extract", str(dump), "--out", str(dumps.out), *arguments])
    with pytest.raises(SystemExit) as caught:
        cli.main()
    assert caught.value.code == code
    lines = capsys.readouterr().err.splitlines()
    assert lines[0].startswith("error: ")
    assert message in lines[0]
    assert lines[1].startswith("hint: ")
    assert len(lines) == 2
    assert [path.name for path in dumps.folder.iterdir()] == ["R"]


def test_parents_as_pushshifts_api_gave_them(dumps: Any) -> None:
    chain = dumps.chain("a b", "c d", "e f", "a b " * 20, "g h", "i j")
    for record in chain:
        if parent := record.get("parent_id", ""):
            record["parent_id"] = None if parent.startswith("t3_") else int(parent[3:], 36)
    for preset, turns in (
        ("released", [["g h", "i j"]]),
        ("open", [["a b", "c d", "e f", "a b " * 19 + "a b", "g h", "i j"]]),
    ):
        _, sessions = dumps.run(*chain, preset=preset, title=False, min_words=2)
        assert [[turn.text for turn in session.turns] for session in sessions] == turns
