"""Where conversations are kept: all that was acknowledged is there, whatever happens, and nothing else is."""

import multiprocessing
import resource
import sqlite3
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from dialogpt.chat import ConversationsConfig
from dialogpt.chat.conversations import conversations
from dialogpt.chat.keeping import Keeper
from dialogpt.chat.store import Conversations, data_folder, default_path
from dialogpt.decoding import ReplyConfig
from dialogpt.errors import DataError, UsageError
from dialogpt.session import Turn, read_sessions

SETTINGS = ReplyConfig()


def turns(*texts: str) -> list[Turn]:
    return [Turn(text, ("user", "bot")[place % 2]) for place, text in enumerate(texts)]


@settings(max_examples=40, deadline=None)
@given(data=st.data())
def test_any_sequence_of_turns(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    path = tmp_path_factory.mktemp("store") / "c.sqlite"
    expected: dict[int, list[Turn]] = {}
    store = Conversations(path)
    for _ in range(data.draw(st.integers(1, 12))):
        match data.draw(st.sampled_from(["begin", "add", "take back", "open", "delete"])):
            case "begin":
                expected[store.begin("m", SETTINGS)] = []
            case "add" if expected:
                number = data.draw(st.sampled_from(sorted(expected)))
                said = turns(*data.draw(st.lists(st.text(st.characters(exclude_categories=["Cs"])), max_size=3)))
                store.add(number, said)
                expected[number] += said
            case "take back" if expected:
                number = data.draw(st.sampled_from(sorted(expected)))
                count = data.draw(st.integers(1, 3))
                store.take_back(number, count)
                del expected[number][-count:]
            case "delete" if expected:
                number = data.draw(st.sampled_from(sorted(expected)))
                store.delete(number)
                del expected[number]
            case "open":
                store.__exit__()
                store = Conversations(path)
    assert {number: list(store.session(number).turns) for number in expected} == expected
    assert {one.id for one in store.listed()} == {number for number, said in expected.items() if said}
    store.__exit__()


def test_what_was_said_is_found_in_any_script(tmp_path: Path) -> None:
    with Conversations(tmp_path / "c.sqlite") as store:
        for said in (("Hello THERE", "hi"), ("صباح الخير", "أهلا"), ("ПРИВЕТ", "да"), ("100%", "a_b")):
            store.add(store.begin("m", SETTINGS), turns(*said))
        expected = {"there": ["Hello THERE"], "الخير": ["صباح الخير"], "привет": ["ПРИВЕТ"], "%": ["100%"], "x": []}
        for word, first in {**expected, "_": ["100%"]}.items():
            assert [one.first for one in store.listed(word)] == first
        for word in ("اهلا", "أَهلاً", "صبـــاح", "صباح الخیر", "ٱهلا"):  # without hamza, with signs, lengthened, Persian
            assert [one.first for one in store.listed(word)] == ["صباح الخير"]
        assert store.listed("ـ") == store.listed("ً") == []  # what is passed over in a text is in none
        assert [one.turns for one in store.listed()] == [2] * 4
        assert store.last() == 4
        store.take_back(4, 2)
        assert store.last() == 3
        assert store.listed("100") == []
    assert (tmp_path / "c.sqlite").stat().st_mode & 0o777 == 0o600


def write_many(path: Path, name: str) -> None:
    with Conversations(path) as store:
        number = store.begin(name, SETTINGS)
        for place in range(50):
            store.add(number, turns(f"{name} {place}", "ok"))


def test_two_processes_at_once(tmp_path: Path) -> None:
    context = multiprocessing.get_context("spawn")
    path = tmp_path / "deep" / "c.sqlite"
    processes = [context.Process(target=write_many, args=(path, name)) for name in "ab"]
    for process in processes:
        process.start()
    for process in processes:
        process.join(120)
        assert process.exitcode == 0
    with Conversations(path) as store:
        listed = store.listed()
        assert [one.turns for one in listed] == [100, 100]
        for one in listed:
            said = [turn.text for turn in store.session(one.id).turns[::2]]
            assert said == [f"{one.model} {place}" for place in range(50)]


def test_files_that_are_no_store(tmp_path: Path) -> None:
    text, other, newer = tmp_path / "text", tmp_path / "other", tmp_path / "newer"
    text.write_text("no database\n" * 100)
    with sqlite3.connect(other) as db:
        db.execute("CREATE TABLE something (x)")
    with sqlite3.connect(newer) as db:
        db.execute("PRAGMA user_version = 9")
    for path, message in ((text, "cannot be used"), (other, "has version 0"), (newer, "has version 9")):
        before = path.read_bytes()
        with pytest.raises(DataError, match=message):
            Conversations(path)
        assert path.read_bytes()[100:] == before[100:]
    with pytest.raises(DataError, match="cannot be used"):
        Conversations(tmp_path / "text" / "c.sqlite")


def full_disk(path: Path) -> None:
    with Conversations(path) as store:
        keeper = Keeper(store, "m", SETTINGS)
        keeper.add(turns("before", "ok"))
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))
        for _ in range(20):
            keeper.add(turns("x" * 10_000, "ok"))  # one warning, and the chat goes on


