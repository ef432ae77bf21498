"""The lines and tables that say what was done, and what is on the server."""

import itertools
from collections.abc import Sequence
from typing import Any, Final

from chatmark import Conversation, ConversationType, MarkedConversation, MarkNames
from chatmark.cli.terminal import Console
from chatmark.jobs import JobReport, ReadBack
from chatmark.jobs.counting import agree, by_count, counted, duration, precise, troubles
from chatmark.jobs.reports.report import advice_of, meaning_of
from chatmark.jobs.sending.accounts import subject_of
from chatmark.jobs.server import Difference

_MOST_SHOWN: Final = 10
_COLUMNS: Final = ("line", "user", "conversation", "lacks", "still has", "custom mark", "note")
_STYLES: Final = {"warning": "yellow", "bad": "red"}


def print_summary(console: Console, report: JobReport, names: MarkNames) -> None:
    accounts, run = report.accounts, report.run
    changes, rows = counted(accounts.total, "change"), counted(report.rows, "row")
    console.say(f"{report.file}: {changes} in {rows}", "bold")
    for place in accounts.by_outcome():
        if place.count or place.name == "applied":
            style = _STYLES.get(place.mood, "green" if report.ok else "")
            console.say(f"  {place.count:>9,} {place.text}", style)
    settled = "of these {was|were} settled by earlier runs"
    console.say_counts((accounts.earlier, settled, ""))
    rates = ""
    if run.seconds >= 1:
        rate = "" if report.several_limits else f"{report.call_rate:,.1f} calls/s, "
        rates = f": {rate}{accounts.ended_now / run.seconds:,.0f} changes/s"
    calls = agree(run.calls, "{call|calls}")
    console.say(f"  {run.calls:>9,} {calls} in {run.seconds:,.1f} s{rates}")
    again = troubles(report.retries_by_reason, {})
    if again:
        console.say_below(again)
    waited = "" if report.paused is None else f", {duration(report.paused)} in all"
    pauses = f"{{pause|pauses}} that the server asked for{waited}"
    console.say_counts((report.pauses, pauses, "yellow"))
    if rates and len(report.phases) > 1:
        phases = (
            f"{each.name} {precise(each.seconds)} ({each.rate:,.0f} {each.things}/s)"
            for each in report.phases
        )
        console.say_below(", ".join(phases))
    if report.undo is not None:
        console.say_below(f"what was before is in {report.undo}: apply that to restore it")
    if report.read_back is not None:
        print_read_back(console, report.read_back, names)
    if accounts.failures:
        _print_failures(console, report)


def _print_failures(console: Console, report: JobReport) -> None:
    console.say("")
    console.say("Failures, with an example of each:", "bold")
    examples = report.examples()
    for code, count in by_count(report.accounts.failures):
        shown = "unconfirmed" if code is None else str(code)
        found = [(report.subjects.get((code, each), 0), each) for each in ("user", "peer")]
        whose = [f"{number:,} of the {each}" for number, each in found if number]
        meant = f" ({', '.join(whose)})" if whose else ""
        console.say(f"  {count:>9,} {shown}: {meaning_of(code)}{meant}")
        console.say_below(advice_of(code))
        if code in examples:
            unit, result = examples[code]
            where = f"{unit.change.from_account} {unit.change.conversation} (line {unit.line})"
            said = result.info or (result.error.reason_alone if result.error else "")
            subject = f"the {subject_of(result)}: " if subject_of(result) else ""
            console.say_below(f"{where}: {subject}{said}")


def print_read_back(console: Console, found: ReadBack, names: MarkNames) -> None:
    total = found.conversations
    text = "{conversation|conversations} read back {is|are} as the file wants {it|them}"
    counts = f"{found.as_wanted:>9,} of {total:,}"
    console.say(f"  {counts} {agree(total, text)}", "green" if found.ok else "")
    clients = "{lacks|lack} nothing but hidden or unread, which the vendor's own clients clear"
    console.say_counts(
        (found.differing - found.of_clients, "{differs|differ}", "red"),
        (found.of_clients, clients, "yellow"),
        (found.unread, "could not be read", "red"),
    )
    console.say_errors(found.errors, _MOST_SHOWN)
    if found.differences:
        shown = found.differences[:_MOST_SHOWN]
        all_shown = len(shown) == found.differing
        title = "What differs" if all_shown else f"The first {len(shown)} of them"
        rows = [_cells(each, names) for each in shown]
        console.print_table(title, _COLUMNS, rows, numbers=["line"])


def _cells(each: Difference, names: MarkNames) -> list[str]:
    wanted = each.wanted
    custom = ""
    if each.has_other_custom_mark:
        custom = f"{each.found.custom_mark!r}, not {wanted.custom_mark!r}"
    by_clients = " ".join(names.labels(each.cleared_by_clients))
    return [
        str(each.line) if each.line else "",
        wanted.from_account,
        str(wanted.conversation),
        " ".join(names.labels(each.missing)),
        " ".join(names.labels(each.extra)),
        custom,
        f"clients clear {by_clients}" if by_clients else "",
    ]


def print_marked(
    console: Console, user: str, marked: Sequence[MarkedConversation], names: MarkNames
) -> None:
    if not marked:
        console.say(f"{user} has no marked conversations")
        return
    columns = ("conversation", "marks", "custom mark", "groups", "last update (UTC)")
    rows: list[Sequence[str]] = []
    for each in sorted(marked, key=lambda each: each.conversation):
        labels = " ".join(names.labels(each.mark))
        groups = itertools.zip_longest(each.group_ids, each.group_names, fillvalue="")
        shown = ", ".join(f"{id_} {name}".rstrip() for id_, name in groups)
        time = "" if each.updated_at is None else f"{each.updated_at:%Y-%m-%d %H:%M:%S}"
        rows.append((str(each.conversation), labels, each.custom_mark, shown, time))
    console.print_table(f"{user}: {counted(len(marked), 'marked conversation')}", columns, rows)


def field_of(conversation: Conversation) -> dict[str, object]:
    is_user = conversation.type is ConversationType.ONE_TO_ONE
    return {"to_account" if is_user else "to_group_id": conversation.id}


def marked_row(user: str, marked: MarkedConversation, names: MarkNames) -> dict[str, Any]:
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
