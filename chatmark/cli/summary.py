"""
What is said at the end of `chatmark apply`.
"""

from typing import Final

from rich.console import Console

from chatmark.cli.console import say
from chatmark.codes import code_of
from chatmark.jobs.meter import troubles
from chatmark.jobs.readback import Difference, ReadBack
from chatmark.jobs.report import JobReport, by_count, meaning_of
from chatmark.names import MarkNames

_MOST_SHOWN: Final = 5


def print_summary(console: Console, report: JobReport, names: MarkNames) -> None:
    """
    Print what became of a file.
    """
    marks = report.marks
    bold = "bold"
    say(console, f"{report.file}: {report.changes:,} changes in {report.rows:,} rows", bold)
    say(console, f"  {marks.succeeded:>9,} took effect", "green" if report.ok else "")
    if marks.failed:
        say(console, f"  {marks.failed:>9,} failed", "red")
    if marks.withdrawn:
        say(console, f"  {marks.withdrawn:>9,} withdrawn before they were sent", "yellow")
    seconds = max(marks.elapsed, 0.001)
    say(
        console,
        f"  {marks.calls:>9,} calls in {marks.elapsed:.1f} s: {marks.calls / seconds:,.1f} "
        f"calls/s, {(marks.succeeded + marks.failed) / seconds:,.0f} changes/s",
    )
    again = troubles(report.retries_by_reason, {})
    if again:
        say(console, f"            {again}")
    if report.read_back is not None:
        _print_read_back(console, report.read_back, names)
    if marks.failed:
        _print_failures(console, report)


def _print_failures(console: Console, report: JobReport) -> None:
    say(console, "")
    say(console, "Failures:", "bold")
    for code, count in by_count(report.marks.failures_by_code):
        shown = "no code" if code is None else str(code)
        say(console, f"  {count:>9,}  {shown}: {meaning_of(code)}")
        if code is not None:
            say(console, f"             {code_of(code).advice}")
    say(console, "The first of them:", "bold")
    for result in report.failures[:_MOST_SHOWN]:
        say(
            console,
            f"  {result.change.from_account} {result.change.conversation}: {result.error}",
        )


def _print_read_back(console: Console, read_back: ReadBack, names: MarkNames) -> None:
    as_wanted = read_back.conversations - read_back.differing
    say(
        console,
        f"  {as_wanted:>9,} of {read_back.conversations:,} conversations read back are as the file "
        "wants them",
        "red" if read_back.differing else "green",
    )
    for each in read_back.differences[:_MOST_SHOWN]:
        say(console, f"            {_difference(each, names)}")


def _difference(each: Difference, names: MarkNames) -> str:
    wanted, found = each.wanted, each.found
    parts = [f"{wanted.from_account} {wanted.conversation}:"]
    missing = wanted.set_mark & ~found.mark
    if missing:
        parts.append(f"lacks {' '.join(names.labels(missing))};")
    extra = wanted.clear_mark & found.mark
    if extra:
        parts.append(f"still has {' '.join(names.labels(extra))};")
    if wanted.custom_mark not in (None, found.custom_mark):
        parts.append(f"custom mark is {found.custom_mark!r}, not {wanted.custom_mark!r};")
    return " ".join(parts).rstrip(";")
