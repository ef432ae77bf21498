"""One report of a job from the reports of its workers."""

import datetime as dt
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import Final, TypeVar

import attrs

from chatmark import MarkResult
from chatmark.jobs.counting import Phase
from chatmark.jobs.grouping.units import Unit
from chatmark.jobs.journal.database import Run
from chatmark.jobs.reports.progress import Counters
from chatmark.jobs.reports.report import JobReport
from chatmark.jobs.reports.timeline import Throughput, Timeline
from chatmark.jobs.sending.accounts import Accounts
from chatmark.jobs.server.readback import Difference, ReadBack
from chatmark.ray.input.row_tables import file_and_line

T = TypeVar("T")
Located = TypeVar("Located", Unit, Difference)

_MOST_FAILURES: Final = 100
_MOST_DIFFERENCES: Final = 20


def counters_of(report: JobReport) -> Counters:
    """Return the counters of an ended job."""
    accounts = report.accounts
    return Counters(
        accounts.done, report.run.calls, Counter(report.retries_by_reason), accounts.failures
    )


def _sum_timelines(parts: Sequence[tuple[float, Timeline]]) -> Timeline:
    """
    Return the timeline of several jobs together.

    Args:
        parts: The start of each job in seconds after the first start, and its timeline.
    """
    steps = sorted(
        (start + span.end, span.counts) for start, timeline in parts for span in timeline.spans()
    )
    whole, sum_ = Timeline(), Throughput()
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
        reports: The start of each worker in seconds after the job's start, and its report.
        file: The name of the input.
        rows: The number of its rows.
        set_aside: The number of rows that cannot be applied.
        started_at: When the job began, UTC.
        seconds: The duration of the job.
        stopped: The error that stopped the job, unless a worker's report has it.
        interrupted: Whether the job was stopped from outside.
    """
    parts = [report for _, report in reports]
    accounts = sum((part.accounts for part in parts), Accounts(set_aside, set_aside))
    run = attrs.evolve(sum((part.run for part in parts), Run()), seconds=seconds, number=1)
    retries = sum((Counter(part.retries_by_reason) for part in parts), Counter[str]())
    pauses = sum(part.pauses for part in parts)
    stopped = stopped or _first(part.stopped for part in parts)
    return JobReport(
        file=file,
        rows=rows,
        accounts=accounts,
        conversations=sum(part.conversations for part in parts),
        run=run,
        failures=_failures(parts),
        retries_by_reason=retries,
        pauses=pauses,
        # Workers pause at the same time, so their seconds have no sum.
        paused=None if pauses else 0.0,
        started_at=started_at,
        timeline=_sum_timelines([(start, report.timeline) for start, report in reports]),
        interrupted=interrupted and stopped is None,
        stopped=stopped,
        read_back=_read_back(parts),
        unverified=_first(part.unverified for part in parts),
        target=next((part.target for part in parts if part.target), ""),
        subjects=sum((Counter(part.subjects) for part in parts), Counter[tuple[int | None, str]]()),
        phases=[Phase("send", "changes", accounts.ended, seconds, run.calls)],
    )


def _first(values: Iterable[T | None]) -> T | None:
    return next((value for value in values if value is not None), None)


def _failures(parts: Sequence[JobReport]) -> list[tuple[Unit, MarkResult]]:
    found = sorted(
        (each for part in parts for each in part.failures), key=lambda each: each[0].line
    )
    return [(_in_its_file(unit), result) for unit, result in found[:_MOST_FAILURES]]


def _read_back(parts: Sequence[JobReport]) -> ReadBack | None:
    found = [part.read_back for part in parts if part.read_back is not None]
    if not found:
        return None
    whole = sum(found, ReadBack())
    whole.differences.sort(key=lambda each: each.line)
    whole.differences = [_in_its_file(each) for each in whole.differences[:_MOST_DIFFERENCES]]
    return whole


def _in_its_file(found: Located) -> Located:
    """Return the same with the line in its file instead of the place in the input."""
    return attrs.evolve(found, line=file_and_line(found.line)[1])