def test_a_full_disk_is_a_warning(tmp_path: Path) -> None:
    path = tmp_path / "c.sqlite"
    process = multiprocessing.get_context("spawn").Process(target=full_disk, args=(path,))
    process.start()
    process.join(120)
    assert process.exitcode == 0
    with Conversations(path) as store:
        said = store.session(1).turns
        assert said[0].text == "before"
        assert len(said) % 2 == 0


def test_the_data_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DIALOGPT_DATA")
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path))
    monkeypatch.setattr("sys.platform", "linux")
    assert data_folder() == tmp_path / "dialogpt"
    monkeypatch.delenv("XDG_DATA_HOME")
    assert data_folder() == Path.home() / ".local/share/dialogpt"
    monkeypatch.setattr("sys.platform", "darwin")
    assert data_folder() == Path.home() / "Library/Application Support/dialogpt"


def test_who_has_no_home_is_told_what_to_name(homeless: None, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("DIALOGPT_DATA")
    with pytest.raises(DataError, match=r"there is no home folder .*DIALOGPT_DATA"):
        conversations(ConversationsConfig())


def test_the_command(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(DataError, match="no conversation is kept"):
        conversations(ConversationsConfig())
    with Conversations(default_path()) as store:
        for said in (("hello", "hi"), ("صباح الخير " * 20, "أهلا", "نعم", "لا")):
            store.add(store.begin("bundled", SETTINGS), turns(*said))
    listed = conversations(ConversationsConfig()) or ""
    assert [line.split()[0] for line in listed.splitlines()] == ["2", "1"]
    assert "\N{HORIZONTAL ELLIPSIS}  [bundled]" in listed
    assert "2 conversations in " in capsys.readouterr().err
    assert conversations(ConversationsConfig(show=1)) == "user: hello\nbot: hi"
    out = tmp_path / "talk.jsonl"
    assert conversations(ConversationsConfig(export=out)) == f"2 conversations are in {out}"
    assert [len(session.turns) for session in read_sessions(out)] == [2, 4]
    conversations(ConversationsConfig(export=out, search="HELLO"))
    assert [session.id for session in read_sessions(out)] == ["chat/1"]
    capsys.readouterr()
    assert conversations(ConversationsConfig(export=Path("-"), show=1)) is None  # nothing but the sessions is printed
    assert capsys.readouterr().out.encode() == out.read_bytes()
    assert conversations(ConversationsConfig(delete=1)) == "conversation 1 is deleted"
    for config, message in (
        (ConversationsConfig(show=1), "there is no conversation 1"),
        (ConversationsConfig(delete=7), "there is no conversation 7"),
        (ConversationsConfig(search="zzz"), "nobody said 'zzz'"),
    ):
        with pytest.raises(DataError, match=message):
            conversations(config)
    before = conversations(ConversationsConfig())
    for refused, message in (
        (ConversationsConfig(show=2, delete=2), "--show and --delete together"),
        (ConversationsConfig(export=tmp_path / "kept.jsonl", delete=2), "--export and --delete together"),
        (ConversationsConfig(search="hello", show=2), "--show 2 together with a search for 'hello'"),
        (ConversationsConfig(search="hello", delete=2), "--delete 2 together with a search for 'hello'"),
    ):
        with pytest.raises(UsageError, match=message):
            conversations(refused)
    assert conversations(ConversationsConfig()) == before
    conversations(ConversationsConfig(delete=2))
    with pytest.raises(DataError, match=r"no conversation is kept in .* keep conversations there"):
        conversations(ConversationsConfig())


@pytest.mark.parametrize("version", [1, 2])
def test_a_file_of_a_version_before_is_brought_up_to_date(tmp_path: Path, version: int) -> None:
    path = tmp_path / "c.sqlite"
    with Conversations(path) as store:
        said = store.begin("m", SETTINGS)
        store.add(said, turns("hello", "hi"))
    with sqlite3.connect(path) as db:
        db.execute("ALTER TABLE turns ADD COLUMN folded TEXT NOT NULL DEFAULT ''")
        if version == 1:
            db.execute("DROP INDEX conversations_of")
            db.execute("ALTER TABLE conversations DROP COLUMN chat")
        db.execute(f"PRAGMA user_version = {version}")
    db.close()
    for _ in range(2):
        with Conversations(path) as store:
            assert [one.chat for one in store.listed()] == [""]
            assert store.session(said).turns == tuple(turns("hello", "hi"))
            assert store.last() == said
            assert [one.id for one in store.listed("HELLO")] == [said]
            assert store.of_chat("telegram/1") is None


def test_a_bots_chats_are_apart_from_the_terminals(tmp_path: Path) -> None:
    with Conversations(tmp_path / "c.sqlite") as store:
        mine, first = store.begin("m", SETTINGS), store.begin("m", SETTINGS, "telegram/1")
        store.add(mine, turns("hello", "hi"))
        store.add(first, turns("salaam", "ahlan"))
        assert (store.last(), store.of_chat("telegram/1")) == (mine, first)
        second = store.begin("m", SETTINGS, "telegram/1")
        assert store.of_chat("telegram/1") == second
        store.rename_chat("telegram/1", "telegram/-1001")
        assert (store.of_chat("telegram/1"), store.of_chat("telegram/-1001")) == (None, second)
        assert {one.chat for one in store.listed()} == {"", "telegram/-1001"}
