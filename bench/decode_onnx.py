"""ONNX Runtime as a `Decoder` of `bench/decode_tasks.py`: a graph of its own fused operators, weights of 8 or 4 bits.

`convert` writes the graph from the checkpoint, as ONNX Runtime's generation tools write those of newer models:
attention with the cache in place (`GroupQueryAttention`), and `DynamicQuantizeMatMul` with a scale for each output, the
tied output layer too; of `int4`, the layers are `MatMulNBits`. Optimum's export of GPT-2 in the same 8 bits is slower:
attention is a dozen operators, activations are converted to 8 bits and back by operators of their own, and the cache
is copied at each step. The output layer computes only the places that are needed; drawing gets the likeliest tokens,
scoring the targets.
"""

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from decode_peers import batches
from decode_steps import Steps, missing
from decode_tasks import CONVERT, TOP_K, Measured, Work, answer, measure
from onnx_graph import LIKELIEST, SCORES, write

NEEDS = {"onnxruntime": ["onnx", "onnxruntime", "safetensors"]}
FOLDERS = {"int8": "onnx", "int4": "onnx-int4"}  # its files, in a checkpoint's folder


class OnnxRuntime(Steps):
    """A session; the cache is numpy's memory, which attention writes in place."""

    def __init__(self, work: Work, folder: str) -> None:
        import onnxruntime

        self.runtime, self.end_id = onnxruntime, work.end_id
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = work.threads  # they spin while they wait, which is the default
        scores = folder == work.backward
        self.outputs = ["logprobs"] if scores else ["logits", "tokens"]
        path = Path(folder) / FOLDERS[work.precision] / f"{SCORES if scores else LIKELIEST}.onnx"
        self.session: Any = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
        self.shapes = {given.name: given.shape for given in self.session.get_inputs() if given.name.startswith("past.")}
        self.cache: dict[str, np.ndarray] = {}
        self.binding: Any = None

    def _open(self, rows: int, length: int) -> None:
        """Room for as many rows of `length` tokens, that past and present share."""
        self.cache, self.binding = {}, self.session.io_binding()
        for name, (_, heads, _, size) in self.shapes.items():
            self.cache[name] = np.empty((rows, heads, length, size), np.float32)
            value = self.runtime.OrtValue.ortvalue_from_numpy(self.cache[name])  # of the same memory
            self.binding.bind_ortvalue_input(name, value)
            self.binding.bind_ortvalue_output(name.replace("past", "present"), value)

    def _read(
        self, tokens: np.ndarray, past: np.ndarray, lengths: np.ndarray | None = None,
        places: np.ndarray | None = None, **more: np.ndarray,
    ) -> list[np.ndarray]:  # fmt: skip
        """Read (rows, new) tokens after each row's `past`, the first `lengths` of each; outputs at `places` of the flat
        tokens, else at each row's last."""
        rows, new = tokens.shape
        if lengths is None:
            lengths = np.full(rows, new)
        if places is None:
            places = np.arange(rows) * new + lengths - 1
        given = {
            "ids": tokens, "positions": past[:, None] + np.arange(new), "ends": (past + lengths - 1).astype(np.int32),
            "total": np.array([past.max() + new], np.int32), "places": places, **more,
        }  # fmt: skip
        for name, value in given.items():
            self.binding.bind_cpu_input(name, value)
        for name in self.outputs:
            self.binding.bind_output(name, "cpu")
        self.session.run_with_iobinding(self.binding)
        return [value.numpy() for value in self.binding.get_outputs()[-len(self.outputs) :]]

    def _best(self, tokens: np.ndarray, past: np.ndarray, lengths: np.ndarray | None = None) -> np.ndarray:
        """The likeliest token of each row but the end's."""
        found = self._read(tokens, past, lengths, number=np.array([2]))[1]
        return np.where(found[:, 0] == self.end_id, found[:, 1], found[:, 0])

    def reset(self, length: int) -> None:
        self._open(1, length)

    def best(self, tokens: list[int], past: int) -> int:
        return int(self._best(np.array([tokens]), np.array([past]))[0])

    def likeliest(self, rows: list[list[int]], past: int) -> tuple[np.ndarray, np.ndarray]:
        logits, tokens = self._read(np.array(rows), np.full(len(rows), past), number=np.array([TOP_K + 1]))
        return logits, tokens

    def spread(self, number: int) -> None:
        one = self.cache
        self._open(number, next(iter(one.values())).shape[2])
        for name, kept in one.items():
            self.cache[name][:] = kept

    def nats(self, hypotheses: list[list[int]], source: list[int]) -> list[float]:
        """Of hypotheses of one length."""
        tokens = np.array([(hypothesis + source)[:-1] for hypothesis in hypotheses])
        rows, new = tokens.shape
        self._open(rows, new)
        places = (np.arange(rows)[:, None] * new + np.arange(new - len(source), new)).reshape(-1)
        targets = np.tile(np.array(source), rows)[:, None]
        (logprobs,) = self._read(tokens, np.zeros(rows, np.int64), places=places, targets=targets)
        found: list[float] = (-logprobs.reshape(rows, len(source)).sum(1, dtype=np.float64)).tolist()
        return found

    def beam(self, context: list[int], beams: int, new: int) -> list[int]:
        raise NotImplementedError("ONNX Runtime's beam search takes graphs of its own converter")

    def bulk(self, contexts: list[list[int]], new: int, batch: int) -> list[list[int]]:
        found: dict[int, list[int]] = {}
        for places in batches(contexts, batch):
            found |= zip(places, self._together([contexts[i] for i in places], new), strict=True)
        return [found[i] for i in range(len(contexts))]

    def _together(self, contexts: list[list[int]], new: int) -> list[list[int]]:
        """Replies of rows that are padded on the right while they are read."""
        lengths = np.array([len(context) for context in contexts])
        longest = int(lengths.max())
        self._open(len(contexts), longest + new)
        padded = np.array([context + [self.end_id] * (longest - len(context)) for context in contexts])
        made = [self._best(padded, np.zeros_like(lengths), lengths)]
        while len(made) < new:
            made.append(self._best(made[-1][:, None], lengths + len(made) - 1))
        found: list[list[int]] = np.stack(made, 1).tolist()
        return found


def onnx_peer(work: Work) -> Measured:
    """A task; or both models' graphs are written."""
    if work.task != CONVERT:
        return measure(work, OnnxRuntime)
    for folder in map(Path, (work.model, work.backward)):
        write(folder, folder / FOLDERS[work.precision], bits=4 if work.precision == "int4" else 8)
    return Measured()


if __name__ == "__main__":
    if sys.argv[1:] == ["--missing"]:
        print(json.dumps(missing(NEEDS)))
    else:
        answer(onnx_peer)
