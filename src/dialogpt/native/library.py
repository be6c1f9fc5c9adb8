"""The compiled library: where it is, what its functions take, and which of its kernels run here.

DIALOGPT_CPU names the kernels (amx, avx512, avxvnni, avx2, sse4, neon, armv8, portable) instead of the best; `off`: no
engine.
"""

import ctypes
import os
import platform
from functools import cache
from pathlib import Path
from typing import Any, NoReturn, SupportsIndex

import numpy as np
from numpy.typing import NDArray

from dialogpt.errors import DialoGPTError, UsageError
from dialogpt.model import GPTConfig
from dialogpt.processors import threads

LIBRARY = Path(__file__).with_name("libdialogpt.so.1")
OFF = "off"
OF_ARM = ("neon", "armv8", "portable")
KERNELS = ("amx", "avx512", "avxvnni", "avx2", "sse4", *OF_ARM)

Pointer, Int, Long = ctypes.c_void_p, ctypes.c_int, ctypes.c_int64
FUNCTIONS: dict[str, tuple[Any, list[Any]]] = {  # what each returns and takes; csrc/interface.cpp says what they do
    "error": (ctypes.c_char_p, []),
    "choices": (ctypes.c_char_p, []),
    "refusal": (ctypes.c_char_p, [ctypes.c_char_p]),
    "packed_bytes": (Long, [Pointer]),
    "pack": (Int, [Pointer, Pointer, Int, ctypes.c_char_p, Pointer, Int, Pointer, Int, Int]),
    "open": (Pointer, [ctypes.c_char_p, Long, Pointer, ctypes.c_char_p, Int]),
    "close": (None, [Pointer]),
    "cache": (Pointer, [Pointer, Int]),
    "cache_free": (None, [Pointer]),
    "cache_take": (Int, [Pointer, Pointer, Pointer, Int]),
    "cache_put": (Int, [Pointer, Pointer, Int, Pointer]),
    "cache_cut": (Int, [Pointer, Int, Int]),
    "cache_lengths": (None, [Pointer, Pointer]),
    "cache_bytes": (Long, [Pointer]),
    "read": (Int, [Pointer, Pointer, Pointer, Pointer, Long, Pointer, Long, Pointer, Long, Pointer, Pointer]),
    "masses": (Int, [Pointer, Pointer, Long, Pointer, Pointer, Pointer]),
    "likeliest": (Int, [Pointer, Pointer, Long, Long, Pointer, Pointer]),
}


class Shape(ctypes.Structure):
    """A model's shape, as csrc/layout.h has it."""

    _fields_ = (
        *((name, ctypes.c_int32) for name in ("vocab", "ctx", "layers", "heads", "embd")),
        ("eps", ctypes.c_float),
        ("bits", ctypes.c_int32),
    )

    @classmethod
    def of(cls, config: GPTConfig, bits: int) -> "Shape":
        sizes = (config.vocab_size, config.n_ctx, config.n_layer, config.n_head, config.n_embd)
        return cls(*sizes, config.layer_norm_eps, bits)

    @property
    def address(self) -> int:
        return ctypes.addressof(self)


@cache
def library() -> Any:
    """The library with its functions declared; OSError if it was not built, or does not load."""
    loaded = ctypes.CDLL(str(LIBRARY))
    for name, (returns, takes) in FUNCTIONS.items():
        function = getattr(loaded, f"dialogpt_{name}")
        function.restype, function.argtypes = returns, takes
    return loaded


class OfLibrary:
    """An object that the library made and frees once: a copy, pickled or not, would free it again."""

    def __reduce_ex__(self, _: SupportsIndex) -> NoReturn:
        raise UsageError(
            "a bot or model of the native engine cannot be copied or pickled",
            "load it where it is needed; Chatbot(bot.responder) is another conversation with the same model",
        )


def call(name: str, *arguments: Any) -> Any:
    """Call a function of the library; DialoGPTError when it fails. The interpreter's lock is not held meanwhile."""
    found = getattr(library(), f"dialogpt_{name}")(*arguments)
    returns = FUNCTIONS[name][0]
    if (returns is Pointer and found is None) or (returns in (Int, Long) and found == -1):
        raise DialoGPTError(f"the native engine: {library().dialogpt_error().decode(errors='replace')}")
    return found


def pointer(array: NDArray[Any]) -> int:
    """The address of an array's numbers, which must be contiguous."""
    assert array.flags.c_contiguous
    return array.ctypes.data


def ints(values: Any) -> NDArray[np.int32]:
    return np.ascontiguousarray(values, np.int32)


def kernels() -> str | None:
    """The name of the kernels to run; None where DIALOGPT_CPU turns the engine off, or there is no library.

    UsageError when DIALOGPT_CPU names unknown kernels, or ones that this processor does not run.
    """
    asked = os.environ.get("DIALOGPT_CPU", "")
    if asked not in ("", OFF, *KERNELS):
        raise UsageError(
            f"DIALOGPT_CPU={asked} does not name a set of kernels", f"they are {', '.join(KERNELS)}, and {OFF} for none"
        )
    if asked == OFF or missing() is not None:
        return None
    here = _here()
    if asked and asked not in here:
        raise UsageError(f"DIALOGPT_CPU={asked} does not run here: {_refusal(asked)}", f"{', '.join(here)} do")
    return asked or str(here[0])


def _here() -> list[str]:
    """The kernels that run here, best first."""
    return str(library().dialogpt_choices().decode()).split()


def _refusal(kernels: str) -> str:
    """Why these kernels do not run here."""
    return str(library().dialogpt_refusal(kernels.encode()).decode(errors="replace"))


def missing() -> str | None:
    """Why there is no library, or None when there is one."""
    if not LIBRARY.is_file():
        return "it was not built: the installation found no C++ compiler, or the build failed"
    try:
        library()
    except (OSError, AttributeError) as error:
        return f"its library does not load: {error}"
    return None


def describe_cpu() -> str:
    """What runs models on this CPU, and why: lines for `dialogpt info --cpu`."""
    asked = os.environ.get("DIALOGPT_CPU", "")
    if (why := missing()) is not None:
        return f"native engine: none, {why}\nmodels are run by PyTorch"
    here = _here()
    lines = [f"kernels that this processor runs, the best first: {', '.join(here)}"]
    of_machine = OF_ARM if platform.machine().lower() in ("aarch64", "arm64") else KERNELS[: -len(OF_ARM)]
    lines += [f"not {name}: {_refusal(name)}" for name in of_machine if name not in here]
    if (chosen := kernels()) is None:
        return "\n".join(["native engine: none, DIALOGPT_CPU=off", *lines, "models are run by PyTorch"])
    why = f"DIALOGPT_CPU={asked}" if asked else "the best that this processor runs"
    number = "DIALOGPT_THREADS" if os.environ.get("DIALOGPT_THREADS") else "the cores that this process may use"
    return "\n".join([f"native engine: {chosen}, {why}", *lines, f"threads: {threads()}, {number}"])
