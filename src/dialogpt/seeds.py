"""Numbers -> a seed: what is drawn for one place of a run (a step, a line) is no other place's, of any run."""

import numpy as np


def mixed(*numbers: int) -> int:
    """A seed, from 0 to below 2**63, that is another for each tuple of numbers."""
    return int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0] >> np.uint64(1))
