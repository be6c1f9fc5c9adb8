"""`judge`'s server as a real process: its API, wrong requests, kill -9, several judges at once, the ways it ends."""

import json
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import httpx
import pytest

from dialogpt.errors import UsageError
from dialogpt.evaluation.human import server
from dialogpt.evaluation.human.store import Store

pytest.importorskip("fastapi", reason="the extra `server` is not installed")
pytest.importorskip("uvicorn", reason="the extra `server` is not installed")

Serve = Callable[..., Any]
# One for all: to make one takes 40 ms. Servers come and go, so no connection is kept.
HTTP = httpx.Client(verify=False, limits=httpx.Limits(max_keepalive_connections=0))
TIES = {"relevance": 0, "informativeness": 0, "human-likeness": 0}


def join(url: str, name: str) -> str:
    """A new judge's part of the API."""
    answer = HTTP.post(f"{url}api/join", json={"name": name})
    assert answer.status_code == 201, answer.text
    return f"{url}api/j/{answer.json()['token']}"


def answer_all(judge: str) -> int:
    """Answer everything; returns how many items that were."""
    with httpx.Client() as client:
        state = client.get(judge).json()
        count = 0
        while state["item"]:
            # A check, too, is like any other item.
            assert list(state["item"]) == ["assignment", "position", "turns", "replies", "values"]
            body = {"assignment": state["item"]["assignment"], "values": TIES, "seconds": 1}
            response = client.post(f"{judge}/answers", json=body)
            assert response.status_code == 200, response.text
            state = response.json()
            count += 1
        return count


def test_a_study_from_a_name_to_the_end(serve: Serve, tmp_path: Path, systems: tuple[Path, Path]) -> None:
    study = tmp_path / "study.db"
    served = serve(study, "--hyps", *systems, "--check-every", 3)
    for page, words in (("", "Judging replies"), ("page.css", "--accent"), ("page.js", "textContent")):
        response = HTTP.get(served.url + page)
        assert response.status_code == 200
        assert words in response.text
        assert response.headers["Content-Security-Policy"].startswith("default-src 'none'")
        assert HTTP.head(served.url + page).headers["Content-Length"] == str(len(response.content))
        assert response.headers["Cache-Control"] == "no-store"
        assert "server" not in response.headers
    judge = join(served.url, "  Zoë\tأحمد ")
    assert "Which reply" not in HTTP.get(judge.replace("api/", "")).text  # no text of the study stands in the page
    state = HTTP.get(judge).json()
    assert (state["name"], state["answered"], state["total"], state["may_go_back"]) == ("Zoë أحمد", 0, 5, False)
    assert not {"ours", "human"} & set(HTTP.get(judge).text.replace('"', " ").split())  # blind
    assert HTTP.get(judge).json() == state

    body = {"assignment": state["item"]["assignment"], "values": {**TIES, "relevance": 1}, "seconds": 2.5}
    second = HTTP.post(f"{judge}/answers", json=body).json()
    assert HTTP.post(f"{judge}/answers", json=body).json() == second
    assert (second["answered"], second["may_go_back"], second["item"]["position"]) == (1, True, 1)
    back = HTTP.get(f"{judge}?back=1").json()
    assert back["item"] == {**state["item"], "values": body["values"]}
    assert not back["may_go_back"]
    corrected = {**body, "values": {**TIES, "relevance": -1}}
    assert HTTP.post(f"{judge}/answers", json=corrected).json() == second
    assert answer_all(judge) == 4
    done = HTTP.get(judge).json()
    assert (done["item"], done["answered"], done["total"]) == (None, 5, 5)

    code, out, err = served.end()
    assert code == 0
    assert out == (
        f"items with all their judges: 0 of 4; answers: 4 of 12; judges: 1\nwho wins: dialogpt judge report {study}\n"
    )
    assert err.endswith("stopped\n")
    assert "Traceback" not in err
    assert judge.rpartition("/")[2] not in err  # links are secrets
    assert not list(tmp_path.glob("study.db-*"))
    with Store.open(study) as store:
        found = store.judgements()
        assert len(found) == 15
        assert sum(each.passed is not None for each in found) == 3
        (value,) = {-each.value if each.swapped else each.value for each in found if each.value}
        assert value == -1


