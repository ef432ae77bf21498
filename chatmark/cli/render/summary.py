"""The summary at the end of `chatmark apply`."""

from typing import Final

from rich.console import Console

from chatmark import MarkNames
from chatmark.cli.render.console import say
from chatmark.cli.render.readback import print_read_back
from chatmark.codes import code_of
from chatmark.jobs.reports.progress import by_count, duration, troubles
from chatmark.jobs.reports.report import JobReport, meaning_of

_MOST_SHOWN: Final = 5
# By the mood of a count, and whether all is well.
_STYLES: Final = {
    ("good", True): "green",
    ("good", False): "",
    ("warning", False): "yellow",
    ("bad", False): "red",
}


def print_summary(console: Console, report: JobReport, names: MarkNames) -> None:
    """Print the summary of a job."""
    accounts, run = report.accounts, report.run
    say(console, f"{report.file}: {accounts.total:,} changes in {report.rows:,} rows", "bold")
    for place in accounts.by_outcome():
        if place.count or place.name == "applied":
            say(console, f"  {place.count:>9,} {place.text}", _STYLES[place.mood, report.ok])
    if report.earlier is not None:
        say(console, f"  {accounts.earlier:>9,} of these were settled by earlier runs")
    seconds = max(run.seconds, 0.001)
    ended = max(0, accounts.ended - accounts.earlier)
    say(
        console,
        f"  {run.calls:>9,} calls in {run.seconds:,.1f} s: {run.calls / seconds:,.1f} "
        f"calls/s, {ended / seconds:,.0f} changes/s",
    )
    again = troubles(report.retries_by_reason, {})
    if again:
        say(console, f"            {again}")
    if report.pauses:
        waited = "" if report.paused is None else f", {duration(report.paused)} in all"
        say(console, f"  {report.pauses:>9,} pauses that the server asked for{waited}")
    if report.read_back is not None:
        print_read_back(console, report.read_back, names)
    if accounts.refused or accounts.unconfirmed:
        _print_failures(console, report)


def _print_failures(console: Console, report: JobReport) -> None:
    say(console, "")
    say(console, "Failures:", "bold")
    for code, count in by_count(report.accounts.refused):
        shown = "no code" if code is None else str(code)
        say(console, f"  {count:>9,}  {shown}: {meaning_of(code)}")
        if code is not None:
            say(console, f"             {code_of(code).advice}")
    if report.accounts.unconfirmed:
        text = "unconfirmed: send them again, which does no harm"
        say(console, f"  {report.accounts.unconfirmed:>9,}  {text}")
    say(console, "The first of them:", "bold")
    for unit, result in report.failures[:_MOST_SHOWN]:
        change = unit.change
        where = f"{change.from_account} {change.conversation} (line {unit.line})"
        say(console, f"  {where}: {result.error and result.error.reason_alone}")
