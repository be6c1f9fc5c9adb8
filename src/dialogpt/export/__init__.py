"""Stage 8: a checkpoint for other places.

`export` writes a checkpoint anew as a Hugging Face folder in a smaller type, for shipping, and for other engines.
"""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal


@dataclass(frozen=True, slots=True, kw_only=True)
class ExportConfig:
    """Settings of `export`: a checkpoint -> a folder to ship, its weights in a smaller type."""

    model: Annotated[str, "checkpoint folder, run folder, hub name, or the authors' .pkl file"]
    out: Annotated[Path, "folder to write"]
    dtype: Annotated[Literal["bf16", "fp16", "fp32"], "type of the weights on disk"] = "bf16"
    card: Annotated[Path | None, "model card, copied as README.md"] = None
    overwrite: Annotated[bool, "replace an existing folder"] = False