@pytest.mark.parametrize(
    "path, body, status, message",
    [
        ("api/j/nobody", None, 404, "this link belongs to no judge"),
        ("api/j/nobody/answers", {"assignment": 1, "values": TIES}, 404, "this link belongs to no judge"),
        ("JUDGE/answers", {}, 422, "missing required field `assignment`"),
        ("JUDGE/answers", b"", 422, "the request cannot be read"),
        ("JUDGE/answers", b"\xff\xfe{", 422, "the request cannot be read"),
        ("JUDGE/answers", b"[" * 50_000, 422, "the request cannot be read"),
        ("JUDGE/answers", b" " * 70_000, 413, "more than 65536 bytes"),
        ("JUDGE/answers", {"assignment": "1", "values": TIES}, 422, r"Expected `int`, got `str` - at `$.assignment`"),
        ("JUDGE/answers", {"assignment": 10**30, "values": TIES}, 422, "the request cannot be read"),
        ("JUDGE/answers", {"assignment": 999, "values": TIES}, 409, "gone to another judge"),
        ("JUDGE/answers", {"assignment": 1, "values": {"relevance": 1}}, 422, "an answer to relevance"),
        ("JUDGE/answers", {"assignment": 1, "values": {**TIES, "relevance": 7}}, 422, "relevance: 7 is not an answer"),
        ("JUDGE/answers", {"assignment": 1, "values": TIES, "seconds": -3}, 422, "-3.0 seconds"),
        ("api/join", {"name": "ann"}, 409, "somebody judges as 'ann' already"),
        ("api/join", {"name": " "}, 422, "a name has 1 to 80 letters"),
        ("api/join", {"name": "\ud800"}, 422, "the request cannot be read"),
        ("api/join", {"nom": "Ann"}, 422, "missing required field `name`"),
        ("api/join", {"name": "x" * 65_536}, 413, "more than 65536 bytes"),
    ],
)
def test_wrong_requests_are_told_what_is_wrong(
    one_server: tuple[str, str], path: str, body: Any, status: int, message: str
) -> None:
    url, judge = one_server
    where = path.replace("JUDGE", judge) if "JUDGE" in path else url + path
    if body is None:
        response = HTTP.get(where)
    elif isinstance(body, bytes):
        response = HTTP.post(where, content=body)
    else:
        response = HTTP.post(where, content=json.dumps(body).encode())
    assert response.status_code == status
    assert message in response.json()["error"]
    assert response.json()["hint"]
    assert "Traceback" not in response.text


def test_a_head_that_never_ends_is_refused(one_server: tuple[str, str]) -> None:
    """It would be kept, and looked through anew with each piece."""
    where = httpx.URL(one_server[0])
    for sent in (b"GET /", b"GET / HTTP/1.1\r\nX: ", b"GET / HTTP/1.1\r\n" + b"X: x\r\n" * 20_000):
        with socket.create_connection((where.host, where.port), timeout=20) as client, suppress(ConnectionError):
            client.sendall(sent + b"x" * 1_000_000)
            while client.recv(1 << 16):
                pass
    assert HTTP.get(one_server[0]).status_code == 200


