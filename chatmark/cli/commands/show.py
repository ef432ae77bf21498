"""`chatmark show`: the marked conversations of users."""

import contextlib
import json
from collections.abc import Sequence
from typing import Final

import attrs
import click

from chatmark import ChatmarkError, MarkedConversation, MarkNames
from chatmark.cli.exit_status import status_of_unread
from chatmark.cli.options.access import SERVER, Access, Target
from chatmark.cli.options.groups import GroupedCommand, option, takes_options
from chatmark.cli.options.names import NAMES
from chatmark.cli.render.console import stdout_console
from chatmark.cli.render.log import complain
from chatmark.cli.render.summary import marked_row, print_marked
from chatmark.cli.running.reading import run_to_end
from chatmark.conversations import check_id
from chatmark.jobs.counting import SCHEMA
from chatmark.jobs.server import read_marks
from chatmark.limits import MAX_USER_ID_BYTES

_USERS_AT_ONCE: Final = 16


@attrs.frozen
class _Options:
    access: Access = SERVER
    names: MarkNames = NAMES
    as_json: bool = option("Print JSON Lines, one conversation a line.", False, names=["--json"])

    def print(self, user: str, marked: list[MarkedConversation]) -> None:
        if self.as_json:
            for each in marked:
                row = marked_row(user, each, self.names)
                click.echo(json.dumps({"schema": SCHEMA} | row))
        else:
            print_marked(stdout_console(), user, marked, self.names)


@click.command(
    cls=GroupedCommand,
    help="""
    Show the conversations of each USER that have marks, custom marks or groups.

    If a user cannot be read, it prints the reason, and the exit status is 1.
    """,
)
@click.argument("users", metavar="USER...", nargs=-1, required=True)
@takes_options(_Options)
def show(users: tuple[str, ...], options: _Options) -> int:
    for user in users:
        check_id("user", user, MAX_USER_ID_BYTES)
    return run_to_end(_show(options.access.target(), list(dict.fromkeys(users)), options))


async def _show(target: Target, users: Sequence[str], options: _Options) -> int:
    errors: list[ChatmarkError] = []
    async with target.session() as session:
        reading = read_marks(session, users, at_once=_USERS_AT_ONCE)
        async with contextlib.aclosing(reading):
            async for user, marked in reading:
                if isinstance(marked, ChatmarkError):
                    complain(f"{user}: {marked}")
                    errors.append(marked)
                else:
                    options.print(user, marked)
    return status_of_unread(errors)
