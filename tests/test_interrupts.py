"""Ctrl-C and SIGTERM: before the command line is there, in a container's first process, in the middle of the work."""

import gzip
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

ENVIRONMENT = {**os.environ, "OMP_NUM_THREADS": "1", "HF_HUB_OFFLINE": "1", "PYTHONUTF8": "1"}


def test_ctrl_c_before_the_command_line_is_there() -> None:
    script = """
import runpy, sys

class Key:
    def find_spec(self, name, path=None, target=None):
        if name == "click":
            raise KeyboardInterrupt

sys.meta_path.insert(0, Key())
sys.argv = ["dialogpt", "--version"]
runpy.run_module("dialogpt", run_name="__main__")
"""
    done = subprocess.run([sys.executable, "-c", script], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (130, "", "\nerror: interrupted\n")


@pytest.mark.skipif(os.name == "nt", reason="containers of Linux")
@pytest.mark.parametrize("number, code", [(1, 128 + signal.SIGTERM), (2, -signal.SIGTERM)])
def test_sigterm_ends_a_containers_first_process(number: int, code: int) -> None:
    script = f"""
import os, signal, time
from dialogpt import cli
own = os.getpid()
os.getpid = lambda: {number}

def command():
    os.kill(own, signal.SIGTERM)
    time.sleep(60)

cli._group = command
cli.main()
"""
    done = subprocess.run([sys.executable, "-c", script], env=ENVIRONMENT, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (code, "", "")


def test_ctrl_c_is_exit_code_130(tmp_path: Path) -> None:
    (tmp_path / "long.gz").write_bytes(gzip.compress(b'{"id": "x", "title": "a long dump"}\n' * 3_000_000, 1))
    command = [sys.executable, "-m", "dialogpt", "extract", str(tmp_path / "long.gz"), "--out", str(tmp_path / "out")]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=ENVIRONMENT, text=True)
    while not (tmp_path / ".out.job" / "plan.json").exists():  # then it begins to read
        assert process.poll() is None
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    stdout, stderr = process.communicate(timeout=240)
    assert (process.returncode, stdout) == (130, ""), stderr
    assert [line for line in stderr.splitlines() if line.startswith("error: ")] == ["error: interrupted"]
    assert "Traceback" not in stderr
