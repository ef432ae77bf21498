"""
One report of a job from those of its workers.
"""

import datetime as dt
from collections import Counter
from collections.abc import Sequence
from typing import Final

import attrs

from chatmark.jobs.grouping.units import Unit
from chatmark.jobs.journal.database import Run
from chatmark.jobs.reports.progress import Counters
from chatmark.jobs.reports.report import JobReport
from chatmark.jobs.reports.timeline import Counts, Timeline
from chatmark.jobs.sending.accounts import Accounts
from chatmark.jobs.server.readback import ReadBack
from chatmark.ray.input.row_tables import file_and_line
from chatmark.results import MarkResult

_MOST_FAILURES: Final = 100
_MOST_DIFFERENCES: Final = 20


def counters_of(report: JobReport) -> Counters:
    """
    Return the counters of a job that has ended.
    """
    accounts = report.accounts
    return Counters(
        accounts.done, report.run.calls, Counter(report.retries_by_reason), accounts.failures
    )


def sum_timelines(parts: Sequence[tuple[float, Timeline]]) -> Timeline:
    """
    Return how several jobs went as that of one.

    Args:
        parts: Each job's timeline, and how many seconds after the whole it began.
    """
    steps = sorted(
        (start + span.end, span.counts) for start, timeline in parts for span in timeline.spans()
    )
    whole, sum_ = Timeline(), Counts()
    for at, counts in steps:
        sum_ += counts
        whole.add(at, sum_)
    return whole


def sum_reports(
    reports: Sequence[tuple[float, JobReport]],
    *,
    file: str,
    rows: int,
    set_aside: int,
    started_at: dt.datetime,
    seconds: float,
    stopped: Exception | None = None,
    interrupted: bool = False,
) -> JobReport:
    """
    Return the report of a job.

    Args:
        reports: Each worker's, and how many seconds after the job's start it began.
        file: The name of the input.
        rows: Rows of it.
        set_aside: Those that cannot be applied.
        started_at: When it began, UTC.
        seconds: How long it took.
        stopped: The error that stopped it, unless a worker's report has it.
        interrupted: Whether it was stopped from outside.
    """
    parts = [report for _, report in reports]
    accounts = sum((part.accounts for part in parts), Accounts(set_aside, set_aside))
    run = attrs.evolve(sum((part.run for part in parts), Run()), seconds=seconds, number=1)
    retries = sum((Counter(part.retries_by_reason) for part in parts), Counter[str]())
    pauses = sum(part.pauses for part in parts)
    stopped = stopped or next((part.stopped for part in parts if part.stopped is not None), None)
    return JobReport(
        file=file,
        rows=rows,
        accounts=accounts,
        conversations=sum(part.conversations for part in parts),
        run=run,
        failures=_failures(parts),
        retries_by_reason=retries,
        pauses=pauses,
        # Several workers waited at the same time.
        paused=None if pauses else 0.0,
        started_at=started_at,
        timeline=sum_timelines([(start, report.timeline) for start, report in reports]),
        interrupted=interrupted and stopped is None,
        stopped=stopped,
        read_back=_read_back(parts),
        unverified=next((part.unverified for part in parts if part.unverified is not None), None),
    )


def _failures(parts: Sequence[JobReport]) -> list[tuple[Unit, MarkResult]]:
    found = sorted(
        (each for part in parts for each in part.failures), key=lambda each: each[0].line
    )
    return [
        (attrs.evolve(unit, line=file_and_line(unit.line)[1]), result)
        for unit, result in found[:_MOST_FAILURES]
    ]


def _read_back(parts: Sequence[JobReport]) -> ReadBack | None:
    found = [part.read_back for part in parts if part.read_back is not None]
    if not found:
        return None
    whole = sum(found, ReadBack())
    whole.differences.sort(key=lambda each: each.line)
    whole.differences = [
        attrs.evolve(each, line=file_and_line(each.line)[1])
        for each in whole.differences[:_MOST_DIFFERENCES]
    ]
    return whole
