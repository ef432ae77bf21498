"""The summary at the end of `chatmark apply`."""

from typing import Final

from rich.console import Console

from chatmark import MarkNames
from chatmark.cli.render.console import say, say_counts
from chatmark.cli.render.readback import print_read_back
from chatmark.jobs.counting import Phase, agree, counted
from chatmark.jobs.reports.progress import by_count, duration, precise, troubles
from chatmark.jobs.reports.report import JobReport, advice_of, meaning_of
from chatmark.jobs.sending.failures import subject_of

_SUBJECTS: Final = ("user", "peer")
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
    changes, rows = counted(accounts.total, "change"), counted(report.rows, "row")
    say(console, f"{report.file}: {changes} in {rows}", "bold")
    for place in accounts.by_outcome():
        if place.count or place.name == "applied":
            say(console, f"  {place.count:>9,} {place.text}", _STYLES[place.mood, report.ok])
    settled = "of these {was|were} settled by earlier runs"
    say_counts(console, (accounts.earlier, settled, ""))
    rates = ""
    if run.seconds >= 1:
        ended = max(0, accounts.ended - accounts.earlier)
        rates = f": {report.call_rate:,.1f} calls/s, {ended / run.seconds:,.0f} changes/s"
    say(
        console,
        f"  {run.calls:>9,} {agree(run.calls, '{call|calls}')} in {run.seconds:,.1f} s{rates}",
    )
    again = troubles(report.retries_by_reason, {})
    if again:
        say(console, f"            {again}")
    waited = "" if report.paused is None else f", {duration(report.paused)} in all"
    pauses = f"{{pause|pauses}} that the server asked for{waited}"
    say_counts(console, (report.pauses, pauses, "yellow"))
    if rates and len(report.phases) > 1:
        say(console, f"            {', '.join(map(_phase, report.phases))}")
    if report.undo is not None:
        say(console, f"            what was before is in {report.undo}: apply that to restore it")
    if report.read_back is not None:
        print_read_back(console, report.read_back, names)
    if accounts.refused or accounts.unconfirmed:
        _print_failures(console, report)


def _phase(phase: Phase) -> str:
    return f"{phase.name} {precise(phase.seconds)} ({phase.rate:,.0f} {phase.things}/s)"


def _print_failures(console: Console, report: JobReport) -> None:
    say(console, "")
    say(console, "Failures, with an example of each:", "bold")
    examples = report.examples()
    for code, count in by_count(report.accounts.failures):
        shown = "unconfirmed" if code is None else str(code)
        found = [(report.subjects.get((code, each), 0), each) for each in _SUBJECTS]
        whose = [f"{number:,} of the {each}" for number, each in found if number]
        meant = f" ({', '.join(whose)})" if whose else ""
        say(console, f"  {count:>9,} {shown}: {meaning_of(code)}{meant}")
        say(console, f"            {advice_of(code)}")
        if code in examples:
            unit, result = examples[code]
            where = f"{unit.change.from_account} {unit.change.conversation} (line {unit.line})"
            said = result.info or (result.error.reason_alone if result.error else "")
            subject = f"the {subject_of(result)}: " if subject_of(result) else ""
            say(console, f"            {where}: {subject}{said}")
