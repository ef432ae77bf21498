"""The result of reading back, as a table."""

from typing import Final

from rich.console import Console
from rich.text import Text

from chatmark import MarkNames
from chatmark.cli.render.console import print_table, say, say_counts, say_errors
from chatmark.jobs.counting import agree
from chatmark.jobs.server.readback import Difference, ReadBack

_MOST_SHOWN: Final = 10
_COLUMNS: Final = ("line", "user", "conversation", "lacks", "still has", "custom mark", "note")


def print_read_back(console: Console, found: ReadBack, names: MarkNames) -> None:
    """Print how the server compares with a file."""
    total = found.conversations
    text = agree(
        total, "{conversation|conversations} read back {is|are} as the file wants {it|them}"
    )
    say(console, f"  {found.as_wanted:>9,} of {total:,} {text}", "green" if found.ok else "")
    clients = "{lacks|lack} nothing but hidden or unread, which the vendor's own clients clear"
    say_counts(
        console,
        (found.differing - found.of_clients, "{differs|differ}", "red"),
        (found.of_clients, clients, "yellow"),
        (found.unread, "could not be read", "red"),
    )
    say_errors(console, found.errors, _MOST_SHOWN)
    if found.differences:
        shown = found.differences[:_MOST_SHOWN]
        title = (
            "What differs" if len(shown) == found.differing else f"The first {len(shown)} of them"
        )
        rows = [_cells(each, names) for each in shown]
        print_table(console, title, _COLUMNS, rows, numbers=["line"])


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
