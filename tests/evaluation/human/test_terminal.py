"""`judge --terminal`: a study in a pipe, by real processes."""

import os
import re
import subprocess
import sys
from pathlib import Path

from dialogpt.evaluation.human import Judgement
from dialogpt.evaluation.human.store import Store

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "TERM": "dumb", "LC_ALL": "C.UTF-8"}


def typed(lines: str, study: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "dialogpt", "judge", str(study), *map(str, arguments)]
    return subprocess.run(
        command,
        input=lines,
        env=ENVIRONMENT,
        capture_output=True,
        text=True,
        encoding="utf-8",
        check=False,
        timeout=100,
    )


def said(study: Path) -> list[Judgement]:
    with Store.open(study) as store:
        return store.judgements()


def test_a_judge_in_a_pipe_goes_on_another_day(tmp_path: Path, systems: tuple[Path, Path]) -> None:
    study = tmp_path / "study.db"
    first = typed("a\nT\n b \nx\n\na\nq\n", study, "--hyps", *systems, "--terminal", "أحمد", "--check-every", 0)
    assert first.returncode == 0, first.stderr
    assert "1 blank replies of human" in first.stderr
    assert "1 pairs have the same reply twice: ties, about which nobody is asked" in first.stderr
    assert "1 of 4\n" in first.stdout
    assert "'x' is not an answer: a, t, b, < or q" in first.stdout
    assert "'' is not an answer" in first.stdout
    assert first.stdout.endswith(
        f"items with all their judges: 0 of 4; answers: 1 of 12; judges: 1\nwho wins: dialogpt judge report {study}\n"
    )
    values = [-each.value if each.swapped else each.value for each in said(study)]
    assert values == [1, 0, -1]  # the item that was begun is not there

    second = typed("<\nb\nb\nb\n" + "t\n" * 9, study, "--terminal", "أحمد")
    assert second.returncode == 0, second.stderr
    assert "Which reply is more relevant? [a/t/b] (was a)" in second.stdout
    assert "That is all. Thank you!" in second.stdout
    assert "answers: 4 of 12" in second.stdout
    values = [-each.value if each.swapped else each.value for each in said(study)]
    assert values == [-1] * 3 + [0] * 9
    for text in ("صباح الخير، كيف حالك اليوم؟", "<script>document.title", "(no reply)", "w" * 400):
        assert text in first.stdout + second.stdout
    assert "\x1b" not in first.stdout + second.stdout

    third = typed("", study, "--terminal", "أحمد")
    assert (third.returncode, third.stdout.startswith("That is all. Thank you!\n")) == (0, True)


def test_ratings_and_signs_that_steer_a_terminal(tmp_path: Path) -> None:
    reply = tmp_path / "r.jsonl"
    reply.write_text('{"context": ["\\u001b[2J [bold]x[/bold] [/]"], "hypothesis": "\\u0007 :smile: 9"}\n')
    study = tmp_path / "study.db"
    result = typed("5\n0\n2\n", study, "--hyps", reply, "--kind", "ratings", "--terminal", "Ann")
    assert result.returncode == 0, result.stderr
    assert "- \ufffd[2J [bold]x[/bold] [/]\n" in result.stdout
    assert "reply: \ufffd :smile: 9\n" in result.stdout
    assert "'0' is not an answer: 1, 2, 3, 4, 5, < or q" in result.stdout
    assert [(each.criterion, each.value, each.systems) for each in said(study)] == [
        ("relevance", 5, ("r",)),
        ("informativeness", 2, ("r",)),
    ]


def test_at_a_terminal_ctrl_c_ends_and_keeps(tmp_path: Path, systems: tuple[Path, Path]) -> None:
    import pty
    import select

    study = tmp_path / "study.db"
    screen, inside = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-m", "dialogpt", "judge", study, "--hyps", *systems, "--terminal", "Ann"],
        stdin=inside, stdout=inside, stderr=inside, start_new_session=True, env={**ENVIRONMENT, "TERM": "xterm"},
        preexec_fn=_own_terminal,
    )  # fmt: skip
    os.close(inside)
    shown = b""
    try:
        for keys, ending in (
            (b"a\n", rb"relevant\? \[a/t/b\] $"),
            (b"a\n", rb"informative\? \[a/t/b\] $"),
            (b"t\n", rb"human-like\? \[a/t/b\] $"),
            (b"\x03", rb"2 of 4.*relevant\? \[a/t/b\] $"),
        ):
            while not re.search(ending, shown, re.DOTALL):
                assert select.select([screen], [], [], 60)[0], shown
                shown += os.read(screen, 4096)
            os.write(screen, keys)
        assert process.wait(60) == 0
    finally:
        process.kill()
        process.wait()
        os.close(screen)
    assert [-each.value if each.swapped else each.value for each in said(study)] == [1, 1, 0]


def _own_terminal() -> None:
    """Make the pseudo-terminal the process's own, so that Ctrl-C reaches it."""
    import fcntl
    import termios

    fcntl.ioctl(0, termios.TIOCSCTTY, 0)
