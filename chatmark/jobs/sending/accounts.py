"""
Outcomes of units, the accounts of a job, and its failures: each change is counted in one place.

A change is one row of chatmark's own form, or one item of a request body. A row that cannot be
read counts as one.
"""

import contextlib
import enum
from collections import Counter
from collections.abc import Iterator
from http import HTTPStatus
from typing import Any, Final, final

import attrs

from chatmark import (
    AnswerError,
    ApplicationRefusedError,
    ChatmarkError,
    DeadlineExceededError,
    ItemRefusedError,
    MarkChange,
    MarkResult,
    RefusedError,
    SignatureError,
    TransportError,
)
from chatmark.jobs.counting import Addable, agree
from chatmark.jobs.grouping import Unit
from chatmark.jobs.row_files import FAILURES, RowFile
from chatmark.jobs.sources.row import failed_row

# The counters in which changes end: the attribute, a text, and a mood.
_OUTCOMES: Final = (
    ("applied", "took effect", "good"),
    ("unchanged", "{was|were} so already", "good"),
    ("all_refused", "{was|were} refused", "bad"),
    ("unconfirmed", "{was|were} sent, but no answer tells {its|their} effect", "bad"),
    ("set_aside", "{row was|rows were} set aside", "warning"),
    ("not_sent", "{was|were} not sent", "warning"),
)
# Failures are kept for the report: some of each code, and one of a code however many there are.
_MOST_KEPT: Final = 300
_MOST_OF_CODE: Final = 100
# These codes are about an account: the user whose mark it is, or the other side.
_OF_ACCOUNTS: Final = frozenset((50001, 70107, 90008, 90048))


class UnitOutcome(enum.IntEnum):
    """
    The outcome of a unit. The journal stores the numbers of the final ones.

    `APPLIED`, `UNCHANGED` (the server had it already) and `REFUSED` (the server refused this
    conversation) are final: later runs do not send such units again. They do send the others:
    `UNCONFIRMED` was sent, but no answer tells its effect; `REJECTED` was in a request that the
    server refused because of the application; `NOT_SENT` was not sent.
    """

    APPLIED = 1
    UNCHANGED = 2
    REFUSED = 3
    UNCONFIRMED = 4
    REJECTED = 5
    NOT_SENT = 6


FINAL: Final = frozenset((UnitOutcome.APPLIED, UnitOutcome.UNCHANGED, UnitOutcome.REFUSED))


def outcome_of(result: MarkResult) -> UnitOutcome:
    """Return the outcome of a change that a session accepted."""
    if result.error is None:
        return UnitOutcome.APPLIED
    if not (result.attempts and result.sent):
        return UnitOutcome.NOT_SENT
    if isinstance(result.error, ItemRefusedError):
        return UnitOutcome.REFUSED
    if isinstance(result.error, ApplicationRefusedError):
        return UnitOutcome.REJECTED
    return UnitOutcome.UNCONFIRMED


def refuses_all(error: ChatmarkError) -> bool:
    """
    Whether the error of one change means that every other change would fail, too.

    The session retries passing faults until the deadline of a change. These errors arrive directly
    only if another attempt is useless.
    """
    if isinstance(error, AnswerError):
        return error.status != HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    return isinstance(error, ApplicationRefusedError | SignatureError | TransportError)


def is_unanswered(error: ChatmarkError) -> bool:
    """Whether the server gave no answer about a change before its deadline."""
    return isinstance(error, DeadlineExceededError) and not isinstance(error.last, RefusedError)


@attrs.frozen
class OutcomeCount:
    """The number of changes with one outcome, its text, and its mood: good, warning or bad."""

    name: str
    count: int
    text: str
    mood: str


