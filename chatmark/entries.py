"""
One accepted change, from its admission to its outcome.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final, Protocol

import attrs

from chatmark.errors import (
    ChatmarkError,
    DeadlineExceededError,
    RefusedError,
    SessionError,
    WithdrawnError,
)
from chatmark.models import MarkChange, MarkResult

if TYPE_CHECKING:
    from chatmark.item import Item


@attrs.frozen
class Outcome:
    """
    How an entry ended; many entries may share one.

    Args:
        code: The vendor's code, None when the server never gave one.
        info: The server's own text, or why there is none.
        error: What a waiting caller is told, None for success.
    """

    code: int | None
    info: str = ""
    error: ChatmarkError | None = None


SUCCESS: Final = Outcome(0)
WITHDRAWN: Final = Outcome(None, "withdrawn", WithdrawnError())


def failure(error: ChatmarkError) -> Outcome:
    """
    Return the outcome of what ended with this error.
    """
    said = error.last if isinstance(error, DeadlineExceededError) else error
    if isinstance(said, RefusedError):
        return Outcome(said.code, said.info, error)
    return Outcome(None, str(error), error)


class Watcher(Protocol):
    """
    Who is told of the outcomes of a job's rows.
    """

    def settled(self, row: "Entry") -> None:
        """
        Take note of a row that has its outcome; raise nothing.
        """

    def confirmed(self, changes: Sequence[MarkChange]) -> None:
        """
        Take note of rows that took effect at their first attempt; raise nothing.
        """


class Entry:
    """
    One accepted change.

    Args:
        change: The change.
        bulk: Whether it may wait for a full request.
        job: Who is told when it has an outcome, None where `wake` does.
    """

    __slots__ = ("attempts", "bulk", "change", "epoch", "item", "job", "outcome", "since", "unsent")

    def __init__(
        self, change: MarkChange, *, bulk: bool = False, job: "Watcher | None" = None
    ) -> None:
        self.change = change
        self.bulk = bulk
        self.job = job
        self.attempts = 0
        # Attempts that certainly did not reach the server.
        self.unsent = 0
        # When its deadline began to run, None while it does not.
        self.since: float | None = None
        self.epoch = 0
        self.item: Item | None = None
        self.outcome: Outcome | None = None

    @property
    def result(self) -> MarkResult:
        """
        The outcome as callers see it.

        Raises:
            SessionError: There is none yet.
        """
        return self.report()

    @property
    def is_sent(self) -> bool:
        """
        Whether it may have reached the server.
        """
        return self.attempts > self.unsent

    def report(self) -> MarkResult:
        """
        Return the outcome for others than the caller.

        Raises:
            SessionError: There is none yet.
        """
        outcome, change = self.outcome, self.change
        if outcome is None:
            raise SessionError("the change is not settled yet")
        if outcome.error is None:
            return MarkResult(change, outcome.code, outcome.info, self.attempts)
        error = outcome.error.about(change)
        return MarkResult(
            change, outcome.code, outcome.info, self.attempts, error, sent=self.is_sent
        )

    @property
    def is_standard(self) -> bool:
        """
        Whether it changes the standard mark.
        """
        return bool(self.change.set_mark or self.change.clear_mark)

    def wake(self) -> None:
        """
        Tell whoever waits for it that it has an outcome, where no job is told.
        """
