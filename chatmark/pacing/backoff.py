"""
How long to wait before the next attempt. This is the only module that imports backoff.

The library's wait generators give the ceilings; its decorator, its `max_time` and its default
jitter are not used: they read the wall clock, log the error's text and draw from a generator that
cannot be injected.
"""

import itertools
import random
from collections.abc import Callable
from typing import Final

import backoff

# Enough doublings to reach any sensible cap.
_STEPS: Final = 32


def full_jitter(
    rng: random.Random, *, base: float = 0.25, cap: float = 8.0
) -> Callable[[int], float]:
    """
    Return a function from the number of the retry (from 1) to a wait in seconds.

    The wait is drawn between 0 and a ceiling that starts at *base* seconds and doubles up to *cap*:
    `min(cap, base * 2 ** (n - 1))`.
    """
    ceilings = backoff.expo(base=2, factor=base, max_value=cap)
    # The generator yields nothing of use before it is first sent to.
    table = [float(ceiling) for ceiling in itertools.islice(ceilings, 1, _STEPS + 1)]
    return lambda retry: rng.uniform(0.0, table[min(retry, _STEPS) - 1])
