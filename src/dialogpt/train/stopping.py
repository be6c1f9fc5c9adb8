"""How a run ends before its last step: by a signal, or for want of memory or a compiler."""

import logging
import signal
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType

from dialogpt.errors import DataError, DialoGPTError, is_out_of_memory
from dialogpt.train import TrainConfig
from dialogpt.train.feed import Step

log = logging.getLogger(__name__)


class Interrupted(DialoGPTError):
    """Ctrl-C or SIGTERM arrived; the run was saved."""

    exit_code = 130


class Flag:
    is_set = False


@contextmanager
def stop_signal() -> Iterator[Flag]:
    """A flag that the first Ctrl-C or SIGTERM sets; a second one stops at once, as always."""
    flag = Flag()
    signals = (signal.SIGINT, signal.SIGTERM)

    def handle(number: int, frame: FrameType | None) -> None:
        log.warning("stopping after this step; interrupt again to stop at once")
        flag.is_set = True
        for s in signals:
            signal.signal(s, before[s])

    try:
        before = {s: signal.signal(s, handle) for s in signals}
    except ValueError:  # not the main thread, which alone handles signals
        yield flag
        return
    try:
        yield flag
    finally:
        for s in signals:
            signal.signal(s, before[s])


@contextmanager
def explained(config: TrainConfig, step: Step) -> Iterator[None]:
    """Turn what torch raises of memory and of compiling into a DataError that says which setting to change."""
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if config.compile != "off" and type(error).__module__.startswith(("torch._inductor", "torch._dynamo")):
            first_line = str(error).partition("\n")[0]
            raise DataError(f"passes cannot be compiled: {first_line}", "add --compile off") from error
        if not is_out_of_memory(error):
            raise
        shapes = ", ".join(sorted({"x".join(map(str, batch.tokens.shape)) for batch in step.batches}))
        raise DataError(
            f"out of memory in a step of batches of {shapes} tokens",
            f"halve --micro-batch-tokens {config.micro_batch_tokens}, or add --recompute",
        ) from error
