"""`chatmark mark`: change marks of conversations that the command line names."""

import functools
import itertools
from collections.abc import Iterable, Iterator

import attrs
import click

from chatmark import Conversation, ConversationMark, MarkChange, MarkNames
from chatmark.cli.options.groups import GroupedCommand, option, refuse_usage, takes_options
from chatmark.cli.options.names import NAMES
from chatmark.cli.options.shared import SendingOptions
from chatmark.cli.running.reading import conversation_of, read_ids
from chatmark.cli.running.sending import deliver
from chatmark.jobs.grouping import load
from chatmark.jobs.output_files import check_outputs
from chatmark.jobs.sources.row import Row

_side = functools.partial(option, title="Conversations")
_sides = functools.partial(_side, multiple=True)
_change = functools.partial(option, title="Change")
_marks = functools.partial(_change, multiple=True, metavar="MARK")


@attrs.frozen(kw_only=True)
class _Options(SendingOptions):
    names: MarkNames = NAMES
    user: tuple[str, ...] = _sides("Whose marks change. Repeatable.", metavar="USER")
    users: str | None = _side(
        "A file of such users: one id a line, or a column from_account of CSV or JSON Lines.",
        metavar="FILE",
    )
    to: tuple[str, ...] = _sides(
        "The other side: the id of a user, or c2c_ID or group_ID. Repeatable.", metavar="ID"
    )
    to_group: tuple[str, ...] = _sides("The id of a group. Repeatable.", metavar="ID")
    to_file: str | None = _side(
        "A file of other sides: one id a line, or a column to_account of CSV or JSON Lines.",
        metavar="FILE",
    )
    set: tuple[str, ...] = _marks("A mark to set: a name or a number. Repeatable.")
    clear: tuple[str, ...] = _marks("A mark to clear. Repeatable.")
    custom: str | None = _change("The custom mark.", metavar="TEXT")
    clear_custom: bool = _change("Clear the custom mark.", False)


@click.command(
    cls=GroupedCommand,
    help="""
    Set and clear marks of conversations: all those between the users and the other sides.

    chatmark mark user_0001 user_0002 --set favorite marks one conversation, and chatmark mark
    --users vips.txt --to support --set favorite,33 one of each user in a file. All ids are checked
    before anything is sent.
    """,
)
@click.argument("ids", nargs=-1, metavar="[USER] [ID]...")
@takes_options(_Options)
def mark(ids: tuple[str, ...], options: _Options) -> int:
    users = list(options.user)
    if options.users is not None:
        users += read_ids(options.users, "from_account")
    elif not users:
        users, ids = list(ids[:1]), ids[1:]
    others = [*ids, *options.to]
    if options.to_file is not None:
        others += read_ids(options.to_file, "to_account")
    conversations = [*map(conversation_of, others), *map(Conversation.group, options.to_group)]
    if not (users and conversations):
        refuse_usage("give a user and another side: chatmark mark USER ID --set MARK")
    if options.custom is not None and options.clear_custom:
        refuse_usage("give one of --custom and --clear-custom")
    target = options.target()
    check_outputs(options.outputs, filter(None, (options.users, options.to_file)))
    rows = _rows(dict.fromkeys(users), dict.fromkeys(conversations), options)
    with load("the command line", rows) as loaded:
        return deliver(target, loaded, options, options.names)


def _rows(
    users: Iterable[str], conversations: Iterable[Conversation], options: _Options
) -> Iterator[Row]:
    set_mark, clear_mark = (_parsed(each, options.names) for each in (options.set, options.clear))
    custom = "" if options.clear_custom else options.custom
    for number, (user, other) in enumerate(itertools.product(users, conversations), 1):
        yield Row(number, [MarkChange(user, other, set_mark, clear_mark, custom)])


def _parsed(marks: Iterable[str], names: MarkNames) -> ConversationMark:
    return names.parse_all(
        part for mark in marks for part in mark.replace(",", "|").split("|") if part.strip()
    )
