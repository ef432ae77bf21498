"""`chatmark show`, `chatmark verify` and `chatmark export`: read what the server has."""

import contextlib
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import Any, Final

import attrs
import click

from chatmark import ChatmarkError, MarkNames
from chatmark.cli import endings, reading, terminal
from chatmark.cli.access import SERVER, Access, Target
from chatmark.cli.options import NAMES, Command, file_option, option, refuse_usage
from chatmark.cli.sending import summary_console
from chatmark.cli.summary import marked_row, print_marked, print_read_back
from chatmark.conversations import check_id
from chatmark.jobs import Export, ExportFile, FileFormat, ReadBack, UserList, read_back
from chatmark.jobs.counting import agree, counted
from chatmark.jobs.exporting.file import COLUMNS, FailedUser
from chatmark.jobs.output_files import STANDARD_OUTPUT, OutputFile, check_outputs, is_in_place
from chatmark.jobs.row_files import DIFFERENCES, USERS, RowEncoding, RowFile
from chatmark.jobs.server.prefetch import OutageGuard, read_marks
from chatmark.jobs.server.readback import Difference, read_back_exactly
from chatmark.jobs.sources.files import STANDARD_INPUT
from chatmark.jobs.sources.formats import ROW_FORMATS, USER_FORMATS, compression_of, format_of
from chatmark.limits import MAX_USER_ID_BYTES

_USERS_AT_ONCE: Final = 16
_MOST_SHOWN: Final = 10
_NO_SUCH_USER: Final = 50001


@attrs.frozen
class _ShowOptions:
    HELP = """
    Show the conversations of each USER that have marks, custom marks or groups.

    If a user cannot be read, it prints the reason, and the exit status is 1.
    """

    access: Access = SERVER
    names: MarkNames = NAMES
    as_json: bool = option("Print JSON Lines, one conversation a line.", False, names=["--json"])


@click.command(cls=Command, options=_ShowOptions)
@click.argument("users", metavar="USER...", nargs=-1, required=True)
def show(users: tuple[str, ...], options: _ShowOptions) -> int:
    for user in users:
        check_id("user", user, MAX_USER_ID_BYTES)
    return endings.run_to_end(_show(options.access.target(), list(dict.fromkeys(users)), options))


async def _show(target: Target, users: Sequence[str], options: _ShowOptions) -> int:
    errors: list[ChatmarkError] = []
    async with target.session() as session:
        found = read_marks(session, users, OutageGuard(), at_once=_USERS_AT_ONCE)
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
class _VerifyOptions(reading.ComparingOptions):
    HELP = """
    Read the conversations of FILE back, and compare them with its rows; nothing is sent.

    All rows of a conversation count together. Exit status 1 means that something differs, or could
    not be read. The vendor's clients clear hidden and unread when a message arrives or a
    conversation is opened: conversations that lack only these are counted apart.
    """

    exact: bool = option(
        "Compare everything that the users have: what no row sets must not be there.", False
    )
    differing: str | None = file_option("Write what differs as rows to apply again.")


@click.command(cls=Command, options=_VerifyOptions)
@click.argument("paths", nargs=-1, required=True, metavar="FILE...")
def verify(paths: tuple[str, ...], options: _VerifyOptions) -> int:
    target = options.access.target()
    outputs = {"--differing": options.differing}
    check_outputs(outputs, [each.path for each in options.inputs.files(paths).files])
    result = ReadBack()
    with contextlib.ExitStack() as stack:
        read = stack.enter_context(reading.read_to_end(paths, options.inputs, quiet=options.quiet))
        write: Callable[[Difference], object] = id
        if options.differing is not None:
            differing = stack.enter_context(RowFile(options.differing, DIFFERENCES))
            write = lambda difference: differing.write(difference.row())  # noqa: E731

        async def compare() -> None:
            total, of = len(read.spool), {"phase": "verify", "things": "conversations"}
            async with reading.reading_session(
                target, options, total, lambda: result.conversations, **of
            ) as session:
                read_all = read_back_exactly if options.exact else read_back
                await read_all(session, read.spool, result, write)

        endings.run_to_end(compare())
    ok = result.ok and not read.bad
    if options.as_json:
        document = {"file": read.name, "ok": ok, "exact": options.exact, "set_aside": read.bad}
        terminal.print_json(document | result.document())
    else:
        console = summary_console(outputs)
        counts = counted(result.conversations, "conversation")
        console.say(f"{read.name}: {counts} read back", "bold")
        print_read_back(console, result, options.inputs.names)
    if read.bad:
        terminal.complain(f"{counted(read.bad, 'row')} cannot be read and took no part in this")
    return 0 if ok else endings.status_of_unread(result.errors.values()) or endings.FAILED


