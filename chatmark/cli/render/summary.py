"""The lines and tables that say what a command found and did."""

import datetime as dt
import itertools
from collections.abc import Sequence
from typing import Any, Final

from rich.text import Text

from chatmark import Conversation, ConversationType, MarkedConversation, MarkNames
from chatmark.cli.render.console import Console
from chatmark.jobs.counting import (
    Phase,
    agree,
    by_count,
    counted,
    duration,
    precise,
    troubles,
)
from chatmark.jobs.reports.report import JobReport, advice_of, meaning_of
from chatmark.jobs.sending.accounts import subject_of
from chatmark.jobs.server import Difference, ReadBack

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
    console.say(f"{report.file}: {changes} in {rows}", "bold")
    for place in accounts.by_outcome():
        if place.count or place.name == "applied":
            console.say(f"  {place.count:>9,} {place.text}", _STYLES[place.mood, report.ok])
    settled = "of these {was|were} settled by earlier runs"
    console.say_counts((accounts.earlier, settled, ""))
    rates = ""
    if run.seconds >= 1:
        ended = max(0, accounts.ended - accounts.earlier)
        calls = "" if report.several_limits else f"{report.call_rate:,.1f} calls/s, "
        rates = f": {calls}{ended / run.seconds:,.0f} changes/s"
    console.say(
        f"  {run.calls:>9,} {agree(run.calls, '{call|calls}')} in {run.seconds:,.1f} s{rates}"
    )
    again = troubles(report.retries_by_reason, {})
    if again:
        console.say(f"            {again}")
    waited = "" if report.paused is None else f", {duration(report.paused)} in all"
    pauses = f"{{pause|pauses}} that the server asked for{waited}"
    console.say_counts((report.pauses, pauses, "yellow"))
    if rates and len(report.phases) > 1:
        console.say(f"            {', '.join(map(_phase, report.phases))}")
    if report.undo is not None:
        console.say(f"            what was before is in {report.undo}: apply that to restore it")
    if report.read_back is not None:
        print_read_back(console, report.read_back, names)
    if accounts.refused or accounts.unconfirmed:
        _print_failures(console, report)


def _phase(phase: Phase) -> str:
    return f"{phase.name} {precise(phase.seconds)} ({phase.rate:,.0f} {phase.things}/s)"


def _print_failures(console: Console, report: JobReport) -> None:
    console.say("")
    console.say("Failures, with an example of each:", "bold")
    examples = report.examples()
    for code, count in by_count(report.accounts.failures):
        shown = "unconfirmed" if code is None else str(code)
        found = [(report.subjects.get((code, each), 0), each) for each in _SUBJECTS]
        whose = [f"{number:,} of the {each}" for number, each in found if number]
        meant = f" ({', '.join(whose)})" if whose else ""
        console.say(f"  {count:>9,} {shown}: {meaning_of(code)}{meant}")
        console.say(f"            {advice_of(code)}")
        if code in examples:
            unit, result = examples[code]
            where = f"{unit.change.from_account} {unit.change.conversation} (line {unit.line})"
            said = result.info or (result.error.reason_alone if result.error else "")
            subject = f"the {subject_of(result)}: " if subject_of(result) else ""
            console.say(f"            {where}: {subject}{said}")


_MOST_SHOWN: Final = 10
_COLUMNS: Final = ("line", "user", "conversation", "lacks", "still has", "custom mark", "note")


def print_read_back(console: Console, found: ReadBack, names: MarkNames) -> None:
    """Print how the server compares with a file."""
    total = found.conversations
    text = agree(
        total, "{conversation|conversations} read back {is|are} as the file wants {it|them}"
    )
    console.say(f"  {found.as_wanted:>9,} of {total:,} {text}", "green" if found.ok else "")
    clients = "{lacks|lack} nothing but hidden or unread, which the vendor's own clients clear"
    console.say_counts(
        (found.differing - found.of_clients, "{differs|differ}", "red"),
        (found.of_clients, clients, "yellow"),
        (found.unread, "could not be read", "red"),
    )
    console.say_errors(found.errors, _MOST_SHOWN)
    if found.differences:
        shown = found.differences[:_MOST_SHOWN]
        title = (
            "What differs" if len(shown) == found.differing else f"The first {len(shown)} of them"
        )
        rows = [_cells(each, names) for each in shown]
        console.print_table(title, _COLUMNS, rows, numbers=["line"])


def _cells(each: Difference, names: MarkNames) -> list[Text | str]:
    wanted = each.wanted
    custom = ""
    if each.has_other_custom_mark:
        custom = f"{each.found.custom_mark!r}, not {wanted.custom_mark!r}"
    by_clients = " ".join(names.labels(each.cleared_by_clients))
    return [
        str(each.line) if each.line else "",
        wanted.from_account,
        str(wanted.conversation),
        Text(" ".join(names.labels(each.missing)), style="red"),
        Text(" ".join(names.labels(each.extra)), style="red"),
        custom,
        Text(f"clients clear {by_clients}" if by_clients else "", style="yellow"),
    ]


_COLOURS = {"favorite": "yellow", "unread": "cyan", "collapsed": "magenta", "hidden": "red"}


def print_marked(
    console: Console, user: str, marked: Sequence[MarkedConversation], names: MarkNames
) -> None:
    """Print a table of a user's conversations."""
    if not marked:
        console.say(f"{user} has no marked conversations")
        return
    rows = [
        (
            str(each.conversation),
            _labels(names.labels(each.mark)),
            each.custom_mark,
            ", ".join(_group_labels(each)),
            _moment(each.updated_at),
        )
        for each in sorted(marked, key=lambda each: each.conversation)
    ]
    columns = ("conversation", "marks", "custom mark", "groups", "last update (UTC)")
    console.print_table(f"{user}: {counted(len(marked), 'marked conversation')}", columns, rows)


def _moment(time: dt.datetime | None) -> Text:
    return Text("" if time is None else f"{time:%Y-%m-%d %H:%M:%S}", no_wrap=True)


def _labels(labels: Sequence[str]) -> Text:
    return Text(" ").join(Text(label, style=_COLOURS.get(label, "green")) for label in labels)


def _group_labels(marked: MarkedConversation) -> list[str]:
    """Return the numbers of groups with their names, as far as those are known."""
    named = itertools.zip_longest(marked.group_ids, marked.group_names, fillvalue="")
    return [f"{id_} {name}".rstrip() for id_, name in named]


def field_of(conversation: Conversation) -> dict[str, object]:
    """Return the field that names a conversation, as in a file of changes."""
    is_user = conversation.type is ConversationType.ONE_TO_ONE
    return {"to_account" if is_user else "to_group_id": conversation.id}


def marked_row(user: str, marked: MarkedConversation, names: MarkNames) -> dict[str, Any]:
    """Return a conversation for `json.dumps`, named as in a file of changes."""
    names_of_groups = {"group_names": list(marked.group_names)} if marked.group_names else {}
    return {
        "from_account": user,
        **field_of(marked.conversation),
        "marks": list(names.labels(marked.mark)),
        "bits": list(marked.mark.bits),
        "custom_mark": marked.custom_mark,
        "group_ids": list(marked.group_ids),
        "updated_at": None if marked.updated_at is None else marked.updated_at.isoformat(),
    } | names_of_groups
