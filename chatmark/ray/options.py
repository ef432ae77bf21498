"""The options of a job on a cluster."""

from collections.abc import Mapping
from typing import Any, Final, Self

import attrs

from chatmark import CallBudget, InputError
from chatmark.jobs.options import JobOptions
from chatmark.ray.runtime import ray
from chatmark.ray.workers.sealed import BudgetMaker

# One worker can use the vendor's whole rate. Several read and group faster, and share the memory.
_MOST_WORKERS: Final = 4


@attrs.frozen(kw_only=True)
class RayOptions(JobOptions):
    """
    The options of a job on a cluster: those of `JobOptions` without a journal, and these.

    Args:
        workers: The number of workers, a CPU each; None for one a CPU, four at most.
        calls_per_second: The most calls of all workers in any second, None without a limit.
        budget: Makes the budget in each worker instead of `calls_per_second`: a function that can
            be pickled and returns an async context manager.
        failed: A folder for the changes that failed, as Parquet to apply again.
        max_errors: The most bad rows to set aside in that folder.
        session: Further options of each worker's session, such as `timeout`, that can be pickled.
    """

    workers: int | None = None
    calls_per_second: float | None = 190.0
    budget: BudgetMaker | None = attrs.field(default=None, repr=False)
    max_errors: int = 0
    session: Mapping[str, Any] = attrs.field(factory=dict[str, Any])

    @classmethod
    def of(cls, job: JobOptions, **more: Any) -> Self:
        """Return the options of a job, with more for the cluster."""
        return cls(**attrs.asdict(job, recurse=False), **more)

    def for_worker(self) -> JobOptions:
        """Return the options of one worker's job."""
        names = [field.name for field in attrs.fields(JobOptions)]
        return JobOptions(**{name: getattr(self, name) for name in names})


def count_workers(options: RayOptions) -> int:
    """Check the options, and return the number of workers."""
    if options.budget is None:
        CallBudget(options.calls_per_second)
    if options.journal is not None:
        raise InputError("journal", "must be None: a job on a cluster has no journal")
    if options.max_errors and options.failed is None:
        raise InputError("max_errors", "needs `failed`, a folder for the rows that are set aside")
    cpus = int(ray.cluster_resources().get("CPU", 0))
    if options.workers is None:
        return max(1, min(_MOST_WORKERS, cpus))
    if options.workers < 1:
        raise InputError("workers", "must be 1 or more", options.workers)
    if options.workers > cpus:
        raise InputError("workers", f"must be {cpus} at most, the CPUs of the cluster")
    return options.workers
