"""The engines of `bench/decode.py` as they are run: precisions and threads, what each cannot do, what it reads."""

import argparse
from dataclasses import dataclass

from train import parameters

from dialogpt.model import GPTConfig

OURS = "dialogpt"
PEERS = ["transformers", "ctranslate2", "llama.cpp", "openvino", "onnxruntime"]
BYTES = {"fp32": 4.0, "bf16": 2.0, "int8": 1.0, "q8_0": 34 / 32, "int4": 17 / 32, "q4_1": 5 / 8}
EIGHT_BITS = {"ctranslate2": "int8", "llama.cpp": "q8_0", "openvino": "int8", "onnxruntime": "int8"}
FOUR_BITS = {"llama.cpp": "q4_1", "openvino": "int4", "onnxruntime": "int4"}  # beside ours in int4
UNABLE = {("llama.cpp", "beam"), ("onnxruntime", "beam")}


@dataclass(frozen=True, slots=True)
class Runner:
    """An engine as it is run: how many threads, and how many workers share a bulk."""

    engine: str
    precision: str
    threads: int
    workers: int = 1

    @property
    def title(self) -> str:
        threads = f"{self.threads} thread{'s' * (self.threads > 1)}"
        return f"{self.engine} {self.precision}, {f'{self.workers} workers' if self.workers > 1 else threads}"

    @property
    def files(self) -> tuple[str, str]:
        """What its files are made for: ours has those of the checkpoint."""
        return (self.engine, "" if self.engine in (OURS, "transformers") else self.precision.split()[0])

    def runs(self, task: str) -> bool:
        return (self.engine, task) not in UNABLE and (self.workers == 1 or task == "bulk")


def runners_of(arguments: argparse.Namespace, engines: list[str]) -> list[Runner]:
    """Ours first, in its precisions; then each peer as it may be at its best."""
    most, cuda = arguments.threads, arguments.device == "cuda"
    found = [Runner(OURS, precision, most) for precision in arguments.ours_precisions]
    if "transformers" in engines:
        found += [Runner("transformers", precision, most) for precision in arguments.transformers_precisions]
    stored = [*EIGHT_BITS.items(), *(FOUR_BITS.items() if "int4" in arguments.ours_precisions else ())]
    for engine, precision in stored:
        if engine in engines and not cuda:
            found += [Runner(engine, precision, threads) for threads in sorted({1, most})]
            if engine == "ctranslate2" and most > 1:
                found.append(Runner(engine, precision, 1, workers=most))
            if engine == "openvino":
                found.append(Runner(engine, f"{precision} f32", most))
    return found


def weight_bytes(shape: GPTConfig, precision: str) -> float:
    """What a token reads; the output layer is in 8 bits where the others are in 4."""
    name = precision.split()[0]
    output = shape.vocab_size * shape.n_embd
    return (parameters(shape) - output) * BYTES[name] + output * BYTES["int8" if name == "int4" else name]
