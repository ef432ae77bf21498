"""The report of a job, as JSON."""

import datetime as dt
from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from chatmark import ChatmarkError, MarkResult, RefusedError, __version__
from chatmark.codes import code_of
from chatmark.jobs.counting import SCHEMA, Phase, by_count
from chatmark.jobs.grouping import Unit
from chatmark.jobs.journal import Run
from chatmark.jobs.reports.progress import Timeline
from chatmark.jobs.sending.accounts import Accounts, subject_of
from chatmark.jobs.server import ReadBack
from chatmark.jobs.sources.row import row_of

_HOUR: Final = 3600.0


@attrs.frozen(kw_only=True)
class JobReport:
    """
    The outcome of the changes of an input, in this run and in earlier ones.

    Args:
        file: The name of the input.
        rows: Rows read.
        accounts: Changes by their outcome.
        conversations: Conversations that the changes are about, 0 for a stream.
        run: Calls of this run until all changes were sent.
        reading: Calls of reading back.
        failures: The first failures, each with its unit.
        retries_by_reason: Units sent again, by reason.
        pauses: How often the server asked to slow down.
        paused: For how many seconds, None if unknown.
        started_at: Start of this run, UTC.
        timeline: Counters over time.
        interrupted: Whether the caller stopped the job before its end.
        stopped: The error that stopped it.
        bad_row: The row that ended it, if one did.
        earlier_runs: The calls of each earlier run.
        journal: The journal's path, None if there is none any more.
        unwritten: Settled units that the journal does not have.
        read_back: The result of reading back, if requested.
        unverified: The error that prevented reading back.
        job: Identifies the rows of the input, "" for a stream.
        command: The command line, "" for a job of other code.
        target: The application and its server.
        phases: The parts of this run.
        undo: Path of the rows that bring back what was, None without, or if nothing was sent.
        calls_per_second: The limit of the calls, None if there is none, or several.
        several_limits: Whether calls that read and calls that send had a limit each.
        subjects: Changes refused because of an account, by code and by subject (user or peer).
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
    earlier_runs: Sequence[Run] = ()
    journal: str | None = None
    unwritten: int = 0
    read_back: ReadBack | None = None
    unverified: ChatmarkError | None = None
    job: str = ""
    command: str = ""
    target: str = ""
    phases: Sequence[Phase] = ()
    undo: str | None = None
    calls_per_second: float | None = None
    several_limits: bool = False
    subjects: Mapping[tuple[int | None, str], int] = attrs.field(
        factory=dict[tuple[int | None, str], int]
    )

    @property
    def earlier(self) -> Run | None:
        """The sum of earlier runs, None without any."""
        return sum(self.earlier_runs, Run()) if self.earlier_runs else None

    @property
    def call_rate(self) -> float:
        """Calls a second; a first burst does not make it seem above the limit."""
        rate = self.run.calls / max(self.run.seconds, 1e-3)
        return rate if self.calls_per_second is None else min(rate, self.calls_per_second)

    @property
    def ended_at(self) -> dt.datetime:
        """End of this run, UTC."""
        return self.started_at + dt.timedelta(seconds=self.run.seconds + self.reading.seconds)

    @property
    def complete(self) -> bool:
        """Whether every row was sent or did not need to be."""
        return self.accounts.is_complete and not (self.bad_row or self.interrupted or self.stopped)

    @property
    def ok(self) -> bool:
        """Whether everything in the input took effect."""
        differs = self.read_back is not None and not self.read_back.ok
        return self.complete and self.accounts.ok and not differs and self.unverified is None

    @property
    def verdict(self) -> str:
        """The end of the job in a few words."""
        if self.ok:
            return "everything took effect"
        if self.stopped is not None:
            return _why(self.stopped)
        if self.bad_row is not None:
            return f"ended by a bad row: {self.bad_row}"
        if self.interrupted:
            return "interrupted before its end"
        if self.read_back is not None and self.accounts.ok:
            return "the server has something else now"
        return "not everything took effect"

    def document(self) -> dict[str, Any]:
        """Return the report for `json.dumps`; keys and their order are always the same."""
        accounts, run, earlier = self.accounts, self.run, self.earlier
        application = self.target.partition(" ")[0]
        examples = {code: _failure_row(*found) for code, found in self.examples().items()}
        return {
            "schema": SCHEMA,
            "job": self.job,
            "version": __version__,
            "command": self.command,
            "target": self.target,
            "application": int(application) if application.isdigit() else None,
            "input": self.file,
            "file": self.file,
            "ok": self.ok,
            "interrupted": self.interrupted,
            "stopped": None if self.stopped is None else str(self.stopped),
            "bad_row": self.bad_row,
            "rows": self.rows,
            "conversations": self.conversations,
            "changes": accounts.total,
            **{place.name.replace(" ", "_"): place.count for place in accounts.by_outcome()},
            "balanced": accounts.is_balanced,
            "failures_by_code": {
                "unconfirmed" if code is None else str(code): count
                for code, count in by_count(accounts.failures)
            },
            "refused_by_code": [
                {
                    "code": code,
                    "count": count,
                    "meaning": meaning_of(code),
                    "advice": advice_of(code),
                    "of_user": self.subjects.get((code, "user"), 0),
                    "of_peer": self.subjects.get((code, "peer"), 0),
                    "example": examples.get(code),
                }
                for code, count in by_count(accounts.refused)
            ],
            "calls": run.calls,
            "items_sent": run.items,
            "retries": run.retries,
            "retries_by_reason": dict(by_count(self.retries_by_reason)),
            "pauses": self.pauses,
            "paused_seconds": None if self.paused is None else round(self.paused, 3),
            "started_at": self._moment(0.0),
            "ended_at": self._moment(run.seconds + self.reading.seconds),
            "elapsed_seconds": round(run.seconds, 3),
            "phases": [
                {
                    "phase": each.name,
                    "things": each.things,
                    "count": each.count,
                    "seconds": round(each.seconds, 3),
                    "per_second": round(each.rate, 1),
                    "calls": each.calls,
                }
                for each in self.phases
            ],
            "read_back_calls": self.reading.calls,
            "read_back_seconds": round(self.reading.seconds, 3),
            "by_hour": [
                {
                    "from": self._moment(span.start),
                    "seconds": round(span.end - span.start, 3),
                    "applied": span.counts.applied,
                    "failed": span.counts.failed,
                    "calls": span.counts.calls,
                    "retries": span.counts.retries,
                }
                for span in self.timeline.spans(_HOUR)
            ],
            "earlier_runs": None
            if earlier is None
            else {
                "runs": len(self.earlier_runs),
                "settled": accounts.earlier,
                "calls": earlier.calls,
                "items_sent": earlier.items,
                "retries": earlier.retries,
                "elapsed_seconds": round(earlier.seconds, 3),
                "each": [
                    attrs.asdict(each) | {"seconds": round(each.seconds, 3)}
                    for each in self.earlier_runs
                ],
            },
            "journal": self.journal,
            "undo": self.undo,
            "failures": [_failure_row(unit, result) for unit, result in self.failures],
            "read_back": None if self.read_back is None else self.read_back.document(),
        }

    def examples(self) -> dict[int | None, tuple[Unit, MarkResult]]:
        """Return the first failure of each code."""
        return {result.code: (unit, result) for unit, result in reversed(self.failures)}

    def _moment(self, seconds: float) -> str:
        return (self.started_at + dt.timedelta(seconds=seconds)).isoformat(timespec="seconds")


def _why(stopped: Exception) -> str:
    if isinstance(stopped, RefusedError):
        return f"the server refuses this application: {stopped}"
    if isinstance(stopped, OSError) and not isinstance(stopped, ChatmarkError):
        where = "" if stopped.filename is None else f"{stopped.filename}: "
        return f"stopped: {where}{stopped.strerror or stopped}"
    return f"stopped: {stopped}"


def meaning_of(code: int | None) -> str:
    """Return the code of a failure in words."""
    return "sent, but no answer tells their effect" if code is None else code_of(code).meaning


def advice_of(code: int | None) -> str:
    """Return the advice on a code."""
    return "Send them again, which does no harm." if code is None else code_of(code).advice


def _failure_row(unit: Unit, result: MarkResult) -> dict[str, Any]:
    return row_of(unit.change) | {
        "code": result.code,
        "info": result.info,
        "subject": subject_of(result),
        "attempts": result.attempts,
        "error": "" if result.error is None else result.error.reason_alone,
        "line": unit.line,
        "rows": unit.rows,
    }
