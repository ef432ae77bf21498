"""A user's marked conversations, as a table."""

import datetime as dt
import itertools
from collections.abc import Sequence
from typing import Any

from rich.console import Console
from rich.text import Text

from chatmark import ConversationType, MarkedConversation, MarkNames
from chatmark.cli.render.console import print_table, say
from chatmark.jobs.counting import counted

_STYLES = {"favorite": "yellow", "unread": "cyan", "collapsed": "magenta", "hidden": "red"}


def print_marked(
    console: Console, user: str, marked: Sequence[MarkedConversation], names: MarkNames
) -> None:
    """Print a table of a user's conversations."""
    if not marked:
        say(console, f"{user} has no marked conversations")
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
    print_table(console, f"{user}: {counted(len(marked), 'marked conversation')}", columns, rows)


def _moment(time: dt.datetime | None) -> Text:
    return Text("" if time is None else f"{time:%Y-%m-%d %H:%M:%S}", no_wrap=True)


def _labels(labels: Sequence[str]) -> Text:
    return Text(" ").join(Text(label, style=_STYLES.get(label, "green")) for label in labels)


def _group_labels(marked: MarkedConversation) -> list[str]:
    """Return the numbers of groups with their names, as far as those are known."""
    named = itertools.zip_longest(marked.group_ids, marked.group_names, fillvalue="")
    return [f"{id_} {name}".rstrip() for id_, name in named]


def marked_row(user: str, marked: MarkedConversation, names: MarkNames) -> dict[str, Any]:
    """Return a conversation for `json.dumps`, named as in a file of changes."""
    one_to_one = marked.conversation.type is ConversationType.ONE_TO_ONE
    names_of_groups = {"group_names": list(marked.group_names)} if marked.group_names else {}
    return {
        "from_account": user,
        "to_account" if one_to_one else "to_group_id": marked.conversation.id,
        "marks": list(names.labels(marked.mark)),
        "bits": list(marked.mark.bits),
        "custom_mark": marked.custom_mark,
        "group_ids": list(marked.group_ids),
        "updated_at": None if marked.updated_at is None else marked.updated_at.isoformat(),
    } | names_of_groups
