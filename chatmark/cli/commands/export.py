"""`chatmark export`: write all marks of many users as rows."""

import contextlib
import sys
from collections.abc import Iterable, Iterator
from typing import BinaryIO, Final

import attrs
import click

from chatmark import ChatmarkError
from chatmark.cli.exit_status import FAILED, status_of
from chatmark.cli.options.groups import GroupedCommand, option, refuse_usage, takes_options
from chatmark.cli.options.inputs import one_of
from chatmark.cli.options.reading import ReadingOptions
from chatmark.cli.options.target import Target
from chatmark.cli.render.console import first_of, say, say_counts, say_errors, stderr_console
from chatmark.cli.render.log import complain
from chatmark.cli.running.ids import read_ids
from chatmark.cli.running.outcome import open_output
from chatmark.cli.running.reading import reading_session, run_to_end
from chatmark.cli.running.signals import interrupted_status
from chatmark.jobs.counting import agree, counted
from chatmark.jobs.exporting.encoding import csv_header
from chatmark.jobs.exporting.export import Export, Output
from chatmark.jobs.exporting.file import ExportFile, FailedUser
from chatmark.jobs.output_files import OutputFile
from chatmark.jobs.sources.formats import ROW_FORMATS, USER_FORMATS, FileFormat, format_of
from chatmark.jobs.sources.users import UserList

_MOST_SHOWN: Final = 10
_NO_SUCH_USER: Final = 50001


@attrs.frozen(kw_only=True)
class _Options(ReadingOptions):
    output: str | None = option(
        "Where to write.  [default: standard output]", names=["-o", "--output"], metavar="FILE"
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
    failed: str | None = option(
        "Write the users that could not be read, in the form of USERS.", metavar="FILE"
    )
    overwrite: bool = option("Replace the complete export of this name.", False)
    as_json: bool = option(
        "Print the summary as JSON: on standard output with --output, else on standard error.",
        False,
        names=["--json"],
    )
    restart: bool = option("Start again instead of continuing an export.", False)


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
    format_ = _format(options)
    with contextlib.ExitStack() as stack:
        users = stack.enter_context(UserList(read_ids(path, options.column, options.users_format)))
        failed_file = open_output(options.failed, stack)
        output: _Standard | ExportFile
        if options.output is None:
            output = _Standard(sys.stdout.buffer, format_)
            export = Export(users, format_)
        else:
            name = f"{users.digest} of {target.name}"
            file = ExportFile(options.output, format_, name, restart=options.restart)
            output = stack.enter_context(file)
            export = Export(users, format_, output.begun.users, output.begun.rows)
            if export.done and not options.quiet:
                done = f"{export.done:,} of {counted(len(users), 'user')} are written already"
                click.echo(f"continuing: {done}", err=True)
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
        return _tell(export, list(output.failures()), options, failed_file)


def _format(options: _Options) -> FileFormat:
    if options.output is not None:
        return options.format or format_of(options.output, ROW_FORMATS)
    if options.format is FileFormat.PARQUET:
        refuse_usage("Parquet needs a file: give --output")
    return options.format or FileFormat.JSON_LINES


@attrs.define
class _Standard:
    """Standard output; another run cannot continue it."""

    stream: BinaryIO
    format: FileFormat
    _failures: list[FailedUser] = attrs.field(factory=list[FailedUser], init=False)

    def __attrs_post_init__(self) -> None:
        if self.format is FileFormat.CSV:
            self.stream.write(csv_header())

    def write(self, rows: bytes) -> None:
        self.stream.write(rows)

    def save(self, users: int, rows: int, failed: Iterable[FailedUser]) -> None:
        self._failures.extend(failed)
        self.stream.flush()

    def failures(self) -> Iterator[FailedUser]:
        return iter(self._failures)


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
    done = f"{export.saved:,} of {counted(len(export.users), 'user')} are done"
    if options.output is None:
        return f"{done}; with --output a later run could continue the export"
    return f"{done}; to continue: {click.get_current_context().obj}"


def _tell(
    export: Export, failures: list[FailedUser], options: _Options, failed_file: OutputFile | None
) -> int:
    if failed_file is not None:
        for each in failures:
            notes = {"_code": each.code, "_error": each.error}
            failed_file.write({"from_account": each.account, **notes})
    console = stderr_console()
    if not options.quiet:
        done = len(export.users) - len(failures)
        where = "" if options.output is None else f" in {options.output}"
        say(
            console,
            f"{counted(export.rows, 'conversation')} of {counted(done, 'user')}{where}",
            "bold",
        )
        if export.left_out:
            text = "more {has|have} groups or reserved bits and no marks, and {is|are} left out"
            say_counts(console, (export.left_out, text, ""))
    if not failures:
        return 0
    unknown = [each.account for each in failures if each.code == _NO_SUCH_USER]
    others = {each.account: each.error for each in failures if each.code != _NO_SUCH_USER}
    if unknown:
        shown = first_of(unknown, len(unknown), _MOST_SHOWN)
        text = agree(len(unknown), "{user is|users are} not known to the server")
        complain(f"{len(unknown):,} {text} (50001): {shown}")
    if others:
        complain(f"{counted(len(others), 'user')} could not be read")
        say_errors(console, others, _MOST_SHOWN, indent=2)
    return FAILED
