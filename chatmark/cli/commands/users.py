"""`chatmark show`, `chatmark export` and `chatmark group`: what users have on the server."""

import contextlib
import sys
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final

import attrs
import click

from chatmark import ChatmarkError, ConversationGroup, GroupReport
from chatmark.cli import endings, reading, terminal
from chatmark.cli.access import Server
from chatmark.cli.options import Command, Names, command, file_option, json_option, option
from chatmark.cli.summary import field_of, marked_row, print_marked
from chatmark.conversations import check_id
from chatmark.jobs import Export, ExportFile, FileFormat, UserList
from chatmark.jobs.counting import agree, counted
from chatmark.jobs.exporting import COLUMNS, FailedUser
from chatmark.jobs.output_files import STANDARD_OUTPUT, check_outputs, is_in_place
from chatmark.jobs.row_files import USERS, RowFile
from chatmark.jobs.server import read_marks
from chatmark.jobs.sources.files import STANDARD_INPUT
from chatmark.jobs.sources.formats import ROW_FORMATS, USER_FORMATS, format_of
from chatmark.limits import MAX_USER_ID_BYTES

_USERS_AT_ONCE: Final = 16
_MOST_SHOWN: Final = 10


@attrs.frozen(kw_only=True)
class _ShowOptions(Server, Names):
    as_json: bool = json_option("Print JSON Lines, one conversation a line.")


@command(
    _ShowOptions, "Show the conversations of each USER that have marks, custom marks or groups."
)
@click.argument("users", metavar="USER...", nargs=-1, required=True)
def show(users: tuple[str, ...], options: _ShowOptions) -> int:
    for user in users:
        check_id("user", user, MAX_USER_ID_BYTES)
    return endings.run_to_end(_show(list(dict.fromkeys(users)), options))


async def _show(users: Sequence[str], options: _ShowOptions) -> int:
    errors: list[ChatmarkError] = []
    async with options.choose_target().session() as session:
        found = read_marks(session, users, at_once=_USERS_AT_ONCE)
        async with contextlib.aclosing(found):
            async for user, marked in found:
                if isinstance(marked, ChatmarkError):
                    terminal.complain(f"{user}: {marked}")
                    errors.append(marked)
                elif options.as_json:
                    for each in marked:
                        terminal.print_json(marked_row(user, each, options.names), indent=None)
                else:
                    print_marked(terminal.Console(sys.stdout), user, marked, options.names)
    return endings.status_of_unread(errors)


@attrs.frozen(kw_only=True)
class _ExportOptions(reading.Reading):
    output: str = file_option("Such as a.csv.gz.", STANDARD_OUTPUT, names=["-o", "--output"])
    format: FileFormat | None = option("The form of the output.", **reading.one_of(ROW_FORMATS))
    users_format: FileFormat | None = option("The form of USERS.", **reading.one_of(USER_FORMATS))
    column: str = option("The column or key of USERS.", "from_account", "NAME")
    failed: str | None = file_option("Write the users that could not be read.")
    guard: bool = option(
        "Write an apostrophe before cells of CSV that spreadsheets take for formulas.", False
    )
    overwrite: bool = option("Replace the complete export of this name.", False)
    as_json: bool = json_option("Print the summary as JSON.")
    restart: bool = option("Start again instead of continuing an export.", False)


@attrs.define
class _Stream:
    """Standard output, a pipe or a device: another run cannot continue it."""

    file: RowFile
    _failures: list[FailedUser] = attrs.field(factory=list[FailedUser], init=False)

    def write(self, rows: Iterable[dict[str, Any]]) -> None:
        self.file.write(*rows)

    def save(self, users: int, rows: int, failed: Iterable[FailedUser]) -> None:
        self._failures.extend(failed)
        self.file.flush()

    def failures(self) -> Iterator[FailedUser]:
        return iter(self._failures)


@command(
    _ExportOptions,
    """
    Write all marks of the users in USERS as rows that apply reads again.

    USERS has one id a line, or is CSV or JSON Lines with a column from_account; - is standard
    input. Each user is exported once.

    With --output the same command continues after a signal, a crash or a power cut.
    """,
)
@click.argument("path", metavar="USERS")
def export(path: str, options: _ExportOptions) -> int:
    target = options.choose_target()
    inputs = () if path == STANDARD_INPUT else [path]
    check_outputs({"--output": options.output, "--failed": options.failed}, inputs)
    with contextlib.ExitStack() as stack:
        ids = reading.read_ids(path, options.column, options.users_format)
        users = stack.enter_context(UserList(ids))
        export, output = _begin(users, target.name, options, stack)
        failed_file = None
        if options.failed is not None:
            format_ = format_of(options.failed, ROW_FORMATS, FileFormat.LINES, is_output=True)
            failed_file = stack.enter_context(RowFile(options.failed, USERS, format_))

        async def run() -> None:
            async with reading.reading_session(
                target, len(users), lambda: export.done, quiet=options.quiet
            ) as session:
                await export.run(session, output)

        try:
            endings.run_to_end(run())
        except BrokenPipeError:
            raise
        except (click.Abort, ChatmarkError, OSError):
            again = "with --output a later run could continue the export"
            if options.output != STANDARD_OUTPUT:
                again = f"{terminal.TO_CONTINUE}{click.get_current_context().obj}"
            terminal.complain(f"{_done(export.saved, users, '{is|are} done')}; {again}")
            raise
        if isinstance(output, ExportFile):
            output.complete()
        failures = list(output.failures())
        if failed_file is not None:
            for each in failures:
                notes = {"_code": each.code, "_error": each.error}
                failed_file.write({"from_account": each.account, **notes})
        return _tell(export, failures, options)


