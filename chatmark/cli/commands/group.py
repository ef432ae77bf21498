"""`chatmark group`: the conversation groups of users."""

import asyncio
import sys
from collections.abc import Iterable, Sequence
from typing import Any, Final

import attrs
import click

from chatmark import ConversationGroup, GroupReport
from chatmark.cli import endings, terminal
from chatmark.cli.access import SERVER, Access
from chatmark.cli.options import Command, option
from chatmark.cli.reading import conversation_of
from chatmark.cli.summary import field_of
from chatmark.jobs.counting import counted

_MOST_SHOWN: Final = 10


@attrs.frozen
class _Options:
    access: Access = SERVER
    as_json: bool = option("Print JSON, one object a line.", False, names=["--json"])


@click.group(
    help="""
    List and change the conversation groups of a user.

    A CONVERSATION is the id of a user, or c2c_ID or group_ID. If some conversations fail, the exit
    status is 1.
    """
)
def group() -> None:
    pass


@group.command("list", cls=Command, options=_Options, help="List the groups of each USER.")
@click.argument("users", metavar="USER...", nargs=-1, required=True)
def list_(users: tuple[str, ...], options: _Options) -> None:
    asyncio.run(_list(dict.fromkeys(users), options))


def _add(name: str, help_: str, *arguments: click.Argument) -> None:
    def change(options: _Options, **given: Any) -> int:
        return asyncio.run(_change(name, options, **given))

    group.command(name, cls=Command, options=_Options, help=help_, params=arguments)(change)


async def _list(users: Iterable[str], options: _Options) -> None:
    console = terminal.Console(sys.stdout)
    async with options.access.target().session() as session:
        for user in users:
            groups = await session.groups.list(user)
            rows: list[tuple[str, ...]] = []
            for each in groups:
                size, members = len(each.conversations), each.conversations[:_MOST_SHOWN]
                shown = terminal.first_of([*map(str, members)], size, _MOST_SHOWN)
                rows.append((each.name, str(each.id), f"{size:,}", shown))
                if options.as_json:
                    _echo(user, each, conversations=[field_of(one) for one in each.conversations])
            if not (groups or options.as_json):
                console.say(f"{user} has no conversation groups")
            elif groups and not options.as_json:
                columns = ("group", "id", "size", "conversations")
                console.print_table(user, columns, rows, ["id", "size"])


async def _change(
    call: str, options: _Options, user: str, conversations: Sequence[str] = (), **names: str
) -> int:
    """Make a call, print how it ended, and return the exit status."""
    given: dict[str, Any] = {**names}
    if conversations:
        given["conversations"] = [conversation_of(each) for each in conversations]
    async with options.access.target().session() as session:
        report = await getattr(session.groups, call)(user, **given)
    # Renaming and deleting have no report; the last name is that of the group.
    report = report or GroupReport(list(names.values())[-1], None)
    failures = report.failures
    done = len(report.results) - len(failures)
    if options.as_json:
        failed = [
            field_of(each.conversation) | {"code": each.code, "error": str(each.error)}
            for each in failures
        ]
        _echo(user, report, succeeded=done, failed=failed)
    else:
        said = f"{user}, group {report.name!r}: done, {counted(done, 'conversation')}"
        terminal.Console(sys.stdout).say(said)
        for each in failures:
            terminal.complain(str(each.error))
    return endings.FAILED if failures else 0


def _echo(user: str, group: ConversationGroup | GroupReport, **more: Any) -> None:
    row = {"from_account": user, "name": group.name, "id": group.id, **more}
    terminal.print_json(row, indent=None)


_USER, _NAME, _OLD, _NEW = (click.Argument([each]) for each in ("user", "name", "old", "new"))
_SOME = click.Argument(["conversations"], nargs=-1, required=True, metavar="CONVERSATION...")
_ANY = click.Argument(["conversations"], nargs=-1, metavar="[CONVERSATION]...")
_add("create", "Create a group.", _USER, _NAME, _ANY)
_add("rename", "Rename the group OLD to NEW.", _USER, _OLD, _NEW)
_add("add", "Add conversations to a group.", _USER, _NAME, _SOME)
_add("remove", "Remove conversations from a group.", _USER, _NAME, _SOME)
_add("delete", "Delete a group; its conversations keep their marks.", _USER, _NAME)
