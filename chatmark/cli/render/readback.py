"""The result of reading back, as a table."""

from typing import Final

from rich.console import Console
from rich.table import Table
from rich.text import Text

from chatmark import MarkNames
from chatmark.cli.render.console import clean, make_table, say, say_counts, say_errors
from chatmark.jobs.server.readback import Difference, ReadBack

_MOST_SHOWN: Final = 10


def print_read_back(console: Console, found: ReadBack, names: MarkNames) -> None:
    """Print how the server compares with a file."""
    total = f"of {found.conversations:,} conversations read back are as the file wants them"
    say(console, f"  {found.as_wanted:>9,} {total}", "green" if found.ok else "")
    clients = "lack nothing but hidden or unread, which the vendor's own clients clear"
    say_counts(
        console,
        (found.differing - found.of_clients, "differ", "red"),
        (found.of_clients, clients, "yellow"),
        (found.unread, "could not be read", "red"),
    )
    say_errors(console, found.errors, _MOST_SHOWN)
    if found.differences:
        console.print(_table(found, names))


def _table(found: ReadBack, names: MarkNames) -> Table:
    shown = found.differences[:_MOST_SHOWN]
    title = "What differs" if len(shown) == found.differing else f"The first {len(shown)} of them"
    columns = ("line", "user", "conversation", "lacks", "still has", "custom mark", "note")
    table = make_table(title, *columns, numbers=["line"])
    for each in shown:
        table.add_row(*_cells(each, names))
    return table


def _cells(each: Difference, names: MarkNames) -> list[Text]:
    wanted = each.wanted
    custom = ""
    if each.has_other_custom_mark:
        custom = f"{each.found.custom_mark!r}, not {wanted.custom_mark!r}"
    by_clients = " ".join(names.labels(each.cleared_by_clients))
    return [
        Text(str(each.line) if each.line else ""),
        Text(clean(wanted.from_account)),
        Text(clean(str(wanted.conversation))),
        Text(" ".join(names.labels(each.missing)), style="red"),
        Text(" ".join(names.labels(each.extra)), style="red"),
        Text(clean(custom)),
        Text(f"clients clear {by_clients}" if by_clients else "", style="yellow"),
    ]
