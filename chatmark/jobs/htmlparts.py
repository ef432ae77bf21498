"""
The parts of a job's page: figures and tables, escaped.
"""

import html
from collections.abc import Iterable, Sequence
from typing import Final

from chatmark.codes import code_of
from chatmark.jobs.journal import Run
from chatmark.jobs.meter import duration
from chatmark.jobs.plot import plot
from chatmark.jobs.readback import Difference, ReadBack
from chatmark.jobs.report import JobReport, by_count, meaning_of
from chatmark.jobs.timeline import Timeline
from chatmark.names import MarkNames

_HOUR: Final = 3600.0
_MOST_SHOWN: Final = 100

Cell = str | int


def figures(report: JobReport) -> str:
    """
    Return the numbers that are looked at first.
    """
    accounts, run = report.accounts, report.run
    seconds = max(run.seconds, 1e-9)
    # What earlier runs settled was not done in this run's time.
    ended = max(accounts.ended - accounts.earlier, 0)
    cells = (
        ("applied", f"{accounts.applied:,}", "good"),
        ("unchanged", f"{accounts.unchanged:,}", ""),
        ("refused", f"{accounts.all_refused:,}", "bad" if accounts.all_refused else ""),
        ("unconfirmed", f"{accounts.unconfirmed:,}", "bad" if accounts.unconfirmed else ""),
        ("set aside", f"{accounts.set_aside:,}", "bad" if accounts.set_aside else ""),
        ("not sent", f"{accounts.not_sent:,}", "bad" if accounts.not_sent else ""),
        ("calls", f"{run.calls:,}", ""),
        ("calls a second", f"{run.calls / seconds:,.1f}", ""),
        ("changes a second", f"{ended / seconds:,.0f}", ""),
    )
    shown = "".join(
        f'<div class="{mood}"><dt>{name}</dt><dd>{number}</dd></div>'
        for name, number, mood in cells
    )
    return f'<dl class="figures" aria-label="Figures">{shown}</dl>'


def course(timeline: Timeline) -> str:
    """
    Return the plot of throughput and failures.
    """
    picture = plot(timeline)
    return _section("Over time", f'<figure class="wide">{picture}</figure>')


def accounts(report: JobReport) -> str:
    """
    Return where every change ended.
    """
    books = report.accounts
    total = max(books.total, 1)
    places = (
        ("applied", books.applied, "took effect"),
        ("unchanged", books.unchanged, "the server had it so already"),
        ("refused", books.all_refused, "the server said no"),
        ("unconfirmed", books.unconfirmed, "sent, but no answer says whether it took effect"),
        ("set aside", books.set_aside, "rows that cannot be applied"),
        ("not sent", books.not_sent, "never sent"),
    )
    rows = [(name, count, f"{count / total:.2%}", text) for name, count, text in places]
    sign = "" if books.is_balanced else " The books do not balance: please report it."
    caption = (
        f"{books.total:,} changes in {report.rows:,} rows, each in exactly one place"
        f"{_of_conversations(report)}.{sign}"
    )
    return _section("Every change", _table(caption, ("", "changes", "share", "meaning"), rows))


def _of_conversations(report: JobReport) -> str:
    return (
        f"; they are about {report.conversations:,} conversations" if report.conversations else ""
    )


def refusals(report: JobReport) -> str:
    """
    Return what the server refused, by code.
    """
    rows = [
        (
            _code(code),
            count,
            meaning_of(code),
            "" if code is None else code_of(code).advice,
        )
        for code, count in by_count(report.accounts.refused)
    ]
    if not rows:
        return ""
    caption = "What the server refused, the most frequent first."
    return _section("Refusals", _table(caption, ("code", "changes", "meaning", "advice"), rows))


def failures(report: JobReport) -> str:
    """
    Return the first changes that failed.
    """
    rows = [
        (
            unit.line,
            result.change.from_account,
            str(result.change.conversation),
            _code(result.code),
            result.attempts,
            result.info or str(result.error),
        )
        for unit, result in report.failures[:_MOST_SHOWN]
    ]
    if not rows:
        return ""
    header = ("line", "user", "conversation", "code", "attempts", "what was said")
    return _section("Failures", _table(f"The first {len(rows):,} of them.", header, rows))


