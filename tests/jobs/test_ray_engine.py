"""Jobs on a real Ray cluster of two nodes on this machine: same output, also when a worker or a node dies."""

import json
import logging
import os
import sys
import threading
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType, SimpleNamespace
from typing import Any

import pytest

from dialogpt.artifact import make_manifest
from dialogpt.data import ExtractConfig
from dialogpt.data.extract import extract
from dialogpt.errors import DataError, UsageError
from dialogpt.jobs import Job
from dialogpt.session import read_sessions
from dialogpt.workers import Workers

OBJECT_STORE_BYTES = 80 << 20  # the least that Ray takes
ENVIRONMENT = {
    "RAY_AUTH_MODE": "disabled",  # its warning
    "RAY_USAGE_STATS_ENABLED": "0",
    "RAY_enable_metrics_collection": "0",
}
on_cluster = pytest.mark.ray


@pytest.fixture(scope="module")
def patch() -> Iterator[pytest.MonkeyPatch]:
    with pytest.MonkeyPatch.context() as patch:
        yield patch


@pytest.fixture(scope="module")
def toys(patch: pytest.MonkeyPatch) -> ModuleType:
    """The module of the tasks, where Ray's workers find it too."""
    patch.syspath_prepend(Path(__file__).parent)
    patch.setenv("PYTHONPATH", os.pathsep.join(filter(None, sys.path)))
    import toy_tasks

    return toy_tasks


@pytest.fixture(scope="module")
def cluster(patch: pytest.MonkeyPatch, toys: ModuleType) -> Iterator[Any]:
    """Two nodes of one processor each."""
    pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    for name, value in ENVIRONMENT.items():
        patch.setenv(name, value)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", ResourceWarning)  # Ray's own, of the log files of its processes
        cluster = Cluster(
            initialize_head=True,
            head_node_args={"num_cpus": 1, "object_store_memory": OBJECT_STORE_BYTES, "include_dashboard": False},
        )
        cluster.add_node(num_cpus=1, object_store_memory=OBJECT_STORE_BYTES)
        yield cluster
        cluster.shutdown()


def start(
    out: Path, toys: ModuleType, function: Any, flags: Path, address: str, names: str = "abcdef", pause_s: float = 0.0
) -> list[Any]:
    job = Job(str(out), {}, overwrite=False)
    with job.kept():
        job.begin({})
        tasks = [toys.Toy(name, job.folder.url, str(flags), pause_s=pause_s) for name in names]
        results = job.run("stage", function, tasks, Workers(1, "ray", address))
        job.finish(make_manifest("toys"))
    return results


def read(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if len(path.name) == 1}


WHOLE = {name: name for name in "abcdef"}


@on_cluster
def test_extract_gives_the_same_on_one_process_in_a_pool_and_on_ray(
    tmp_path: Path, cluster: Any, capfd: pytest.CaptureFixture[str]
) -> None:
    rows = [{"id": "0", "title": "Guten Tag 😀", "subreddit": "s", "author": "a"}]
    rows += [
        {"id": str(n), "link_id": "t3_0", "parent_id": f"t1_{n // 3}" if n > 3 else "t3_0", "score": 1,
         "body": f"كيف حالك {n}؟" if n % 2 else f"reply number {n}", "subreddit": "s", "author": f"a{n % 7}"}
        for n in range(1, 400)
    ]  # fmt: skip
    dumps = tuple(tmp_path / f"RC_{n}" for n in range(3))
    for n, dump in enumerate(dumps):
        dump.write_text("".join(json.dumps(row) + "\n" for row in rows[n::3]))
    found = []
    ways: list[dict[str, Any]] = [{}, {"workers": 2}, {"engine": "ray", "address": cluster.address}]
    for n, way in enumerate(ways):
        capfd.readouterr()
        manifest = extract(ExtractConfig(dumps=dumps, out=tmp_path / f"out{n}", **way))
        files = {path.name: path.read_bytes() for path in (tmp_path / f"out{n}").glob("sessions-*")}
        found.append((files, manifest.counts, manifest.dropped))
    assert found[0] == found[1] == found[2]
    assert len(list(read_sessions(tmp_path / "out2"))) > 100
    assert is_quiet(capfd)
    assert not is_connected()


def is_quiet(capfd: pytest.CaptureFixture[str]) -> bool:
    """Whether nothing was printed but our own progress, which an earlier test may have turned on."""
    printed = capfd.readouterr()
    return not printed.out and all(line.endswith("/s") for line in printed.err.splitlines())


