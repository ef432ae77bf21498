"""
The report of a job as one HTML page that loads nothing. Needs the extra `html`.

The template escapes all texts of a file or a server.
"""

import importlib.resources
from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

import attrs

from chatmark import InputError, MarkNames, __version__
from chatmark.jobs.counting import counted
from chatmark.jobs.reports.chart import chart
from chatmark.jobs.reports.progress import by_count, duration, listed, precise
from chatmark.jobs.reports.report import JobReport, advice_of, meaning_of
from chatmark.jobs.reports.timeline import Timeline
from chatmark.jobs.sending.failures import subject_of
from chatmark.jobs.server.readback import ReadBack

if TYPE_CHECKING:
    import jinja2

_HOUR: Final = 3600.0

# The page has one colour for warnings and errors.
_MOODS: Final = {"good": "good", "warning": "bad", "bad": "bad"}

Cell = str | int


@attrs.frozen
class Table:
    """
    A table of the page.

    Args:
        title: The title of its section.
        caption: What it shows.
        header: The names of its columns.
        rows: Its rows; without any the caption is a text.
        filtered: The number of the column by which its rows can be filtered, None for no filter.
    """

    title: str
    caption: str
    header: Sequence[str]
    rows: Sequence[Sequence[Cell]]
    filtered: int | None = None

    @property
    def choices(self) -> Sequence[tuple[Cell, int]]:
        """The values by which rows can be filtered, and how many rows have each."""
        if self.filtered is None:
            return ()
        return by_count(Counter(row[self.filtered] for row in self.rows))


def load_template() -> "jinja2.Template":
    """Return the template; a job calls it before it sends anything."""
    try:
        import jinja2  # noqa: PLC0415 - an extra.
    except ImportError:
        raise InputError("html", "the page needs Jinja2: pip install 'chatmark[html]'") from None
    template = importlib.resources.files("chatmark.jobs.reports") / "page.html.jinja"
    environment = jinja2.Environment(autoescape=True, undefined=jinja2.StrictUndefined)
    return environment.from_string(template.read_text("utf-8"))


def page(
    report: JobReport, timeline: Timeline | None = None, names: MarkNames | None = None
) -> str:
    """
    Return the page.

    Args:
        report: The report of the job.
        timeline: How it went; the report's own by default.
        names: A team's own names for its extension bits.

    Raises:
        InputError: Jinja2 is not installed.
    """
    names = MarkNames() if names is None else names
    timeline = report.timeline if timeline is None else timeline
    return load_template().render(
        report=report,
        precise=precise,
        figures=_figures(report),
        chart=chart(timeline),
        tables=list(_tables(report, timeline, names)),
    )


def _figures(report: JobReport) -> Sequence[tuple[str, str, str]]:
    accounts, run = report.accounts, report.run
    # Units that earlier runs settled took none of this run's time.
    ended = max(accounts.ended - accounts.earlier, 0)
    return (
        *(
            (place.name, f"{place.count:,}", _MOODS[place.mood] if place.count else "")
            for place in accounts.by_outcome()
        ),
        ("calls", f"{run.calls:,}", ""),
        ("calls a second", f"{report.call_rate:,.1f}", ""),
        ("changes a second", f"{ended / max(run.seconds, 1e-3):,.0f}", ""),
    )


def _tables(report: JobReport, timeline: Timeline, names: MarkNames) -> Iterator[Table]:
    yield _accounts(report)
    if report.accounts.failures:
        yield _refusals(report)
    if report.failures:
        yield _failures(report)
    if report.read_back is not None:
        yield _read_back(report.read_back, names)
    if report.run.seconds >= _HOUR:
        header = ("from", "took", "applied", "failed", "calls", "retries")
        hours = [
            (
                duration(span.start),
                duration(span.end - span.start),
                *(span.counts.applied, span.counts.failed, span.counts.calls, span.counts.retries),
            )
            for span in timeline.spans(_HOUR)
        ]
        yield Table("By hour", "Since the start of this run.", header, hours)
    if report.phases:
        phases = [
            (each.name, each.count, each.things, precise(each.seconds), round(each.rate))
            for each in report.phases
        ]
        columns = ("phase", "count", "of", "time", "a second")
        yield Table("Phases", "The parts of this run.", columns, phases)
    yield _runs(report)
    yield Table("The job", "Where it came from, and what it wrote.", ("", ""), _origin(report))