def read_back(found: ReadBack | None, names: MarkNames) -> str:
    """
    Return what reading back found.
    """
    if found is None:
        return ""
    caption = (
        f"{found.as_wanted:,} of {found.conversations:,} conversations are as the file wants them, "
        f"{found.differing:,} differ, {found.unread:,} could not be read. Of those that differ "
        f"{found.of_clients:,} lack nothing but hidden or unread, which the vendor's own clients "
        "clear."
    )
    rows = [_difference(each, names) for each in found.differences]
    header = ("line", "user", "conversation", "lacks", "still has", "custom mark", "clients clear")
    table = _table(caption, header, rows) if rows else f"<p>{html.escape(caption)}</p>"
    return _section("Read back", table)


def _code(code: int | None) -> str:
    return "none" if code is None else str(code)


def _difference(each: Difference, names: MarkNames) -> tuple[Cell, ...]:
    custom = ""
    if each.has_other_custom_mark:
        custom = f"{each.found.custom_mark!r}, not {each.wanted.custom_mark!r}"
    return (
        each.line,
        each.wanted.from_account,
        str(each.wanted.conversation),
        " ".join(names.labels(each.missing)),
        " ".join(names.labels(each.extra)),
        custom,
        " ".join(names.labels(each.cleared_by_clients)),
    )


def hours(report: JobReport, timeline: Timeline) -> str:
    """
    Return a long job by hour.
    """
    if report.run.seconds < _HOUR:
        return ""
    rows = [
        (
            duration(span.start),
            duration(span.end - span.start),
            *(span.counts.applied, span.counts.failed, span.counts.calls, span.counts.retries),
        )
        for span in timeline.spans(_HOUR)
    ]
    header = ("from", "took", "applied", "failed", "calls", "retries")
    return _section("By hour", _table("Since the start of this run.", header, rows))


def runs(report: JobReport) -> str:
    """
    Return what this run and those before it cost.
    """
    rows = [("this run", *_run(report.run))]
    if report.earlier is not None:
        many = f"{report.earlier.number:,} earlier run{'s' if report.earlier.number > 1 else ''}"
        rows.append((many, *_run(report.earlier)))
    retries = ", ".join(f"{each}: {count:,}" for each, count in by_count(report.retries_by_reason))
    why = f" Sent again because of {retries}." if retries else ""
    pauses = f" The server asked to slow down {report.pauses:,} times" if report.pauses else ""
    if pauses:
        pauses += "." if report.paused is None else f", {duration(report.paused)} in all."
    header = ("", "calls", "items sent", "sent again", "time")
    return _section("Runs", _table(f"What it took.{why}{pauses}", header, rows))


def _run(run: Run) -> tuple[Cell, ...]:
    return (run.calls, run.items, run.retries, duration(run.seconds))


def _section(title: str, content: str) -> str:
    name = title.lower().replace(" ", "-")
    return (
        f'<section aria-labelledby="{name}">\n<h2 id="{name}">{title}</h2>\n{content}\n</section>'
    )


def _table(caption: str, header: Sequence[str], rows: Iterable[Sequence[Cell]]) -> str:
    body = [list(row) for row in rows]
    numeric = {place for row in body for place, cell in enumerate(row) if _is_number(cell)}
    head = "".join(
        f'<th scope="col"{_kind(place in numeric)}>{html.escape(name)}</th>'
        if name
        else "<td></td>"
        for place, name in enumerate(header)
    )
    lines = "\n".join(f"<tr>{''.join(map(_cell, row))}</tr>" for row in body)
    return (
        f'<div class="wide"><table><caption>{html.escape(caption)}</caption>\n'
        f"<thead><tr>{head}</tr></thead>\n<tbody>\n{lines}\n</tbody></table></div>"
    )


def _cell(cell: Cell) -> str:
    text = f"{cell:,}" if isinstance(cell, int) else html.escape(cell)
    return f"<td{_kind(_is_number(cell))}>{text}</td>"


def _is_number(cell: Cell) -> bool:
    return isinstance(cell, int) or (cell[:1].isdigit() and cell.endswith("%"))


def _kind(is_number: bool) -> str:
    return ' class="number"' if is_number else ""
