"""Builds the native engine's library into `src/dialogpt/native/`, for wheels and editable installations.

It takes g++ or clang++ (or what CXX names). Where none is there, or a build fails, a note says so and the package
installs without the library: the torch engine runs models then. Each file of kernels has flags of its own; where
a compiler does not know them, those of AMX are left out, or all x86 paths, and the portable kernels remain.
"""

import os
import platform
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

from hatchling.builders.hooks.plugin.interface import BuildHookInterface

SOURCES = Path("src/dialogpt/native/csrc")
LIBRARY = Path("src/dialogpt/native/libdialogpt.so.1")  # a name that ends in .so would be an extension module's
FLAGS = [
    "-std=c++17", "-O3", "-fPIC", "-pthread", "-fvisibility=hidden", "-ffp-contract=off", "-fno-math-errno",
    "-fno-trapping-math", "-Wno-psabi",
]  # fmt: skip
AVX2 = ["-mavx2", "-mfma", "-mf16c"]
AVX512 = ["-mavx512f", "-mavx512bw", "-mavx512vl", "-mavx512dq", "-mavx512vnni"]
KERNELS = {  # object -> its source and flags
    "amx": ("kernels_amx.cpp", [*AVX2, *AVX512, "-mamx-tile", "-mamx-int8"]),
    "avx512": ("kernels_avx512.cpp", [*AVX2, *AVX512]),
    "avxvnni": ("kernels_avx2.cpp", [*AVX2, "-mavxvnni"]),
    "avx2": ("kernels_avx2.cpp", AVX2),
    "sse4": ("kernels_sse4.cpp", ["-msse4.1"]),
    "neon": ("kernels_neon.cpp", ["-march=armv8.2-a+dotprod"]),
    "armv8": ("kernels_neon.cpp", []),
}
OF_ARM = ("neon", "armv8")
X86, ARM = ("x86_64", "amd64"), ("aarch64", "arm64")


class BuildFailed(Exception):
    pass


def compile_library(sources: Path, library: Path, extra: tuple[str, ...] = (), machine: str | None = None) -> str:
    """Build `library` from the C++ files of a folder; returns how, and raises BuildFailed with the reason why not.

    `machine` is the kind that it is for, as `platform` names them, where the compiler (CXX) is one for another kind.
    """
    compiler, why = _compiler(), ""
    of_some = {source for source, _ in KERNELS.values()}
    plain: list[tuple[Path, list[str]]] = [(p, []) for p in sorted(sources.glob("*.cpp")) if p.name not in of_some]
    for names, flags in _choices((machine or platform.machine()).lower()):
        own = [(sources / KERNELS[name][0], KERNELS[name][1]) for name in names]
        try:
            _build(compiler, [*plain, *own], [*flags, *extra], library)
        except BuildFailed as error:
            why = why or f": {error}"
        else:
            return f"{' '.join(compiler)}, kernels for {', '.join(names)} and any processor{why}"
    _build(compiler, plain, list(extra), library)
    return f"{' '.join(compiler)}, kernels for any processor{' alone' if why else ''}{why}"


def _choices(machine: str) -> list[tuple[list[str], list[str]]]:
    """Kernels and the flags that tell the sources of them: all that this kind of machine may run, then fewer."""
    if machine in ARM and sys.platform in ("linux", "darwin"):  # where the processor can be asked
        return [(list(OF_ARM), ["-DDIALOGPT_ARM"])]
    if machine not in X86:
        return []
    of_x86 = [name for name in KERNELS if name not in OF_ARM]
    without = ([name for name in of_x86 if name != "amx"], ["-DDIALOGPT_X86"])
    on_linux = (of_x86, ["-DDIALOGPT_X86", "-DDIALOGPT_AMX"])  # it gives a process its tiles
    return [on_linux, without] if sys.platform == "linux" else [without]


def _compiler() -> list[str]:
    if named := os.environ.get("CXX"):
        return named.split()
    for name in ("g++", "clang++", "c++"):
        if shutil.which(name):
            return [name]
    raise BuildFailed("no C++ compiler here (g++ or clang++)")


def _build(compiler: list[str], parts: list[tuple[Path, list[str]]], flags: list[str], library: Path) -> None:
    gcc = "Free Software Foundation" in _run([*compiler, "--version"])  # g++ is another name of clang++ on a Mac
    with tempfile.TemporaryDirectory() as folder:
        commands = []
        for number, (source, own) in enumerate(parts):
            target = str(Path(folder) / f"{number}.o")
            # GCC's -ftree-pre keeps sums of the product in memory beside registers: a third of the time.
            tuned = ["-fno-tree-pre"] if gcc and source.name.startswith("kernels_") else []
            commands.append([*compiler, *FLAGS, *flags, *own, *tuned, "-c", str(source), "-o", target])
        with ThreadPoolExecutor(len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 2) as pool:
            list(pool.map(_run, commands))
        partial = library.with_name(f".{library.name}.{os.getpid()}")  # a library in use is not written over
        _run([*compiler, *flags, "-shared", "-pthread", *(command[-1] for command in commands), "-o", str(partial)])
        partial.replace(library)


def _run(command: list[str]) -> str:
    """Returns what the command prints."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, check=False)
    except OSError as error:
        raise BuildFailed(f"{command[0]} does not run: {error}") from error
    if done.returncode:
        wrong = [line for line in done.stderr.splitlines() if "error" in line] or done.stderr.splitlines() or ["failed"]
        raise BuildFailed(f"{command[0]}: {wrong[0]}")
    return done.stdout


class NativeBuildHook(BuildHookInterface[Any]):
    PLUGIN_NAME = "custom"

    def initialize(self, version: str, build_data: dict[str, Any]) -> None:
        if self.target_name != "wheel":
            return
        root = Path(self.root)
        try:
            how = compile_library(root / SOURCES, root / LIBRARY)
        except BuildFailed as error:
            self.app.display_warning(f"dialogpt: the native engine was not built, PyTorch runs models: {error}")
            (root / LIBRARY).unlink(missing_ok=True)
            return
        self.app.display_info(f"dialogpt: the native engine was built by {how}")
        build_data["pure_python"] = False
        tag = sysconfig.get_platform().replace("-", "_").replace(".", "_")
        build_data["tag"] = f"py3-none-{tag}"
        build_data["artifacts"].append(str(LIBRARY))
