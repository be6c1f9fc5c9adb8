"""Products in fp16: gradients are scaled up so that small ones are not lost, and down again when they are used.

bf16 has the range of fp32 and does not need this. A step whose gradients overflow changes nothing, and the next ones
are half as large; after many that did not overflow they are twice as large (Micikevicius et al., ICLR 2018).
"""

import logging
import math

import torch

from dialogpt.train.runs import TrainState

log = logging.getLogger(__name__)

GROWS_AFTER = 2000  # steps


class LossScale:
    """The factor, in the run's state, so that a resumed run has it; 1 for all types but fp16."""

    def __init__(self, state: TrainState, precision: torch.dtype) -> None:
        self._state, self.counts = state, precision == torch.float16

    @property
    def factor(self) -> float:
        return self._state.scale if self.counts else 1.0

    def fits(self, norm: float) -> bool:
        """Whether a step with this gradient norm may be taken, and the factor of the next.

        At a factor of 1 it may: then fp16 is not why the norm is not finite.
        """
        state = self._state
        if math.isfinite(norm):
            state.scale_steps += 1
            if state.scale_steps >= GROWS_AFTER:
                state.scale, state.scale_steps = state.scale * 2, 0
            return True
        if state.scale <= 1:
            return True
        state.scale, state.scale_steps = state.scale / 2, 0
        log.info("step %d changes nothing: its gradients overflow fp16; the next are half as large", state.step + 1)
        return False