def test_a_request_that_does_not_come_is_not_waited_for(tmp_path: Path, systems: tuple[Path, Path]) -> None:
    hasty = "from dialogpt import cli, limits; limits.REQUEST_S = 0.2; cli.main()"
    command = [sys.executable, "-c", hasty, "judge", str(tmp_path / "study.db"), "--hyps", *map(str, systems)]
    with subprocess.Popen([*command, "--port", "0"], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout
        where = httpx.URL(process.stdout.readline().strip())
        for sent in (
            b"",
            b"GET / HTTP/1.1\r\nHost:",
            b"POST /api/join HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\n{",
        ):
            with socket.create_connection((where.host, where.port), timeout=20) as client:
                client.sendall(sent)
                while client.recv(1 << 16):
                    pass
        process.send_signal(signal.SIGINT)


@pytest.mark.parametrize("path", ["j/nobody", "nothing", "api/none", "../../etc/passwd", "judge.html", "j/"])
def test_addresses_that_are_none(one_server: tuple[str, str], path: str) -> None:
    response = HTTP.get(one_server[0] + path)
    assert response.status_code == 404
    assert "This address belongs to no judge" in response.text


def test_a_killed_server_has_kept_what_it_acknowledged(
    serve: Serve, tmp_path: Path, systems: tuple[Path, Path]
) -> None:
    study = tmp_path / "study.db"
    served = serve(study, "--hyps", *systems)
    judge = join(served.url, "Ann")
    for done in (1, 2):
        item = HTTP.get(judge).json()["item"]
        body = {"assignment": item["assignment"], "values": {**TIES, "relevance": 1}, "seconds": 1}
        assert HTTP.post(f"{judge}/answers", json=body).status_code == 200
        served.end(signal.SIGKILL)
        served = serve(study, "--port", served.port)  # the same links work
        assert HTTP.get(judge).json()["answered"] == done
    with Store.open(study) as store:  # beside the server
        assert Counter(each.criterion for each in store.judgements() if each.value) == {"relevance": 2}


def test_several_judges_at_once(serve: Serve, tmp_path: Path, systems: tuple[Path, Path]) -> None:
    study = tmp_path / "study.db"
    served = serve(study, "--hyps", *systems, "--judges", 2, "--check-every", 0)
    judges = [join(served.url, name) for name in ("Ann", "Bo", "Eve", "Kim")]
    threads = [threading.Thread(target=answer_all, args=(judge,)) for judge in judges]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    with Store.open(study) as store:
        found = [each for each in store.judgements() if each.criterion == "relevance"]
    assert Counter(each.item for each in found) == {"t1": 2, "t2": 2, "t3": 2, "t4": 2}
    assert "items with all their judges: 4 of 4; answers: 8 of 8" in served.end()[1]


def test_invited_judges_have_links_and_nobody_else(serve: Serve, tmp_path: Path, systems: tuple[Path, Path]) -> None:
    study = tmp_path / "study.db"
    served = serve(study, "--hyps", *systems, "--names", "Ann", "Bo  أحمد")
    assert list(served.links) == ["Ann", "Bo أحمد"]
    assert "invited judges" in HTTP.get(served.url).text
    refused = HTTP.post(f"{served.url}api/join", json={"name": "Eve"})
    assert (refused.status_code, refused.json()["error"]) == (422, "this study is for invited judges")
    assert HTTP.get(served.links["Ann"].replace("/j/", "/api/j/")).json()["name"] == "Ann"
    assert served.end()[0] == 0
    again = serve(study, "--port", served.port, "--names", "ann", "Kim")
    assert again.links["Ann"] == served.links["Ann"]
    assert "Kim" in again.links


def test_a_port_that_is_taken(run_judge: Serve, tmp_path: Path, systems: tuple[Path, Path]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        code, err = run_judge(tmp_path / "study.db", "--hyps", *systems, "--port", port)
    assert code == 2
    assert f"error: cannot listen at 127.0.0.1, port {port}: " in err
    assert "hint: name another --port" in err
    with Store.open(tmp_path / "study.db") as store:
        for host, port in (("no.such.host.invalid", 0), ("203.0.113.1", 0)):
            with pytest.raises(UsageError, match=f"cannot listen at {host}, port {port}"):
                server.serve(store, host, port)


def test_a_study_that_cannot_be_written_says_so_and_loses_nothing(
    serve: Serve, tmp_path: Path, systems: tuple[Path, Path]
) -> None:
    study = tmp_path / "study.db"
    served = serve(study, "--hyps", *systems)
    judge = join(served.url, "Ann")
    state = HTTP.get(judge).json()
    body = {"assignment": state["item"]["assignment"], "values": TIES, "seconds": 1}
    with sqlite3.connect(study) as db:
        db.execute("CREATE TRIGGER full BEFORE INSERT ON judgements BEGIN SELECT RAISE(ABORT, 'disk is full'); END")
    refused = HTTP.post(f"{judge}/answers", json=body)
    assert (refused.status_code, "disk is full" in refused.json()["error"]) == (503, True)
    assert HTTP.get(judge).json()["answered"] == 0
    with sqlite3.connect(study) as db:
        db.execute("DROP TRIGGER full")
    assert HTTP.post(f"{judge}/answers", json=body).json()["answered"] == 1
    code, _, err = served.end(signal.SIGTERM)
    assert code == 0
    assert "disk is full" in err
    assert "Traceback" not in err
