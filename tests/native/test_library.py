"""Which kernels run, by DIALOGPT_CPU; forks and ends of the process; an installation that has no compiler."""

import ctypes
import os
import platform
import shutil
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from dialogpt.decoding.loading import load_engine
from dialogpt.errors import UsageError
from dialogpt.info import InfoConfig, info
from dialogpt.model.engine import TorchEngine
from dialogpt.native import library
from dialogpt.native.engine import NativeEngine

ROOT = Path(__file__).parents[2]


def test_auto_and_int8_on_a_cpu_are_native(monkeypatch: pytest.MonkeyPatch) -> None:
    for precision in ("auto", "int8"):
        assert isinstance(load_engine(None, device="cpu", precision=precision)[0], NativeEngine)
    assert isinstance(load_engine(None, device="cpu", precision="fp32")[0], TorchEngine)
    monkeypatch.setenv("DIALOGPT_CPU", "off")
    assert isinstance(load_engine(None, device="cpu")[0], TorchEngine)


def test_four_bits_are_native_or_refused(
    make_model: Callable[..., Any], save: Callable[[Any], Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = save(make_model(seed=4))
    assert isinstance(load_engine(str(folder), device="cpu", precision="int4")[0], NativeEngine)
    assert (folder / "model.int4").is_file()
    monkeypatch.setenv("DIALOGPT_CPU", "off")
    with pytest.raises(UsageError, match=r"--precision int4 needs the native engine, which does not run .* here"):
        load_engine(str(folder), device="cpu", precision="int4")


def test_kernels_that_are_named(kernels: str) -> None:
    assert library.kernels() == kernels
    assert info(InfoConfig(path=(), cpu=True)).startswith(f"native engine: {kernels}, DIALOGPT_CPU={kernels}\n")


def test_info_says_what_was_chosen_and_why(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("DIALOGPT_CPU", raising=False)
    said = info(InfoConfig(path=(), cpu=True))
    assert said.startswith(f"native engine: {library.kernels()}, the best that this processor runs\n")
    assert "portable" in said.splitlines()[1]
    monkeypatch.setenv("DIALOGPT_CPU", "off")
    assert info(InfoConfig(path=(), cpu=True)).startswith("native engine: none, DIALOGPT_CPU=off")
    monkeypatch.setattr(library, "LIBRARY", tmp_path / "none.so")
    assert "the installation found no C++ compiler" in info(InfoConfig(path=(), cpu=True))


def test_kernels_that_do_not_exist_or_do_not_run_here(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DIALOGPT_CPU", "mmx")
    with pytest.raises(UsageError, match="DIALOGPT_CPU=mmx does not name a set of kernels"):
        load_engine(None, device="cpu")
    monkeypatch.setenv("DIALOGPT_CPU", "avx2")
    monkeypatch.setattr(library.library(), "dialogpt_choices", lambda: b"portable")
    monkeypatch.setattr(library.library(), "dialogpt_refusal", lambda name: b"this processor has no " + name.upper())
    with pytest.raises(UsageError, match="DIALOGPT_CPU=avx2 does not run here: this processor has no AVX2"):
        load_engine(None, device="cpu")
    monkeypatch.setenv("DIALOGPT_CPU", "portable")
    assert "\nnot avx2: this processor has no AVX2\n" in info(InfoConfig(path=(), cpu=True))


def run(script: str, **environment: str) -> subprocess.CompletedProcess[str]:
    begin = "from dialogpt.decoding.loading import load_engine\nengine, _ = load_engine(None, device='cpu')\n"
    command = [sys.executable, "-c", begin + textwrap.dedent(script)]
    return subprocess.run(
        command, capture_output=True, text=True, check=False, timeout=60, env={**os.environ, **environment}
    )


def test_a_child_has_a_pool_of_its_own() -> None:
    done = run(
        """
        import os
        before = engine.prefill([[1, 2, 3]], 0)[0].array()
        child = os.fork()
        assert (engine.prefill([[1, 2, 3]], 0)[0].array() == before).all()
        if child:
            assert os.waitpid(child, 0)[1] == 0
            print("both")
        """,
        DIALOGPT_THREADS="3",
    )
    assert (done.stdout, done.returncode) == ("both\n", 0), done.stderr


def test_threads_sleep_between_calls_and_end_with_the_process() -> None:
    done = run(
        """
        import threading, time
        engine.prefill([[1, 2, 3]], 0)
        time.sleep(0.1)
        before = time.process_time()
        time.sleep(0.5)
        print(time.process_time() - before)
        def forever():
            while True:
                engine.nats([([1, 2], [3, 4])])
        threading.Thread(target=forever, daemon=True).start()
        time.sleep(0.2)  # a call is under way when the process ends
        """,
        DIALOGPT_THREADS="3",
    )
    assert done.returncode == 0, done.stderr
    assert float(done.stdout) < 0.1


def test_no_torch_is_imported() -> None:
    done = run("engine.prefill([[1]], 0)\nimport sys\nprint('torch' in sys.modules, 'transformers' in sys.modules)")
    assert done.stdout == "False False\n", done.stderr


def test_another_kind_of_processor_takes_the_portable_kernels(
    build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("platform.machine", lambda: "riscv64")
    try:
        build.compile_library(ROOT / build.SOURCES, tmp_path / "portable.so.1")
    except build.BuildFailed as error:
        pytest.skip(str(error))
    built = ctypes.CDLL(str(tmp_path / "portable.so.1"))
    built.dialogpt_choices.restype = ctypes.c_char_p
    assert built.dialogpt_choices() == b"portable"


def test_clang_builds_all_kernels_though_it_is_called_as_gcc(
    build: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a Mac, whose `g++` is Apple's clang."""
    if (clang := shutil.which("clang++")) is None:
        pytest.skip("clang++ is not installed")
    (tmp_path / "g++").symlink_to(clang)
    monkeypatch.setenv("CXX", str(tmp_path / "g++"))
    how = build.compile_library(ROOT / build.SOURCES, tmp_path / "clang.so.1", ("-Wall", "-Wextra", "-Werror"))
    names = [name for names, _ in build._choices(platform.machine().lower())[:1] for name in names]
    assert how == f"{tmp_path / 'g++'}, kernels for {', '.join(names)} and any processor"
    built = ctypes.CDLL(str(tmp_path / "clang.so.1"))
    built.dialogpt_choices.restype = ctypes.c_char_p
    assert built.dialogpt_choices().decode() == library.library().dialogpt_choices().decode()


def test_without_a_compiler_the_package_is_built_all_the_same(tmp_path: Path) -> None:
    hook = pytest.importorskip("hatchling.builders.wheel")
    tree = tmp_path / "tree"
    for name in ("pyproject.toml", "hatch_build.py", "README.md", "LICENSE"):
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes((ROOT / name).read_bytes())
    package = tree / "src" / "dialogpt"
    (package / "native" / "csrc").mkdir(parents=True)
    (package / "__init__.py").write_bytes((ROOT / "src/dialogpt/__init__.py").read_bytes())
    for source in (ROOT / "src/dialogpt/native/csrc").iterdir():
        (package / "native" / "csrc" / source.name).write_bytes(source.read_bytes())
    script = "import sys\nfrom hatchling.builders.wheel import WheelBuilder\n"
    script += "print(next(WheelBuilder(sys.argv[1]).build(directory=sys.argv[2], versions=['standard'])))"
    found = {}
    for compiler in ("no-such-compiler", ""):
        command = [sys.executable, "-c", script, str(tree), str(tmp_path / "out")]
        done = subprocess.run(
            command, capture_output=True, text=True, check=False, env={**os.environ, "CXX": compiler}, timeout=300
        )
        assert done.returncode == 0, done.stderr
        found[compiler] = done.stdout + done.stderr
    assert hook
    assert (
        "the native engine was not built, PyTorch runs models: no-such-compiler does not run"
        in found["no-such-compiler"]
    )
    assert "none-any.whl" in found["no-such-compiler"]
    assert "py3-none-" in found[""]
    assert "none-any" not in found[""]
