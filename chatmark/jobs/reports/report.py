"""
The report of a job, as JSON.
"""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from chatmark.codes import code_of
from chatmark.errors import ChatmarkError
from chatmark.jobs.grouping.spool import Unit
from chatmark.jobs.journal.database import Run
from chatmark.jobs.reports.timeline import Span, Timeline
from chatmark.jobs.sending.accounts import Accounts
from chatmark.jobs.server.readback import ReadBack
from chatmark.jobs.sources.rows import row_of
from chatmark.models import MarkResult

_HOUR: Final = 3600.0


@attrs.frozen(kw_only=True)
class JobReport:
    """
    What became of an input, in this run and in those before it.

    Args:
        file: What the input is called.
        rows: Rows read.
        conversations: Conversations of users that they are about, 0 where they were sent as they
            came.
        accounts: What became of the changes.
        run: What this run did to send them.
        reading: What it did to read them back.
        failures: The first failures, each with its unit.
        retries_by_reason: Why changes were sent again, and how often.
        pauses: How often the server asked to slow down.
        paused: For how many seconds, None where nobody counted them.
        started_at: When this run began, UTC.
        timeline: How it went.
        interrupted: Whether the job was stopped from outside before its end.
        stopped: What else stopped it.
        bad_row: The row that ended it, if one did.
        earlier: What earlier runs did, None where there were none.
        journal: Where the journal was kept, None where there is none any more.
        failed_file: Where the failures are, if not where they were asked for: that would replace
            the input, which holds rows that were not sent.
        unwritten: How many conversations are settled of which the journal does not know.
        read_back: What reading back found, if that was asked for.
        unverified: Why nothing could be read back.
    """

    file: str
    rows: int
    accounts: Accounts
    conversations: int = 0
    run: Run = attrs.field(factory=Run)
    reading: Run = attrs.field(factory=Run)
    failures: Sequence[tuple[Unit, MarkResult]] = ()
    retries_by_reason: Mapping[str, int] = attrs.field(factory=dict[str, int])
    pauses: int = 0
    paused: float | None = None
    started_at: dt.datetime = attrs.field(factory=lambda: dt.datetime.now(dt.UTC))
    timeline: Timeline = attrs.field(factory=Timeline)
    interrupted: bool = False
    stopped: Exception | None = None
    bad_row: str | None = None
    earlier: Run | None = None
    journal: str | None = None
    failed_file: str | None = None
    unwritten: int = 0
    read_back: ReadBack | None = None
    unverified: ChatmarkError | None = None

    @property
    def complete(self) -> bool:
        """
        Whether every row was sent, or need not be, whatever became of it.
        """
        return self.accounts.is_complete and not (self.bad_row or self.interrupted or self.stopped)

    @property
    def ok(self) -> bool:
        """
        Whether everything in the input took effect.
        """
        differs = self.read_back is not None and not self.read_back.ok
        return self.complete and self.accounts.ok and not differs and self.unverified is None

    def document(self) -> dict[str, Any]:
        """
        Return the report for `json.dumps`; the keys are always the same, in the same order.
        """
        accounts, run = self.accounts, self.run
        return {
            "file": self.file,
            "ok": self.ok,
            "interrupted": self.interrupted,
            "stopped": None if self.stopped is None else str(self.stopped),
            "bad_row": self.bad_row,
            "rows": self.rows,
            "conversations": self.conversations,
            "changes": accounts.total,
            "applied": accounts.applied,
            "unchanged": accounts.unchanged,
            "refused": accounts.all_refused,
            "set_aside": accounts.set_aside,
            "unconfirmed": accounts.unconfirmed,
            "not_sent": accounts.not_sent,
            "balanced": accounts.is_balanced,
            "refused_by_code": [
                _code_row(code, count) for code, count in by_count(accounts.refused)
            ],
            "calls": run.calls,
            "items_sent": run.items,
            "retries": run.retries,
            "retries_by_reason": dict(by_count(self.retries_by_reason)),
            "pauses": self.pauses,
            "paused_seconds": None if self.paused is None else round(self.paused, 3),
            "started_at": self.started_at.isoformat(timespec="seconds"),
            "elapsed_seconds": round(run.seconds, 3),
            "read_back_calls": self.reading.calls,
            "read_back_seconds": round(self.reading.seconds, 3),
            "by_hour": [self._hour_row(span) for span in self.timeline.spans(_HOUR)],
            "earlier_runs": None if self.earlier is None else self._earlier_row(self.earlier),
            "journal": self.journal,
            "failures": [_failure_row(unit, result) for unit, result in self.failures],
            "read_back": None if self.read_back is None else self.read_back.document(),
        }

    def _hour_row(self, span: Span) -> dict[str, Any]:
        start = self.started_at + dt.timedelta(seconds=span.start)
        return {
            "from": start.isoformat(timespec="seconds"),
            "seconds": round(span.end - span.start, 3),
            "applied": span.counts.applied,
            "failed": span.counts.failed,
            "calls": span.counts.calls,
            "retries": span.counts.retries,
        }

    def _earlier_row(self, earlier: Run) -> dict[str, Any]:
        return {
            "runs": earlier.number,
            "settled": self.accounts.earlier,
            "calls": earlier.calls,
            "items_sent": earlier.items,
            "retries": earlier.retries,
            "elapsed_seconds": round(earlier.seconds, 3),
        }


def by_count(counts: Mapping[Any, int]) -> list[tuple[Any, int]]:
    """
    Return the items of *counts*, the most frequent first.
    """
    return sorted(counts.items(), key=lambda item: (-item[1], str(item[0])))


def meaning_of(code: int | None) -> str:
    """
    Return the code of a failure in words.
    """
    return "the server gave no code" if code is None else code_of(code).meaning


def _code_row(code: int | None, count: int) -> dict[str, Any]:
    return {
        "code": code,
        "count": count,
        "meaning": meaning_of(code),
        "advice": None if code is None else code_of(code).advice,
    }


def _failure_row(unit: Unit, result: MarkResult) -> dict[str, Any]:
    return row_of(unit.change) | {
        "code": result.code,
        "info": result.info,
        "attempts": result.attempts,
        "error": "" if result.error is None else result.error.reason_alone,
        "line": unit.line,
        "rows": unit.rows,
    }