def _done(done: int, users: UserList, text: str) -> str:
    return f"{done:,} of {counted(len(users), 'user')} {agree(len(users), text)}"


def _begin(
    users: UserList, target: str, options: _ExportOptions, stack: contextlib.ExitStack
) -> tuple[Export, _Stream | ExportFile]:
    """Open the output; if an earlier run began it, the export continues."""
    path, guard = options.output, options.guard
    if is_in_place(path):
        file = RowFile(path, COLUMNS, options.format, guard=guard)
        return Export(users), _Stream(stack.enter_context(file))
    output = ExportFile(
        path,
        options.format or format_of(path, ROW_FORMATS, is_output=True),
        f"{users.digest} of {target}",
        restart=options.restart,
        overwrite=options.overwrite,
        guard=guard,
    )
    begun = stack.enter_context(output).begun
    if begun[0] and not options.quiet:
        terminal.log(f"continuing: {_done(begun[0], users, '{is|are} written already')}")
    return Export(users, *begun), output


def _tell(export: Export, failures: list[FailedUser], options: _ExportOptions) -> int:
    unknown = [each.code for each in failures].count(50001)
    is_on_stdout = options.output == STANDARD_OUTPUT
    done = len(export.users) - len(failures)
    console = terminal.Console(sys.stderr)
    if options.as_json:
        document = {
            "ok": not failures,
            "output": None if is_on_stdout else options.output,
            "users": done,
            "conversations": export.rows,
            "left_out": export.left_out,
            "unknown_users": unknown,
            "unread_users": len(failures) - unknown,
            "errors": [attrs.asdict(each) for each in failures[:_MOST_SHOWN]],
        }
        terminal.print_json(document, err=is_on_stdout)
    elif not options.quiet:
        where = "" if is_on_stdout else f" in {options.output}"
        text = f"{counted(export.rows, 'conversation')} of {counted(done, 'user')}{where}"
        console.say(text, "bold")
        text = "more {has|have} groups or reserved bits and no marks, and {is|are} left out"
        console.say_counts((export.left_out, text, ""))
    if failures:
        terminal.complain(f"{counted(len(failures), 'user')} could not be read")
        console.say_errors({each.account: each.error for each in failures}, _MOST_SHOWN)
    # The server answered for none of the users.
    if failures and not done and all(each.code is None for each in failures):
        return endings.STOPPED
    return endings.FAILED if failures else 0


@attrs.frozen(kw_only=True)
class _GroupOptions(Server):
    as_json: bool = json_option("Print JSON, one object a line.")


@click.group(
    help="""
    List and change the conversation groups of a user.

    A CONVERSATION is the id of a user, or c2c_ID or group_ID.
    """
)
def group() -> None:
    pass


@group.command("list", cls=Command, options=_GroupOptions, help="List the groups of each USER.")
@click.argument("users", metavar="USER...", nargs=-1, required=True)
def list_(users: tuple[str, ...], options: _GroupOptions) -> None:
    endings.run_to_end(_list(dict.fromkeys(users), options))


async def _list(users: Iterable[str], options: _GroupOptions) -> None:
    console = terminal.Console(sys.stdout)
    async with options.choose_target().session() as session:
        for user in users:
            groups = await session.groups.list(user)
            if options.as_json:
                for each in groups:
                    _echo(user, each, conversations=[*map(field_of, each.conversations)])
            elif groups:
                columns = ("group", "id", "size", "conversations")
                console.print_table(user, columns, map(_group_row, groups), ["id", "size"])
            else:
                console.say(f"{user} has no conversation groups")


def _group_row(group: ConversationGroup) -> tuple[str, ...]:
    size = len(group.conversations)
    shown = terminal.first_of([*map(str, group.conversations[:_MOST_SHOWN])], size, _MOST_SHOWN)
    return group.name, str(group.id), f"{size:,}", shown


def _add(name: str, help_: str, *arguments: click.Argument) -> None:
    def change(options: _GroupOptions, **given: Any) -> int:
        return endings.run_to_end(_change(name, options, **given))

    group.command(name, cls=Command, options=_GroupOptions, help=help_, params=arguments)(change)


async def _change(
    call: str, options: _GroupOptions, user: str, conversations: Sequence[str] = (), **names: str
) -> int:
    given: dict[str, Any] = {**names}
    if conversations:
        given["conversations"] = [reading.conversation_of(each) for each in conversations]
    async with options.choose_target().session() as session:
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
