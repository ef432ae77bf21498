"""`chatmark group`: the conversation groups of users."""

import asyncio
import json
from collections.abc import Awaitable, Callable
from typing import Any, Final

import attrs
import click

from chatmark import (
    Conversation,
    ConversationGroup,
    ConversationGroups,
    ConversationType,
    GroupReport,
)
from chatmark.cli.exit_status import FAILED
from chatmark.cli.options.access import SERVER, Access
from chatmark.cli.options.groups import GroupedCommand, option, takes_options
from chatmark.cli.render.console import clean, complain, first_of, make_table, say, stdout_console

# Seconds: a person waits at the terminal.
_DEADLINE: Final = 15.0
_MOST_SHOWN: Final = 10


@attrs.frozen
class _Options:
    access: Access = SERVER
    as_json: bool = option("Print JSON, one object a line.", False, names=["--json"])


@click.group(
    help="""
    List and change the conversation groups of a user.

    A CONVERSATION is the id of a user, or c2c_ID or group_ID. The exit status is 1 if some
    conversations failed.
    """
)
def group() -> None:
    pass


def _command(name: str, help_: str, *arguments: str) -> Callable[[Callable[..., int]], object]:
    """Return a decorator that adds a command; a name that ends in S takes several arguments."""

    def add(function: Callable[..., int]) -> object:
        function = takes_options(_Options)(function)
        for each in reversed(arguments):
            many = each.endswith("S")
            function = click.argument(
                each.lower(),
                metavar=f"{each[:-1]}..." if many else each,
                nargs=-1 if many else 1,
                required=name != "create" or not many,
            )(function)
        return group.command(name, cls=GroupedCommand, help=help_)(function)

    return add


@_command("list", "List the groups of each USER with their conversations.", "USERS")
def list_(users: tuple[str, ...], options: _Options) -> int:
    async def read() -> None:
        async with options.access.target().session(deadline=_DEADLINE) as session:
            for user in dict.fromkeys(users):
                _print(user, await session.groups.list(user), options)

    asyncio.run(read())
    return 0


@_command("create", "Create a group.", "USER", "NAME", "CONVERSATIONS")
def create(user: str, name: str, conversations: tuple[str, ...], options: _Options) -> int:
    members = _members(conversations)
    return _change(options, user, lambda groups: groups.create(user, name, members))


@_command("rename", "Rename the group OLD to NEW.", "USER", "OLD", "NEW")
def rename(user: str, old: str, new: str, options: _Options) -> int:
    return _change(options, user, lambda groups: groups.rename(user, old, new), new)


@_command("add", "Add conversations to a group.", "USER", "NAME", "CONVERSATIONS")
def add(user: str, name: str, conversations: tuple[str, ...], options: _Options) -> int:
    members = _members(conversations)
    return _change(options, user, lambda groups: groups.add(user, name, members))


@_command("remove", "Remove conversations from a group.", "USER", "NAME", "CONVERSATIONS")
def remove(user: str, name: str, conversations: tuple[str, ...], options: _Options) -> int:
    members = _members(conversations)
    return _change(options, user, lambda groups: groups.remove(user, name, members))


@_command("delete", "Delete a group; its conversations keep their marks.", "USER", "NAME")
def delete(user: str, name: str, options: _Options) -> int:
    return _change(options, user, lambda groups: groups.delete(user, name), name)


def _members(texts: tuple[str, ...]) -> list[Conversation]:
    # The forms of the SDKs in capitals are users' ids as well.
    return [
        Conversation.parse(each)
        if each.startswith(("c2c_", "group_"))
        else Conversation.one_to_one(each)
        for each in texts
    ]


def _named(conversation: Conversation) -> dict[str, Any]:
    is_user = conversation.type is ConversationType.ONE_TO_ONE
    return {"to_account" if is_user else "to_group_id": conversation.id}


def _change(
    options: _Options,
    user: str,
    act: Callable[[ConversationGroups], Awaitable[GroupReport | None]],
    name: str = "",
) -> int:
    """Make a call, print how it ended, and return the exit status."""

    async def change() -> GroupReport:
        async with options.access.target().session(deadline=_DEADLINE) as session:
            return await act(session.groups) or GroupReport(name, None)

    report = asyncio.run(change())
    failures = report.failures
    done = len(report.results) - len(failures)
    if options.as_json:
        failed = [
            _named(each.conversation) | {"code": each.code, "error": str(each.error)}
            for each in failures
        ]
        _echo(user, report, succeeded=done, failed=failed)
    else:
        say(stdout_console(), f"{user}, group {report.name!r}: done, {done:,} conversations")
        for each in failures:
            complain(str(each.error))
    return FAILED if failures else 0


def _echo(user: str, group: ConversationGroup | GroupReport, **more: Any) -> None:
    row: dict[str, Any] = {"from_account": user, "name": group.name, "id": group.id}
    click.echo(json.dumps(row | more))


def _print(user: str, groups: list[ConversationGroup], options: _Options) -> None:
    if options.as_json:
        for each in groups:
            _echo(user, each, conversations=[_named(member) for member in each.conversations])
    elif not groups:
        say(stdout_console(), f"{user} has no conversation groups")
    else:
        table = make_table(user, "group", "id", "size", "conversations", numbers=["id", "size"])
        for each in groups:
            names = [str(conversation) for conversation in each.conversations[:_MOST_SHOWN]]
            size = len(each.conversations)
            cells = (each.name, str(each.id), f"{size:,}", first_of(names, size, _MOST_SHOWN))
            table.add_row(*map(clean, cells))
        stdout_console().print(table)
