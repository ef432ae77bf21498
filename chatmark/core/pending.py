"""
Accepted changes without an outcome: entries, and the item that holds those of one conversation.

What is sent for a conversation is the merger of its entries. It is made when the request is taken,
so that withdrawing an entry is removing it.
"""

import math
from collections.abc import Sequence
from typing import Final, Protocol

import attrs

from chatmark.changes import MarkChange, merge
from chatmark.errors import ChatmarkError
from chatmark.failures import DeadlineExceededError, RefusedError, SessionError, WithdrawnError
from chatmark.results import MarkResult


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

# The epoch of an entry that the session has not accepted.
NOT_ACCEPTED: Final = -1


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

    __slots__ = ("attempts", "bulk", "change", "epoch", "job", "outcome", "since", "unsent")

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
        # Of the ledger, NOT_ACCEPTED until the session has accepted it.
        self.epoch = NOT_ACCEPTED
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


class Item:
    """
    What waits for one conversation, or is in flight for it.
    """

    __slots__ = (
        "conversation",
        "doubted",
        "entries",
        "gone",
        "key",
        "missing",
        "parked",
        "retries",
        "urgent",
    )

    def __init__(self, entry: Entry) -> None:
        self.conversation = conversation = entry.change.conversation
        self.key = conversation.key
        # Some of them may have their outcome already: *gone* says how many.
        self.entries = [entry]
        self.gone = 0
        # Whether somebody waits for it, as opposed to a bulk job's row.
        self.urgent = not entry.bulk
        self.parked = False
        # Answers without a line for it, and answers that sent it back.
        self.missing = 0
        self.retries = 0
        # Whether the one other attempt of Handling.RETRY_ONCE was granted.
        self.doubted = False

    def join(self, entry: Entry) -> None:
        """
        Add a newer entry.

        What is sent is another thing then: what the server left unsaid of the one before does not
        count for it.
        """
        self.entries.append(entry)
        self.missing = 0
        self.doubted = False

    def leave(self) -> bool:
        """
        Note that an entry has its outcome; return whether others are left.
        """
        self.gone += 1
        if 2 * self.gone > len(self.entries):
            self.sweep()
        return bool(self.entries)

    def sweep(self) -> None:
        """
        Drop the entries that have their outcome.
        """
        if self.gone:
            self.entries = [entry for entry in self.entries if entry.outcome is None]
            self.gone = 0

    def change(self) -> MarkChange:
        """
        Return the one change that has the effect of all entries.
        """
        entries = self.entries
        if len(entries) == 1:
            return entries[0].change
        return merge([entry.change for entry in entries])

    @property
    def has_standard(self) -> bool:
        """
        Whether one of its entries changes the standard mark.
        """
        return any(entry.is_standard for entry in self.entries)

    def first_attempt(self) -> float:
        """
        Return when the first of its entries was first sent, infinity when none was.
        """
        return min(
            (e.since for e in self.entries if e.attempts and e.since is not None), default=math.inf
        )