@attrs.define
class Accounts(Addable):
    """
    Changes of a job by outcome, in all runs of the job.

    Args:
        total: Changes in the input, including rows that were set aside.
        set_aside: Rows that cannot be applied.
        taken: Changes that were started, in earlier runs or in this one.
        applied: Changes that took effect.
        unchanged: Changes that the server had already.
        refused: Changes that the server refused, by its code.
        rejected: Those of the refused ones that were refused because of the application: a later
            run sends them again.
        unconfirmed: Changes that were sent without an answer that says whether they took effect.
        returned: Changes that were started, but not sent after all.
        earlier: How many of all these were settled by earlier runs.
    """

    total: int = 0
    set_aside: int = 0
    taken: int = 0
    applied: int = 0
    unchanged: int = 0
    refused: Counter[int | None] = attrs.field(factory=Counter)
    rejected: int = 0
    unconfirmed: int = 0
    returned: int = 0
    earlier: int = 0

    def add(self, outcome: UnitOutcome, changes: int, code: int | None = None) -> None:
        """Count changes that were started by their outcome."""
        if outcome is UnitOutcome.APPLIED:
            self.applied += changes
        elif outcome is UnitOutcome.UNCHANGED:
            self.unchanged += changes
        elif outcome in (UnitOutcome.REFUSED, UnitOutcome.REJECTED):
            self.refused[code] += changes
            self.rejected += changes if outcome is UnitOutcome.REJECTED else 0
        elif outcome is UnitOutcome.UNCONFIRMED:
            self.unconfirmed += changes
        else:
            self.returned += changes

    @property
    def all_refused(self) -> int:
        """Changes that the server refused."""
        return self.refused.total()

    @property
    def failures(self) -> Counter[int | None]:
        """Changes that were sent and did not take effect, by code; unconfirmed ones have None."""
        return self.refused + Counter({None: self.unconfirmed})

    @property
    def not_sent(self) -> int:
        """Changes that were not sent, but have to be."""
        return self.total - self.set_aside - self.taken + self.returned

    @property
    def settled(self) -> int:
        """Changes that no later run sends again, if a journal knows them."""
        return self.applied + self.unchanged + self.all_refused - self.rejected

    @property
    def ended(self) -> int:
        """Changes that were sent or needed no request, in all runs."""
        return self.settled + self.rejected + self.unconfirmed

    @property
    def ended_now(self) -> int:
        """Changes that ended in this run."""
        return max(self.ended - self.earlier, 0)

    @property
    def done(self) -> int:
        """Changes that the job is done with."""
        return self.ended + self.set_aside

    @property
    def is_balanced(self) -> bool:
        """Whether nothing was lost or counted twice."""
        return self.taken == self.ended + self.returned and min(self.not_sent, self.returned) >= 0

    @property
    def is_complete(self) -> bool:
        """Whether each change that could be read was sent or needed no request."""
        return self.not_sent == 0

    @property
    def ok(self) -> bool:
        """Whether the whole input took effect."""
        return self.is_balanced and self.applied + self.unchanged == self.total

    def by_outcome(self) -> Iterator[OutcomeCount]:
        """Yield the outcomes of changes; their counts add up to the total."""
        for attribute, text, mood in _OUTCOMES:
            name = attribute.removeprefix("all_").replace("_", " ")
            count = getattr(self, attribute)
            yield OutcomeCount(name, count, agree(count, text), mood)


def subject_of(result: MarkResult) -> str:
    """Return the account that a refusal is about: "user", "peer", or "" if it is not known."""
    error = result.error
    if result.code not in _OF_ACCOUNTS or not isinstance(error, RefusedError):
        return ""
    return {True: "peer", False: "user", None: ""}[error.names_peer]


def refusal_of(change: MarkChange, code: int, info: str, attempts: int, subject: str) -> MarkResult:
    """Return the result of a change that was refused in an earlier run; see `subject_of`."""
    error = ItemRefusedError(code, info)
    error.names_peer = {"peer": True, "user": False}.get(subject)
    return MarkResult(change, code, info, attempts, error)


@final
class FailureLog(contextlib.AbstractContextManager["FailureLog"]):
    """Collects failures: the first of each code are kept, all are written to a file."""

    def __init__(self, path: str | None = None) -> None:
        self._file = None if path is None else RowFile(path, FAILURES)
        self.first: list[tuple[Unit, MarkResult]] = []
        # Changes by code and subject, where that is known.
        self.subjects: Counter[tuple[int | None, str]] = Counter()
        self._kept: Counter[int | None] = Counter()

    def __exit__(self, exc_type: type[BaseException] | None, *rest: object) -> None:
        if self._file is not None:
            self._file.__exit__(exc_type, *rest)

    def add(self, unit: Unit, result: MarkResult) -> None:
        subject = subject_of(result)
        if subject:
            self.subjects[result.code, subject] += unit.rows
        if self._kept[result.code] < (_MOST_OF_CODE if len(self.first) < _MOST_KEPT else 1):
            self._kept[result.code] += 1
            self.first.append((unit, result))
        self.add_row(failed_row(result) | {"_line": unit.line, "_rows": unit.rows})

    def add_row(self, row: dict[str, Any]) -> None:
        if self._file is not None:
            self._file.write(row)

    def close(self, earlier: Exception | None = None) -> Exception | None:
        """Give the file its name; return the earlier error of the job, or the one of that."""
        try:
            self.__exit__(None)
        except (ChatmarkError, OSError) as error:
            return earlier or error
        return earlier
