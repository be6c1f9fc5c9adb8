"""Stage 8: a checkpoint for other places.

`export` writes a checkpoint anew, for shipping and for other engines: as a Hugging Face folder in a smaller type, or as
the one GGUF file that llama.cpp opens.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportConfig:
    """Settings of `export`: a checkpoint -> a folder to ship, in a smaller type, or a file for llama.cpp."""

    model: Annotated[str, "checkpoint folder, run folder, hub name, or the authors' .pkl file"]
    out: Annotated[Path, "folder to write, or a file for llama.cpp if the name ends in .gguf"]
    dtype: Annotated[Literal["bf16", "fp16", "fp32", "q8_0"], "type of the weights on disk; q8_0 is for .gguf"] = "bf16"
    card: Annotated[Path | None, "model card, copied into the folder as README.md"] = None
    overwrite: Annotated[bool, "replace an existing folder or file"] = False
