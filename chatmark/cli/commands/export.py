"""`chatmark export`: write all marks of many users as rows."""

import contextlib
from collections.abc import Iterable, Iterator
from typing import Any, Final

import attrs
import click

from chatmark import ChatmarkError
from chatmark.cli.exit_status import FAILED, status_of
from chatmark.cli.options.access import Target
from chatmark.cli.options.groups import (
    GroupedCommand,
    file_option,
    option,
    refuse_usage,
    takes_options,
)
from chatmark.cli.options.inputs import one_of
from chatmark.cli.options.shared import ReadingOptions
from chatmark.cli.render.console import first_of, print_json, stderr_console
from chatmark.cli.render.log import TO_CONTINUE, complain, write
from chatmark.cli.running.reading import read_ids, reading_session, run_to_end
from chatmark.cli.running.signals import interrupted_status
from chatmark.jobs.counting import agree, counted
from chatmark.jobs.exporting import COLUMNS, Export, ExportFile, FailedUser, Output
from chatmark.jobs.output_files import STANDARD_OUTPUT, check_outputs, is_in_place
from chatmark.jobs.row_files import USERS, RowFile
from chatmark.jobs.sources.files import STANDARD_INPUT
from chatmark.jobs.sources.formats import ROW_FORMATS, USER_FORMATS, FileFormat, format_of
from chatmark.jobs.sources.users import UserList

_MOST_SHOWN: Final = 10
_NO_SUCH_USER: Final = 50001


@attrs.frozen(kw_only=True)
class _Options(ReadingOptions):
    output: str | None = file_option(
        "Where to write, as the name says, such as marks.csv.gz.  [default: standard output]",
        names=["-o", "--output"],
    )
    format: FileFormat | None = option(
        "The format of the output, if its name does not tell.", **one_of(ROW_FORMATS)
    )
    users_format: FileFormat | None = option(
        "The format of USERS, if its name does not tell.", **one_of(USER_FORMATS)
    )
    column: str = option(
        "The column or key of USERS that has the users.", "from_account", metavar="NAME"
    )
    failed: str | None = file_option(
        "Write the users that could not be read, in the form of USERS."
    )
    guard: bool = option(
        "In CSV, write an apostrophe before cells that spreadsheets take for formulas; apply reads "
        "it as part of the cell.",
        False,
    )
    overwrite: bool = option("Replace the complete export of this name.", False)
    as_json: bool = option(
        "Print the summary as JSON: on standard output with --output, else on standard error.",
        False,
        names=["--json"],
    )
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


@click.command(
    cls=GroupedCommand,
    help="""
    Write all marks of the users in USERS as rows that apply reads again.

    USERS has one id a line, or is CSV or JSON Lines with a column from_account; - is standard
    input. Each user is exported once.

    With --output the same command continues after a signal, a crash or a power cut.
    """,
)
@click.argument("path", metavar="USERS")
@takes_options(_Options)
def export(path: str, options: _Options) -> int:
    target = options.access.target()
    inputs = () if path == STANDARD_INPUT else [path]
    check_outputs({"--output": options.output or "-", "--failed": options.failed}, inputs)
    with contextlib.ExitStack() as stack:
        users = stack.enter_context(UserList(read_ids(path, options.column, options.users_format)))
        output = _output(f"{users.digest} of {target.name}", options, stack)
        export = Export(users)
        if isinstance(output, ExportFile):
            export = Export(users, *output.begun)
            if export.done and not options.quiet:
                are = agree(len(users), "{user is|users are} written already")
                done = f"{export.done:,} of {len(users):,} {are}"
                write(f"continuing: {done}")
        failed_file = None
        if options.failed is not None:
            format_ = format_of(options.failed, ROW_FORMATS, FileFormat.LINES)
            failed_file = stack.enter_context(RowFile(options.failed, USERS, format_))
        error = _run(export, target, output, options)
        if error is not None:
            if failed_file is not None:
                failed_file.keep_apart()
            is_interrupted = isinstance(error, click.Abort)
            complain("interrupted" if is_interrupted else str(error))
            complain(_how_to_continue(export, options))
            return interrupted_status() if is_interrupted else status_of(error)
        if isinstance(output, ExportFile):
            output.complete()
        failures = list(output.failures())
        if failed_file is not None:
            for each in failures:
                notes = {"_code": each.code, "_error": each.error}
                failed_file.write({"from_account": each.account, **notes})
        return _tell(export, failures, options)


def _output(name: str, options: _Options, stack: contextlib.ExitStack) -> _Stream | ExportFile:
    path, guard = options.output or STANDARD_OUTPUT, options.guard
    if not is_in_place(path):
        format_ = options.format or format_of(path, ROW_FORMATS)
        file = ExportFile(
            path, format_, name, restart=options.restart, overwrite=options.overwrite, guard=guard
        )
        return stack.enter_context(file)
    format_ = options.format or format_of(path, ROW_FORMATS, FileFormat.JSON_LINES)
    if format_ is FileFormat.PARQUET:
        refuse_usage("Parquet needs a file: give --output")
    return _Stream(stack.enter_context(RowFile(path, COLUMNS, format_, guard=guard)))


def _run(export: Export, target: Target, output: Output, options: _Options) -> Exception | None:
    """Export, and return the error that stopped it early."""

    async def run() -> None:
        async with reading_session(
            target, options, "read", "users", len(export.users), lambda: export.done
        ) as session:
            await export.run(session, output)

    try:
        run_to_end(run())
    except BrokenPipeError:
        raise
    except (click.Abort, ChatmarkError, OSError) as error:
        return error
    return None


def _how_to_continue(export: Export, options: _Options) -> str:
    users = len(export.users)
    done = f"{export.saved:,} of {users:,} {agree(users, '{user is|users are} done')}"
    if options.output in (None, STANDARD_OUTPUT):
        return f"{done}; with --output a later run could continue the export"
    return f"{done}; {TO_CONTINUE}{click.get_current_context().obj}"


def _tell(export: Export, failures: list[FailedUser], options: _Options) -> int:
    unknown = [each.account for each in failures if each.code == _NO_SUCH_USER]
    others = {each.account: each.error for each in failures if each.code != _NO_SUCH_USER}
    is_on_stdout = options.output in (None, STANDARD_OUTPUT)
    done = len(export.users) - len(failures)
    console = stderr_console()
    if options.as_json:
        document = {
            "ok": not failures,
            "output": options.output,
            "users": done,
            "conversations": export.rows,
            "left_out": export.left_out,
            "unknown_users": len(unknown),
            "unread_users": len(others),
            "errors": [attrs.asdict(each) for each in failures[:_MOST_SHOWN]],
        }
        print_json(document, err=is_on_stdout)
    elif not options.quiet:
        where = "" if is_on_stdout else f" in {options.output}"
        text = f"{counted(export.rows, 'conversation')} of {counted(done, 'user')}{where}"
        console.say(text, "bold")
        text = "more {has|have} groups or reserved bits and no marks, and {is|are} left out"
        console.say_counts((export.left_out, text, ""))
    if unknown:
        shown = first_of(unknown, len(unknown), _MOST_SHOWN)
        text = agree(len(unknown), "{user is|users are} not known to the server")
        complain(f"{len(unknown):,} {text} (50001): {shown}")
    if others:
        complain(f"{counted(len(others), 'user')} could not be read")
        console.say_errors(others, _MOST_SHOWN, indent=2)
    return FAILED if failures else 0