def _origin(report: JobReport) -> Sequence[tuple[str, str]]:
    found = (
        ("command", report.command),
        ("input", report.file),
        ("target", report.target),
        ("job", report.job),
        ("chatmark", __version__),
        ("begun", f"{report.started_at:%Y-%m-%d %H:%M:%S} UTC"),
        ("ended", f"{report.ended_at:%Y-%m-%d %H:%M:%S} UTC"),
        ("journal", report.journal or ""),
        ("undo", report.undo or ""),
    )
    return [(name, text) for name, text in found if text]


def _accounts(report: JobReport) -> Table:
    accounts = report.accounts
    total = max(accounts.total, 1)
    about = f"; they are about {counted(report.conversations, 'conversation')}"
    about = about if report.conversations else ""
    sign = "" if accounts.is_balanced else " The accounts do not balance: please report it."
    changes, rows = counted(accounts.total, "change"), counted(report.rows, "row")
    return Table(
        "Every change",
        f"{changes} in {rows}, each in one place{about}.{sign}",
        ("", "changes", "share", "meaning"),
        [
            (place.name, place.count, f"{place.count / total:.2%}", place.text)
            for place in accounts.by_outcome()
        ],
    )


def _refusals(report: JobReport) -> Table:
    of = report.subjects
    rows = [
        (
            _code(code),
            count,
            of.get((code, "user"), 0),
            of.get((code, "peer"), 0),
            meaning_of(code),
            advice_of(code),
        )
        for code, count in by_count(report.accounts.failures)
    ]
    caption = "Changes that failed. A code of an account means the user or the peer."
    header = ("code", "changes", "of the user", "of the peer", "meaning", "advice")
    return Table("Refusals", caption, header, rows)


def _failures(report: JobReport) -> Table:
    header = ("line", "user", "conversation", "code", "means", "attempts", "message")
    rows = [
        (
            unit.line,
            result.change.from_account,
            str(result.change.conversation),
            _code(result.code),
            subject_of(result),
            result.attempts,
            result.info or ("" if result.error is None else result.error.reason_alone),
        )
        for unit, result in report.failures
    ]
    caption = f"The first of each code, {len(rows):,} in all."
    return Table("Failures", caption, header, rows, header.index("code"))


def _read_back(found: ReadBack, names: MarkNames) -> Table:
    caption = (
        f"{found.as_wanted:,} of {found.conversations:,} conversations are as the file wants them, "
        f"{found.differing:,} differ, {found.unread:,} could not be read. Of those that differ "
        f"{found.of_clients:,} lack nothing but hidden or unread, which the vendor's own clients "
        "clear."
    )
    header = ("line", "user", "conversation", "lacks", "still has", "custom mark", "clients clear")
    rows = [
        (
            each.line,
            each.wanted.from_account,
            str(each.wanted.conversation),
            " ".join(names.labels(each.missing)),
            " ".join(names.labels(each.extra)),
            f"{each.found.custom_mark!r}, not {each.wanted.custom_mark!r}"
            if each.has_other_custom_mark
            else "",
            " ".join(names.labels(each.cleared_by_clients)),
        )
        for each in found.differences
    ]
    return Table("Read back", caption, header, rows)


def _runs(report: JobReport) -> Table:
    runs = [(f"run {number}", run) for number, run in enumerate(report.earlier_runs, 1)]
    runs.append(("this run", report.run))
    if report.earlier is not None:
        runs.append(("all runs", report.earlier + report.run))
    caption = "The effort of the job."
    if report.retries_by_reason:
        caption += f" Sent again because of {listed(report.retries_by_reason)}."
    if report.pauses:
        in_all = "" if report.paused is None else f", {duration(report.paused)} in all"
        caption += f" The server asked to slow down {report.pauses:,} times{in_all}."
    rows = [(name, run.calls, run.items, run.retries, precise(run.seconds)) for name, run in runs]
    return Table("Runs", caption, ("", "calls", "items sent", "sent again", "time"), rows)


def _code(code: int | None) -> str:
    return "unconfirmed" if code is None else str(code)
