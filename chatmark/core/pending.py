"""
Accepted changes without an outcome: entries, and the item that holds those of one conversation.

A request carries the merger of a conversation's entries. It is made when the request is taken,
so that withdrawing an entry is removing it.
"""

import math
from collections.abc import Callable, Sequence
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
        error: The error that a waiting caller gets, None for success.
    """

    code: int | None
    info: str = ""
    error: ChatmarkError | None = None


SUCCESS: Final = Outcome(0)
WITHDRAWN: Final = Outcome(None, "withdrawn", WithdrawnError())
# The epoch of an entry that the session has not accepted.
NOT_ACCEPTED: Final = -1
# A busy loop is a few seconds late, too.
_LATE: Final = 5.0


def failure(error: ChatmarkError) -> Outcome:
    """Return the outcome of what ended with this error."""
    said = error.last if isinstance(error, DeadlineExceededError) else error
    if isinstance(said, RefusedError):
        return Outcome(said.code, said.info, error)
    return Outcome(None, str(error), error)


class ResultSink(Protocol):
    """
    Takes the outcomes of changes that were submitted together. Its methods raise nothing.

    Attributes:
        is_urgent: Whether a caller waits for them, as for single marks; a bulk job's rows may wait
            for a full request.
    """

    is_urgent: bool

    def settled(self, row: "Entry") -> None:
        """Take a change that has its outcome."""

    def confirmed(self, changes: Sequence[MarkChange]) -> None:
        """Take changes that took effect at their first attempt."""


class Timed:
    """
    Something with a deadline. Marks and reads count by the same rule.

    A deadline runs from the first attempt. During an outage it also runs for what was never sent:
    from the first failure, or from the admission if that came later.

    Args:
        admitted_at: When it came.

    Attributes:
        first_sent_at: When its deadline began with the first attempt, None before that.
    """

    __slots__ = ("admitted_at", "first_sent_at")

    def __init__(self, admitted_at: float = math.nan) -> None:
        self.admitted_at = admitted_at
        self.first_sent_at: float | None = None

    def start(self, now: float, held_since: float | None) -> None:
        """
        Note an attempt.

        A probe gives no more time to what waited while the breaker held requests back.
        """
        if self.first_sent_at is None:
            waited_since = now if held_since is None else max(self.admitted_at, held_since)
            self.first_sent_at = waited_since

    def due_at(self, seconds: float, failing_since: float | None = None) -> float:
        """
        Return when a deadline of so many seconds passes, infinity while it does not run.

        Args:
            seconds: The deadline.
            failing_since: Since when no request succeeds, None while all is well.
        """
        if self.first_sent_at is not None:
            return self.first_sent_at + seconds
        if failing_since is None:
            return math.inf
        return max(self.admitted_at, failing_since) + seconds

    def extend_deadline(self, seconds: float) -> None:
        self.admitted_at += seconds
        if self.first_sent_at is not None:
            self.first_sent_at += seconds


def suspended_for(took: float, most: float) -> float:
    """
    Return how long the process was suspended during something that takes at most so many seconds.

    No deadline runs in that time.
    """
    return took - most if took > most + _LATE else 0.0


class Entry(Timed):
    """
    One accepted change.

    Args:
        change: The change.
        sink: Takes the outcome. None for a single mark: `wake` is called then.
    """

    __slots__ = ("attempts", "change", "epoch", "outcome", "sink", "unsent")

    def __init__(self, change: MarkChange, sink: ResultSink | None = None) -> None:
        super().__init__()
        self.change = change
        self.sink = sink
        self.attempts = 0
        # Attempts that certainly did not reach the server.
        self.unsent = 0
        # Of the ledger.
        self.epoch = NOT_ACCEPTED
        self.outcome: Outcome | None = None

    @property
    def is_sent(self) -> bool:
        """Whether it may have reached the server."""
        return self.attempts > self.unsent

    @property
    def is_urgent(self) -> bool:
        """Whether a caller waits for it, as opposed to a bulk job."""
        return self.sink is None or self.sink.is_urgent

    @property
    def is_standard(self) -> bool:
        return bool(self.change.set_mark or self.change.clear_mark)

    def report(self) -> MarkResult:
        """
        Return the outcome as callers see it.

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

    def wake(self) -> None:
        """Tell the callers that wait for a single mark that it has an outcome."""


class Item:
    """The entries of one conversation, oldest first, that wait or are in flight."""

    __slots__ = (
        "_gone",
        "conversation",
        "entries",
        "has_used_retry_once",
        "is_parked",
        "is_urgent",
        "key",
        "missing",
        "retries",
    )

    def __init__(self, entries: list[Entry]) -> None:
        self.conversation = conversation = entries[0].change.conversation
        self.key = conversation.key
        # Some of them may have their outcome already.
        self.entries = entries
        self._gone = 0
        # Whether a caller waits for one of them, as opposed to a bulk job.
        self.is_urgent = any(entry.is_urgent for entry in entries)
        self.is_parked = False
        # Answers without a line for it, and answers that sent it back.
        self.missing = 0
        self.retries = 0
        # Whether the one other attempt of Handling.RETRY_ONCE was granted.
        self.has_used_retry_once = False

    def join(self, entries: Sequence[Entry]) -> None:
        """
        Add newer entries.

        Another change is sent then: a line that was missing for the one before does not count.
        """
        self.entries += entries
        self.missing = 0
        self.has_used_retry_once = False

    def leave(self) -> bool:
        """Note that an entry has its outcome; return whether others are left."""
        self._gone += 1
        if 2 * self._gone > len(self.entries):
            self.sweep()
        return bool(self.entries)

    def sweep(self) -> list[Entry]:
        """Drop the entries that have their outcome, and return the others."""
        if self._gone:
            self.entries = [entry for entry in self.entries if entry.outcome is None]
            self._gone = 0
        return self.entries

    def change(self) -> MarkChange:
        """Return the one change that has the effect of all entries."""
        entries = self.entries
        if len(entries) == 1:
            return entries[0].change
        return merge([entry.change for entry in entries])

    @property
    def has_standard(self) -> bool:
        return any(entry.is_standard for entry in self.entries)

    def first_sent_at(self) -> float:
        """Return when the deadline of its oldest began to run, infinity if none was sent."""
        times = [e.first_sent_at for e in self.entries if e.first_sent_at is not None]
        return min(times, default=math.inf)


def entries_of(items: Sequence[Item]) -> list[Entry]:
    return [entry for item in items for entry in item.entries]


class Turn:
    """
    The place of a call among the pending changes of its user.

    It begins when all changes that were accepted before it have their outcome, and the server
    executes none of their requests any more. Changes that are accepted after it wait behind it.

    Args:
        account: The From_Account.
        begin: Called when it begins.

    Attributes:
        may_run_until: Until when the server may still execute a request of the call.
        ends_at: When the changes behind it may go, infinity while it waits or lasts.
    """

    __slots__ = ("account", "begin", "behind", "ends_at", "has_begun", "may_run_until")

    def __init__(self, account: str, begin: Callable[[], None]) -> None:
        self.account = account
        self.begin = begin
        self.has_begun = False
        self.may_run_until = -math.inf
        self.ends_at = math.inf
        # Changes that were accepted after it and before the next turn, oldest first.
        self.behind: dict[Entry, None] = {}
