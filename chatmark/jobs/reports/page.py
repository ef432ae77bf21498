"""
The report of a job as one HTML page that loads nothing. Needs the extra `html`.

The template escapes all texts of a file or a server.
"""

import importlib.resources
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final

from chatmark import InputError, MarkNames
from chatmark.jobs.reports.chart import chart
from chatmark.jobs.reports.progress import by_count, duration, listed
from chatmark.jobs.reports.report import JobReport, advice_of, meaning_of
from chatmark.jobs.reports.timeline import Timeline
from chatmark.jobs.server.readback import ReadBack

if TYPE_CHECKING:
    import jinja2

_HOUR: Final = 3600.0
_MOST_SHOWN: Final = 100

# The page has one colour for warnings and errors.
_MOODS: Final = {"good": "good", "warning": "bad", "bad": "bad"}

Cell = str | int
# A title, a caption, the names of the columns, and the rows; without rows the caption is a text.
Table = tuple[str, str, Sequence[str], Sequence[Sequence[Cell]]]


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
        duration=duration,
        figures=_figures(report),
        chart=chart(timeline),
        tables=list(_tables(report, timeline, names)),
    )


def _figures(report: JobReport) -> Sequence[tuple[str, str, str]]:
    accounts, run = report.accounts, report.run
    seconds = max(run.seconds, 1e-9)
    # Units that earlier runs settled took none of this run's time.
    ended = max(accounts.ended - accounts.earlier, 0)
    return (
        *(
            (place.name, f"{place.count:,}", _MOODS[place.mood] if place.count else "")
            for place in accounts.by_outcome()
        ),
        ("calls", f"{run.calls:,}", ""),
        ("calls a second", f"{run.calls / seconds:,.1f}", ""),
        ("changes a second", f"{ended / seconds:,.0f}", ""),
    )


def _tables(report: JobReport, timeline: Timeline, names: MarkNames) -> Iterator[Table]:
    yield _accounts(report)
    if report.accounts.refused:
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
        yield "By hour", "Since the start of this run.", header, hours
    yield _runs(report)


def _accounts(report: JobReport) -> Table:
    accounts = report.accounts
    total = max(accounts.total, 1)
    about = f"; they are about {report.conversations:,} conversations"
    about = about if report.conversations else ""
    sign = "" if accounts.is_balanced else " The accounts do not balance: please report it."
    caption = f"{accounts.total:,} changes in {report.rows:,} rows, each in one place{about}.{sign}"
    rows = [
        (place.name, place.count, f"{place.count / total:.2%}", place.text)
        for place in accounts.by_outcome()
    ]
    return "Every change", caption, ("", "changes", "share", "meaning"), rows


def _refusals(report: JobReport) -> Table:
    caption = "Changes that the server refused, the most frequent code first."
    rows = [
        (_code(code), count, meaning_of(code), advice_of(code) or "")
        for code, count in by_count(report.accounts.refused)
    ]
    return "Refusals", caption, ("code", "changes", "meaning", "advice"), rows


def _failures(report: JobReport) -> Table:
    header = ("line", "user", "conversation", "code", "attempts", "message")
    rows = [
        (
            unit.line,
            result.change.from_account,
            str(result.change.conversation),
            _code(result.code),
            result.attempts,
            result.info or ("" if result.error is None else result.error.reason_alone),
        )
        for unit, result in report.failures[:_MOST_SHOWN]
    ]
    return "Failures", f"The first {len(rows):,} of them.", header, rows


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
    return "Read back", caption, header, rows


def _runs(report: JobReport) -> Table:
    runs = [("this run", report.run)]
    runs += [(f"run {number}", run) for number, run in enumerate(report.earlier_runs, 1)]
    caption = "The effort of the job."
    if report.retries_by_reason:
        caption += f" Sent again because of {listed(report.retries_by_reason)}."
    if report.pauses:
        in_all = "" if report.paused is None else f", {duration(report.paused)} in all"
        caption += f" The server asked to slow down {report.pauses:,} times{in_all}."
    rows = [(name, run.calls, run.items, run.retries, duration(run.seconds)) for name, run in runs]
    return "Runs", caption, ("", "calls", "items sent", "sent again", "time"), rows


def _code(code: int | None) -> str:
    return "none" if code is None else str(code)