@attrs.frozen(kw_only=True)
class _ExportOptions(reading.ReadingOptions):
    HELP = """
    Write all marks of the users in USERS as rows that apply reads again.

    USERS has one id a line, or is CSV or JSON Lines with a column from_account; - is standard
    input. Each user is exported once.

    With --output the same command continues after a signal, a crash or a power cut.
    """

    output: str | None = file_option(
        "Where to write, as the name says, such as marks.csv.gz.  [default: standard output]",
        names=["-o", "--output"],
    )
    format: FileFormat | None = option(
        "The format of the output, if its name does not tell.", **reading.one_of(ROW_FORMATS)
    )
    users_format: FileFormat | None = option(
        "The format of USERS, if its name does not tell.", **reading.one_of(USER_FORMATS)
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

    encoding: RowEncoding
    file: OutputFile
    _failures: list[FailedUser] = attrs.field(factory=list[FailedUser], init=False)

    def __attrs_post_init__(self) -> None:
        self._write(self.encoding.header)

    def write(self, rows: Iterable[dict[str, Any]]) -> None:
        self._write(self.encoding.encode(rows))

    def save(self, users: int, rows: int, failed: Iterable[FailedUser]) -> None:
        self._failures.extend(failed)
        self.file.flush()

    def failures(self) -> Iterator[FailedUser]:
        return iter(self._failures)

    def _write(self, data: bytes) -> None:
        self.file.write_bytes(self.encoding.compress(data))


@click.command(cls=Command, options=_ExportOptions)
@click.argument("path", metavar="USERS")
def export(path: str, options: _ExportOptions) -> int:
    target = options.access.target()
    inputs = () if path == STANDARD_INPUT else [path]
    check_outputs({"--output": options.output or "-", "--failed": options.failed}, inputs)
    with contextlib.ExitStack() as stack:
        users = stack.enter_context(
            UserList(reading.read_ids(path, options.column, options.users_format))
        )
        export, output = _begin(users, target, options, stack)
        failed_file = None
        if options.failed is not None:
            failed_file = stack.enter_context(RowFile(options.failed, USERS, FileFormat.LINES))

        async def run() -> None:
            async with reading.reading_session(
                target, options, len(users), lambda: export.done
            ) as session:
                await export.run(session, output)

        try:
            endings.run_to_end(run())
        except BrokenPipeError:
            raise
        except (click.Abort, ChatmarkError, OSError):
            done = f"{export.saved:,} of {counted(len(users), 'user')} are done"
            again = f"{terminal.TO_CONTINUE}{click.get_current_context().obj}"
            if options.output in (None, STANDARD_OUTPUT):
                again = "with --output a later run could continue the export"
            terminal.complain(f"{done}; {again}")
            raise
        if isinstance(output, ExportFile):
            output.complete()
        failures = list(output.failures())
        if failed_file is not None:
            for each in failures:
                notes = {"_code": each.code, "_error": each.error}
                failed_file.write({"from_account": each.account, **notes})
        return _tell(export, failures, options)


def _begin(
    users: UserList, target: Target, options: _ExportOptions, stack: contextlib.ExitStack
) -> tuple[Export, _Stream | ExportFile]:
    """Open the output; if an earlier run began it, the export continues."""
    path, guard = options.output or STANDARD_OUTPUT, options.guard
    if is_in_place(path):
        format_ = options.format or format_of(path, ROW_FORMATS, FileFormat.JSON_LINES)
        if format_ is FileFormat.PARQUET:
            refuse_usage("Parquet needs a file: give --output")
        encoding = RowEncoding(
            columns=COLUMNS, format=format_, compression=compression_of(path), guard=guard
        )
        return Export(users), _Stream(encoding, stack.enter_context(OutputFile(path)))
    file = ExportFile(
        path,
        options.format or format_of(path, ROW_FORMATS),
        f"{users.digest} of {target.name}",
        restart=options.restart,
        overwrite=options.overwrite,
        guard=guard,
    )
    begun = stack.enter_context(file).begun
    if begun.users and not options.quiet:
        done = f"{begun.users:,} of {counted(len(users), 'user')} are written already"
        terminal.log(f"continuing: {done}")
    return Export(users, begun.users, begun.rows), file


def _tell(export: Export, failures: list[FailedUser], options: _ExportOptions) -> int:
    unknown = [each.account for each in failures if each.code == _NO_SUCH_USER]
    others = {each.account: each.error for each in failures if each.code != _NO_SUCH_USER}
    is_on_stdout = options.output in (None, STANDARD_OUTPUT)
    done = len(export.users) - len(failures)
    console = terminal.Console(sys.stderr)
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
        terminal.print_json(document, err=is_on_stdout)
    elif not options.quiet:
        where = "" if is_on_stdout else f" in {options.output}"
        text = f"{counted(export.rows, 'conversation')} of {counted(done, 'user')}{where}"
        console.say(text, "bold")
        text = "more {has|have} groups or reserved bits and no marks, and {is|are} left out"
        console.say_counts((export.left_out, text, ""))
    if unknown:
        shown = terminal.first_of(unknown, len(unknown), _MOST_SHOWN)
        text = agree(len(unknown), "{user is|users are} not known to the server")
        terminal.complain(f"{len(unknown):,} {text} (50001): {shown}")
    if others:
        terminal.complain(f"{counted(len(others), 'user')} could not be read")
        console.say_errors(others, _MOST_SHOWN, indent=2)
    return endings.FAILED if failures else 0
