"""The options of a job on a cluster."""

from collections.abc import Callable, Mapping
from contextlib import AbstractAsyncContextManager
from typing import Any, Self

import attrs

from chatmark import Budget, CallBudget, InputError
from chatmark.jobs.options import JobOptions


@attrs.frozen(kw_only=True)
class RayOptions(JobOptions):
    """
    The options of a job on a cluster: those of `JobOptions`, and these.

    Args:
        journal: A folder on storage that every machine reaches: a path or a URL such as
            `s3://bucket/folder`. It notes what is settled, for a new start.
        partitions: Into how many partitions the changes are divided by user. A loss costs one.
        calls_per_second: The most calls in any second, None without a limit.
        budget: Makes the budget of the sender instead of `calls_per_second`: a function that can be
            pickled and returns an async context manager.
        max_errors: The most bad rows to set aside in the file of failures.
        session: Further options of the session, such as `timeout`, that can be pickled.
    """

    partitions: int = 256
    calls_per_second: float | None = 190.0
    budget: Callable[[], AbstractAsyncContextManager[Budget]] | None = attrs.field(
        default=None, repr=False
    )
    max_errors: int = 0
    session: Mapping[str, Any] = attrs.field(factory=dict[str, Any], repr=False)

    @classmethod
    def of(cls, job: JobOptions, **more: Any) -> Self:
        """Return the options of a job, with more for the cluster."""
        return cls(**attrs.asdict(job, recurse=False) | more)

    def check(self) -> None:
        """
        Check the options.

        Raises:
            InputError: One of them is wrong.
        """
        if self.budget is None:
            CallBudget(self.calls_per_second)
        if self.partitions < 1:
            raise InputError("partitions", "must be 1 or more", self.partitions)
        if self.undo is not None:
            raise InputError("undo", "is not possible on a cluster: its disk may be lost")