def is_connected() -> bool:
    import ray

    return bool(ray.is_initialized())


@on_cluster
def test_a_task_that_kills_its_worker_is_done_again(
    tmp_path: Path, cluster: Any, toys: ModuleType, flags: Path
) -> None:
    assert start(tmp_path / "out", toys, toys.die_once, flags, cluster.address) == list("ABCDEF")
    assert read(tmp_path / "out") == WHOLE
    assert (flags / "died").exists()


@on_cluster
def test_a_task_that_always_kills_its_worker_is_an_error(
    tmp_path: Path, cluster: Any, toys: ModuleType, flags: Path
) -> None:
    with pytest.raises(DataError, match="task stage/b failed on the cluster") as caught:
        start(tmp_path / "out", toys, toys.die_at_b, flags, cluster.address, "ab")
    assert "\n" not in caught.value.message
    assert not is_connected()


@on_cluster
@pytest.mark.parametrize("function, error", [("fail_at_b", DataError), ("bug", ZeroDivisionError), ("miss", DataError)])
def test_errors_come_home(
    tmp_path: Path, cluster: Any, toys: ModuleType, flags: Path, function: str, error: type[Exception]
) -> None:
    with pytest.raises(error):
        start(tmp_path / "out", toys, getattr(toys, function), flags, cluster.address, "b")
    assert not is_connected()
    assert [path.name for path in tmp_path.iterdir()] == ["flags"]


@on_cluster
def test_a_program_that_is_connected_stays_so(tmp_path: Path, cluster: Any, toys: ModuleType, flags: Path) -> None:
    import ray

    ray.init(address=cluster.address, log_to_driver=False, logging_level=logging.ERROR)
    try:
        start(tmp_path / "out", toys, toys.copy, flags, "")
        assert ray.is_initialized()
    finally:
        ray.shutdown()
    assert read(tmp_path / "out") == WHOLE


@on_cluster
@pytest.mark.parametrize("address", ["", "local"])
@pytest.mark.filterwarnings("ignore::ResourceWarning")  # the log files of the processes that Ray starts
def test_without_an_address_it_finds_a_cluster_or_makes_one(
    tmp_path: Path, cluster: Any, toys: ModuleType, flags: Path, address: str, capfd: pytest.CaptureFixture[str]
) -> None:
    """To Ray, `local` is a new one, whatever runs here."""
    capfd.readouterr()
    start(tmp_path / "out", toys, toys.copy, flags, address)
    assert read(tmp_path / "out") == WHOLE
    assert not is_connected()
    assert is_quiet(capfd)


@on_cluster
@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://localhost:1", "nowhere.invalid:6379", "host:port", "???"])
def test_an_address_where_nobody_answers(tmp_path: Path, toys: ModuleType, flags: Path, address: str) -> None:
    pytest.importorskip("ray")
    with pytest.raises(UsageError, match="no Ray cluster answers"):
        start(tmp_path / "out", toys, toys.copy, flags, address)
    assert [path.name for path in tmp_path.iterdir()] == ["flags"]


def test_without_ray_one_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "ray", None)
    task = SimpleNamespace(name="a", size=1)
    job = Job(str(tmp_path / "out"), {}, overwrite=False)
    with pytest.raises(UsageError, match="needs Ray") as caught, job.kept():  # noqa: PT012
        job.begin({})
        job.run("stage", str, [task], Workers(1, "ray"))
    assert caught.value.hint == 'pip install "dialogpt[ray]"'
    assert list(tmp_path.iterdir()) == []


@on_cluster
def test_a_node_that_dies_is_done_without(tmp_path: Path, cluster: Any, toys: ModuleType, flags: Path) -> None:
    """The last of these tests: Ray tells every later program of this cluster, on its stdout."""
    node = cluster.add_node(num_cpus=2, object_store_memory=OBJECT_STORE_BYTES)

    def under_way() -> int:
        return len(list(flags.glob("*.begun"))) - len(list((tmp_path / ".out.job" / "out").glob("*")))

    def remove() -> None:
        while under_way() < 3:  # the other node has two processors
            threading.Event().wait(0.05)
        cluster.remove_node(node, allow_graceful=False)

    killer = threading.Thread(target=remove)
    killer.start()
    results = start(tmp_path / "out", toys, toys.copy, flags, cluster.address, pause_s=2.5)
    killer.join()
    assert results == list("ABCDEF")
    assert read(tmp_path / "out") == WHOLE
    assert sum(len(path.read_text().split()) for path in flags.glob("*.begun")) > 6  # what it had begun, once more
