"""Next-token logits (B, V) of the torch engine, as `dialogpt.engine.Logits` has them.

On a GPU, sums and sorts over the vocabulary run there, and each query costs some calls and a wait. Logits of few rows,
and those of a device without fp64 (MPS), are copied to the CPU at once, as fp32 that numpy shares.
"""

from collections.abc import Sequence
from typing import Self

import numpy as np
import torch
from torch import Tensor

from dialogpt.engine import Candidates, Doubles, Floats, Ints

FEW = 2  # most rows whose logits leave a GPU at once: 0.2 MB each with GPT-2's vocabulary


class TorchLogits:
    """Logits as a tensor (B, V)."""

    def __init__(self, values: Tensor) -> None:
        stays = values.device.type == "cuda" and len(values) > FEW
        self._values = values if stays else values.float().cpu()
        self._here: Floats | None = None if stays else self._values.numpy()  # the same memory

    @property
    def rows(self) -> int:
        return self._values.shape[0]

    @property
    def vocabulary(self) -> int:
        return self._values.shape[1]

    @torch.inference_mode()
    def logsumexp(self) -> Doubles:
        return _numpy(self._values.float().logsumexp(-1).double())

    @torch.inference_mode()
    def mass(self, temperatures: Floats) -> Doubles:
        values = self._values.float()
        cooled = (values - values.amax(-1, keepdim=True)) / self._moved(temperatures)[:, None]
        return _numpy(cooled.double().exp().sum(-1))

    def argmax(self) -> Ints:
        return self._here.argmax(-1) if self._here is not None else _numpy(self._values.argmax(-1))

    @torch.inference_mode()
    def likeliest(self, k: int) -> Candidates:
        k = min(k, self.vocabulary)
        found, ids = self._values.topk(min(k + 1, self.vocabulary))  # one more shows ties at the edge
        logits, tokens = _numpy(found.float()), _numpy(ids)
        if k < self.vocabulary:
            tied = np.flatnonzero(logits[:, k] == logits[:, k - 1])
            logits, tokens = logits[:, :k], tokens[:, :k]
            if len(tied):  # the lower ids win
                order = self._values[self._moved(tied)].argsort(dim=-1, descending=True, stable=True)
                tokens[tied] = _numpy(order[:, :k])
        if (logits[:, 1:] == logits[:, :-1]).any():  # ties inside; with equal logits this moves only tokens
            tokens = np.take_along_axis(tokens, np.lexsort((tokens, -logits)), -1)
        return Candidates(logits, tokens)

    @torch.inference_mode()
    def get(self, rows: Sequence[int], tokens: Sequence[int] | Ints) -> Floats:
        if self._here is not None:
            return self._here[rows, tokens]
        return _numpy(self._values[self._moved(rows), self._moved(tokens)].float())

    @torch.inference_mode()
    def set(self, rows: Sequence[int], tokens: Sequence[int], values: Floats) -> None:
        if self._here is not None:
            self._here[rows, tokens] = values
        else:
            self._values[self._moved(rows), self._moved(tokens)] = self._moved(values).to(self._values.dtype)

    @torch.inference_mode()
    def select(self, rows: Sequence[int]) -> Self:
        return type(self)(self._values[self._moved(rows)])

    @torch.inference_mode()
    def join(self, places: Sequence[int], other: Self) -> None:
        values = self._values
        if new := max(*places, self.rows - 1) + 1 - self.rows:
            values = torch.cat([values, values[:1].expand(new, -1)])
        values[self._moved(places)] = other._values.to(values)
        self._values = values
        if self._here is not None:
            self._here = values.numpy()

    def array(self) -> Floats:
        return self._here if self._here is not None else _numpy(self._values.float())

    def _moved(self, array: Sequence[int] | Ints | Floats) -> Tensor:
        return torch.as_tensor(array, device=self._values.device)


def _numpy(tensor: Tensor) -> np.ndarray:
    found: np.ndarray = tensor.cpu().numpy()
    return found
