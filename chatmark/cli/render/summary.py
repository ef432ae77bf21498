"""
What is said at the end of `chatmark apply`.
"""

from typing import Final

from rich.console import Console

from chatmark.cli.render.console import say
from chatmark.cli.render.readback import ONLY_CLEARED_BY_CLIENTS
from chatmark.codes import code_of
from chatmark.jobs.reports.progress import by_count, duration, troubles
from chatmark.jobs.reports.report import JobReport, meaning_of
from chatmark.jobs.sending.accounts import Accounts
from chatmark.jobs.server.readback import Difference, ReadBack
from chatmark.names import MarkNames

_MOST_SHOWN: Final = 5


def print_summary(console: Console, report: JobReport, names: MarkNames) -> None:
    """
    Print what became of a file.
    """
    accounts, run = report.accounts, report.run
    say(console, f"{report.file}: {accounts.total:,} changes in {report.rows:,} rows", "bold")
    _print_accounts(console, accounts, ok=report.ok)
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
        _print_read_back(console, report.read_back, names)
    if accounts.refused or accounts.unconfirmed:
        _print_failures(console, report)


def _print_accounts(console: Console, accounts: Accounts, *, ok: bool) -> None:
    say(console, f"  {accounts.applied:>9,} took effect", "green" if ok else "")
    for count, text, style in (
        (accounts.unchanged, "were so already", "green" if ok else ""),
        (accounts.all_refused, "were refused", "red"),
        (accounts.unconfirmed, "were sent, but no answer says what became of them", "red"),
        (accounts.set_aside, "rows were set aside", "yellow"),
        (accounts.not_sent, "were not sent", "yellow"),
    ):
        if count:
            say(console, f"  {count:>9,} {text}", style)


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


def _print_read_back(console: Console, read_back: ReadBack, names: MarkNames) -> None:
    say(
        console,
        f"  {read_back.as_wanted:>9,} of {read_back.conversations:,} conversations read back are "
        "as the file wants them",
        "" if read_back.ok else "red",
    )
    for count, text, style in (
        (read_back.differing - read_back.of_clients, "differ", "red"),
        (read_back.of_clients, ONLY_CLEARED_BY_CLIENTS, "yellow"),
        (read_back.unread, "could not be read", "red"),
    ):
        if count:
            say(console, f"  {count:>9,} {text}", style)
    for each in read_back.differences[:_MOST_SHOWN]:
        say(console, f"            {_difference(each, names)}")


def _difference(each: Difference, names: MarkNames) -> str:
    wanted, found = each.wanted, each.found
    parts = [f"{wanted.from_account} {wanted.conversation}:"]
    if each.missing:
        parts.append(f"lacks {' '.join(names.labels(each.missing))};")
    if each.extra:
        parts.append(f"still has {' '.join(names.labels(each.extra))};")
    if each.has_other_custom_mark:
        parts.append(f"custom mark is {found.custom_mark!r}, not {wanted.custom_mark!r};")
    return " ".join(parts).rstrip(";")
