"""Numbers -> a seed: draws for one place of a run (a step, a line) differ from those of every other place and run."""

import numpy as np


def mixed(*numbers: int) -> int:
    """A seed, from 0 to below 2**63, different for each tuple of numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
