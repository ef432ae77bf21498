"""
How a job is run on a cluster.
"""

from collections.abc import Mapping
from typing import Any, Final

import attrs

from chatmark.errors import InputError
from chatmark.pacing import CallBudget
from chatmark.ray.engine import ray
from chatmark.ray.sealed import BudgetMaker

# One worker sends more than the vendor takes; a few read and group faster, and share the memory.
_MOST_WORKERS: Final = 4


@attrs.frozen(kw_only=True)
class RayOptions:
    """
    How a job is run on a cluster.

    Args:
        workers: How many workers there are, each with a CPU of its own; None for as many as the
            cluster has CPUs, and four at most.
        calls_per_second: The most calls of all workers in any second, None for as many as go.
        budget: Makes the budget in each worker, in place of that number: a function that can be
            pickled, which returns an async context manager.
        failed: A folder for what failed, as Parquet to apply again.
        max_errors: How many bad rows are set aside, into that folder.
        skip_unchanged: Whether to read what the server has, and send only what would change it.
        verify: Whether to read the conversations back and compare.
        session: Further options of each worker's session, such as `timeout`, that can be pickled.
        interval: Seconds from one progress to the next.
    """

    workers: int | None = None
    calls_per_second: float | None = 190.0
    budget: BudgetMaker | None = attrs.field(default=None, repr=False)
    failed: str | None = None
    max_errors: int = 0
    skip_unchanged: bool = False
    verify: bool = False
    session: Mapping[str, Any] = attrs.field(factory=dict[str, Any])
    interval: float = 1.0


def check_options(options: RayOptions) -> int:
    """
    Return how many workers there are to be.

    Raises:
        InputError: The options will not do.
    """
    if options.budget is None:
        CallBudget(options.calls_per_second)
    if options.max_errors and options.failed is None:
        raise InputError("max_errors", "needs a folder for what fails")
    cpus = int(ray.cluster_resources().get("CPU", 0))
    if options.workers is None:
        return max(1, min(_MOST_WORKERS, cpus))
    if options.workers < 1:
        raise InputError("workers", "is no positive number", options.workers)
    if options.workers > cpus:
        raise InputError("workers", f"each takes a CPU, of which the cluster has {cpus}")
    return options.workers
