"""`extract` as a job: killed, on URLs, on a full disk, with other settings, with replaced dumps."""

import bz2
import io
import json
import os
import random
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import fsspec
import pytest

from dialogpt.artifact import MANIFEST
from dialogpt.data import ExtractConfig, spill
from dialogpt.data import extract as module
from dialogpt.data.extract import extract
from dialogpt.data.spill import SPILL_FORMAT
from dialogpt.errors import DataError, UsageError
from dialogpt.session import read_sessions
from dialogpt.storage import Storage

SPELLED = str.maketrans("0123456789", "abcdefghij")  # digits do not tell near-duplicates apart
THREADS = 10_000  # of seven posts: four files of some MB, a second or two of work


@pytest.fixture(scope="module")
def month(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    """Four dumps, whose threads cross from one to the next."""
    folder = tmp_path_factory.mktemp("month")
    lines: list[list[str]] = [[], [], [], []]
    for thread in range(THREADS):
        name = f"t{thread:x}"
        rows: list[dict[str, Any]] = [{"id": name, "title": f"What of {thread}?", "subreddit": "s", "author": "op"}]
        for n in range(6):
            above = f"t1_{name}{n - 1}" if n % 3 else f"t3_{name}"
            text = f"*reply* {n} to number {thread}, كيف الحال؟ ".translate(SPELLED) * 3
            rows.append({"id": f"{name}{n}", "link_id": f"t3_{name}", "parent_id": above, "body": text, "score": n,
                         "subreddit": "s", "author": f"a{n}"})  # fmt: skip
        for n, row in enumerate(rows):
            lines[n % 4].append(json.dumps(row, ensure_ascii=False))
    paths = [folder / f"R{n}" for n in range(4)]
    for path, some in zip(paths, lines, strict=True):
        path.write_text("\n".join(some), encoding="utf-8")
    return paths


@pytest.fixture
def small(tmp_path: Path) -> list[Path]:
    """Two dumps of a few threads."""
    return [write(tmp_path / f"RC_{n}", *range(n, 40, 2)) for n in range(2)]


def write(path: Path, *threads: int, text: str = "hello") -> Path:
    def body(thread: int, n: int) -> str:
        return f"{text} {thread} {n}".translate(SPELLED)

    rows = [
        {"id": f"{thread}x{n}", "link_id": f"t3_{thread}", "subreddit": "s", "author": "a", "score": 1,
         "parent_id": f"t1_{thread}x{n - 1}" if n else f"t3_{thread}", "body": body(thread, n)}
        for thread in threads for n in range(3)
    ]  # fmt: skip
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


@pytest.fixture
def partitions(monkeypatch: pytest.MonkeyPatch) -> None:
    """Several tasks of each stage from little data."""
    monkeypatch.setattr(module, "PARTITION_BYTES", 2000)
    monkeypatch.setattr(spill, "POSTS_IN_BLOCK", 2)


def run(dumps: list[Path] | list[str], out: Path | str, **options: Any) -> Any:
    return extract(ExtractConfig(dumps=tuple(dumps), out=out, **options))


def content(folder: Path | str) -> dict[str, bytes]:
    """The files of an output by name; the manifest without when and how it was made."""
    storage = Storage(folder)
    found = {name: storage.read(name) for name in storage.names()}
    manifest = json.loads(found[MANIFEST])
    found[MANIFEST] = json.dumps([manifest["counts"], manifest["dropped"]]).encode()
    return found


def command(dumps: list[Path], out: Path, workers: int) -> list[str]:
    """The command, with partitions small enough for several tasks."""
    script = "import dialogpt.data.extract as e; e.PARTITION_BYTES = 3 << 20; from dialogpt.cli import main; main()"
    return [sys.executable, "-c", script, "extract", *map(str, dumps), "--out", str(out), "--workers", str(workers)]


def done(job: Path) -> dict[str, tuple[int, int]]:
    """The finished tasks, and when their mark was written."""
    found = {}
    for path in job.glob("*/*.done"):
        try:
            status = path.stat()
        except FileNotFoundError:  # the job ends
            continue
        found[f"{path.parent.name}/{path.name}"] = (status.st_ino, status.st_mtime_ns)
    return found


@pytest.mark.parametrize("workers", [1, 2])
def test_killed_again_and_again_it_finishes_with_the_same_output(
    tmp_path: Path, month: list[Path], workers: int
) -> None:
    out, job = tmp_path / "out", tmp_path / ".out.job"
    started = time.monotonic()
    subprocess.run(command(month, tmp_path / "whole", 1), check=True, capture_output=True)
    whole_s = time.monotonic() - started
    finished: dict[str, tuple[int, int]] = {}
    code, kills = -signal.SIGKILL, 0
    while code == -signal.SIGKILL:
        process = subprocess.Popen(
            command(month, out, workers), start_new_session=True, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        try:
            _, errors = process.communicate(timeout=random.uniform(0.1, 0.3) * whole_s if kills < 4 else None)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            kills += 1
            _, errors = process.communicate()
        code = process.returncode
        assert code in (0, -signal.SIGKILL), errors.decode()
        now = done(job)
        if job.exists():
            assert finished.items() <= now.items()
            finished = now
    assert kills
    assert content(out) == content(tmp_path / "whole")
    assert len(content(out)) > 4  # several tasks of each stage
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out", "whole"]


def test_workers_change_nothing(tmp_path: Path, small: list[Path], partitions: None) -> None:
    for workers in (1, 2):
        run(small, tmp_path / f"out{workers}", workers=workers, sample_dropped=2)
    assert content(tmp_path / "out1") == content(tmp_path / "out2")
    assert len(content(tmp_path / "out1")) > 3


def test_the_order_of_the_files_changes_nothing(tmp_path: Path, small: list[Path], partitions: None) -> None:
    assert len(small) > 1
    for number, dumps in enumerate((small, small[::-1])):
        run(dumps, tmp_path / f"out{number}", sample_dropped=2)
    assert content(tmp_path / "out0") == content(tmp_path / "out1")


def stop_at(stage: str, monkeypatch: pytest.MonkeyPatch) -> Callable[[], None]:
    """Make a stage's second task fail; the returned function makes it well again."""
    original, calls = getattr(module, stage), iter([False, True])

    def failing(task: Any) -> Any:
        if next(calls):
            raise DataError("stopped")
        return original(task)

    monkeypatch.setattr(module, stage, failing)
    return lambda: monkeypatch.setattr(module, stage, original)


@pytest.mark.parametrize("stage", ["read_part", "plant_partition"])
def test_other_settings_other_workers_and_begun_anew(
    tmp_path: Path, small: list[Path], partitions: None, stage: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    whole = run(small, tmp_path / "whole")
    go_on = stop_at(stage, monkeypatch)
    with pytest.raises(DataError, match="stopped"):
        run(small, tmp_path / "out")
    go_on()
    first = done(tmp_path / ".out.job")
    assert first
    with pytest.raises(UsageError, match=r"other settings \(max_turns, title\)"):
        run(small, tmp_path / "out", max_turns=2, title=False)
    assert done(tmp_path / ".out.job") == first
    monkeypatch.setattr(module, "PARTITION_BYTES", 1 << 20)  # the plan is that of the first start
    assert run(small, tmp_path / "out", workers=2).counts == whole.counts
    assert content(tmp_path / "out") == content(tmp_path / "whole")
    with pytest.raises(UsageError, match="not empty"):
        run(small, tmp_path / "out")
    anew = run(small, tmp_path / "out", max_turns=2, overwrite=True)
    assert anew.counts["turns"] == 2 * anew.counts["sessions"]


def test_a_list_that_was_edited_is_another_setting(
    tmp_path: Path, small: list[Path], partitions: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    phrases = tmp_path / "phrases"
    phrases.write_text("soup\n", encoding="utf-8")
    go_on = stop_at("plant_partition", monkeypatch)
    with pytest.raises(DataError, match="stopped"):
        run(small, tmp_path / "out", blocklist=phrases)
    go_on()
    phrases.write_text("soap\n", encoding="utf-8")
    with pytest.raises(UsageError, match=r"other settings \(lists\)"):
        run(small, tmp_path / "out", blocklist=phrases)
    phrases.write_text("soup\n", encoding="utf-8")
    assert run(small, tmp_path / "out", blocklist=phrases).counts["sessions"]


def test_a_work_folder_of_another_format_of_spill_files_is_refused(
    tmp_path: Path, small: list[Path], partitions: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    go_on = stop_at("plant_partition", monkeypatch)
    with pytest.raises(DataError, match="stopped"):
        run(small, tmp_path / "out")
    go_on()
    plan = tmp_path / ".out.job" / "plan.json"
    found = json.loads(plan.read_bytes())
    for before in (1, "unknown"):
        found["settings"]["work format"] = before
        if before == "unknown":  # as written when there was no such number
            del found["settings"]["work format"]
        plan.write_text(json.dumps(found))
        message = rf"another version of dialogpt \(work format {before}, not {SPILL_FORMAT}\)"
        with pytest.raises(UsageError, match=message) as error:
            run(small, tmp_path / "out")
        assert "--overwrite" in error.value.hint
        assert done(tmp_path / ".out.job")  # nothing was touched
    anew = run(small, tmp_path / "out", overwrite=True)
    assert anew.counts == run(small, tmp_path / "whole").counts


@pytest.mark.parametrize("threads", [(100, 101, 102), (1,)])
def test_a_dump_that_is_replaced_is_read_again_and_all_its_threads_planted(
    tmp_path: Path, small: list[Path], partitions: None, threads: tuple[int, ...], monkeypatch: pytest.MonkeyPatch
) -> None:
    """With fewer threads, a partition may have no session any more: its old file must not stay."""
    go_on = stop_at("plant_partition", monkeypatch)
    with pytest.raises(DataError, match="stopped"):
        run(small, tmp_path / "out")
    go_on()
    job = tmp_path / ".out.job"
    first = done(job)
    write(small[1], *threads, text="replaced by something longer")
    small[0].write_text(" " * small[0].stat().st_size)  # this one is not read again
    run(small, tmp_path / "out")
    assert len([name for name in first if name.startswith("read/")]) == 2
    write(small[0], *range(0, 40, 2))
    run(small, tmp_path / "whole")
    texts = [sorted(str(session) for session in read_sessions(tmp_path / name)) for name in ("out", "whole")]
    assert texts[0] == texts[1]
    assert any("replaced" in text for text in texts[0])


def test_outputs_and_inputs_on_urls(memory: str, tmp_path: Path, small: list[Path], partitions: None) -> None:
    run(small, tmp_path / "whole")
    urls = [f"{memory}/dumps/RC_0.bz2", f"{memory}/dumps/RC_1"]
    fsspec.filesystem("memory").pipe(urls[0], bz2.compress(small[0].read_bytes()))
    fsspec.filesystem("memory").pipe(urls[1], small[1].read_bytes())
    out = Storage(f"{memory}/deep/out")
    manifest = run(urls, out.url)
    assert manifest.inputs == urls
    assert MANIFEST in out.names()
    assert out.parent.names() == ["out"]
    with pytest.raises(UsageError, match="not empty"):
        run(urls, out.url)
    once = content(out.url)
    assert once == run_again(urls, out.url)
    file = f"file://{tmp_path}/on a url"
    run(small, file)
    assert content(tmp_path / "on a url") == content(tmp_path / "whole")
    assert run_again(small, file) == content(tmp_path / "whole")
    with pytest.raises(UsageError, match="not empty"):
        run(small, file)


def run_again(dumps: Any, out: str) -> dict[str, bytes]:
    run(dumps, out, overwrite=True)
    return content(out)


def test_an_unfinished_job_on_a_url_goes_on(
    memory: str, tmp_path: Path, small: list[Path], partitions: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(small, tmp_path / "whole")
    go_on = stop_at("plant_partition", monkeypatch)
    with pytest.raises(DataError, match="stopped"):
        run(small, f"{memory}/out")
    go_on()
    assert Storage(memory).names() == [".out.job"]
    monkeypatch.setattr(module, "read_part", None)
    run(small, f"{memory}/out")
    assert content(f"{memory}/out") == content(tmp_path / "whole")


@pytest.fixture
def tiny_disk(tmp_path: Path) -> Iterator[Path]:
    """A disk of 512 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=512k", "tmpfs", str(disk)]
    if subprocess.run(mount, capture_output=True, check=False).returncode:
        pytest.skip("mounting a disk needs root")
    yield disk
    subprocess.run(["umount", str(disk)], check=True)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_full_disk(tmp_path: Path, tiny_disk: Path, small: list[Path], partitions: None, workers: int) -> None:
    run(small, tmp_path / "whole")
    ballast = tiny_disk / "ballast"
    ballast.write_bytes(bytes(464 << 10))
    with pytest.raises(DataError, match="No space left on device"):
        run(small, tiny_disk / "out", workers=workers)
    assert [path.name for path in tiny_disk.glob("out*")] == []
    assert done(tiny_disk / ".out.job")  # what there was room for is kept
    ballast.unlink()
    run(small, tiny_disk / "out", workers=workers)
    assert content(tiny_disk / "out") == content(tmp_path / "whole")


def test_no_space_while_planting(
    tmp_path: Path, small: list[Path], partitions: None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run(small, tmp_path / "whole")
    original = module.open_sink

    def full(file: Any, format: Any) -> Any:
        if isinstance(file, io.BytesIO):  # only asked whether the format can be written at all
            return original(file, format)
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(module, "open_sink", full)
    with pytest.raises(DataError, match=r"00000\S* cannot be written: No space left") as caught:
        run(small, tmp_path / "out")
    assert caught.value.hint == "check disk space and permissions"
    monkeypatch.setattr(module, "open_sink", original)
    monkeypatch.setattr(module, "read_part", None)  # both dumps have been read
    run(small, tmp_path / "out")
    assert content(tmp_path / "out") == content(tmp_path / "whole")
