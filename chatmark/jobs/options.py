"""The options of a job, and its control from outside."""

from collections.abc import Callable
from typing import final

import attrs


@attrs.frozen(kw_only=True)
class JobOptions:
    """
    The options of a job.

    Args:
        journal: Path of the journal, None without one.
        target: The journal's name for the application and its server, "" for the session's own; a
            journal of another target is refused.
        keep_journal: Whether the journal stays when everything took effect.
        accept_changed_input: Whether to go on with a journal of other rows: users whose rows are
            the same keep their settled changes, all changes of the others are sent again.
        journal_sync: Seconds after which the journal is on the disk at the latest.
        failed: Path for the changes that failed, as rows to apply again.
        undo: Path for the rows that bring back what was; it is on the disk before it is replaced.
        skip_unchanged: Whether to read the server first, and send only changes that have an effect.
        verify: Whether to read the conversations back and compare.
        calls_per_second: The session's limit, None without one; for the progress.
        interval: Seconds from one progress to the next.
    """

    journal: str | None = None
    target: str = ""
    keep_journal: bool = False
    accept_changed_input: bool = False
    journal_sync: float = 1.0
    failed: str | None = None
    undo: str | None = None
    skip_unchanged: bool = False
    verify: bool = False
    calls_per_second: float | None = None
    interval: float = 1.0


@final
class Control:
    """Stops a job from outside."""

    def __init__(self) -> None:
        self._stops: list[Callable[[], object]] = []
        self.is_stopped = False

    def stop(self) -> None:
        """Stop the job: it sends nothing more, and ends when the requests in flight have ended."""
        self.is_stopped = True
        for stop in self._stops:
            stop()

    def on_stop(self, stop: Callable[[], object]) -> None:
        """Call *stop* when the job is to stop, at once if it is already."""
        self._stops.append(stop)
        if self.is_stopped:
            stop()
