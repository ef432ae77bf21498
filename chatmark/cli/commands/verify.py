"""`chatmark verify`: compare the server with a file."""

import contextlib
from typing import TYPE_CHECKING

import attrs
import click

from chatmark.cli.exit_status import FAILED, status_of_unread
from chatmark.cli.options.access import Target
from chatmark.cli.options.groups import GroupedCommand, file_option, option, takes_options
from chatmark.cli.options.shared import ComparingOptions
from chatmark.cli.render.console import print_json
from chatmark.cli.render.log import complain
from chatmark.cli.render.summary import print_read_back
from chatmark.cli.running.reading import read_to_end, reading_session, run_to_end
from chatmark.cli.running.sending import summary_console
from chatmark.cli.running.signals import interrupted_status
from chatmark.jobs.counting import agree, counted
from chatmark.jobs.output_files import check_outputs
from chatmark.jobs.row_files import DIFFERENCES, RowFile
from chatmark.jobs.server import Difference, ReadBack, read_back, read_back_exactly

if TYPE_CHECKING:
    from chatmark.jobs.grouping import Spool


@attrs.frozen(kw_only=True)
class _Options(ComparingOptions):
    exact: bool = option(
        "Compare everything that the users have: what no row sets must not be there.", False
    )
    differing: str | None = file_option("Write what differs as rows to apply again.")


@click.command(
    cls=GroupedCommand,
    help="""
    Read the conversations of FILE back, and compare them with its rows; nothing is sent.

    All rows of a conversation count together. Exit status 1 means that something differs, or could
    not be read. The vendor's clients clear hidden and unread when a message arrives or a
    conversation is opened: conversations that lack only these are counted apart.
    """,
)
@click.argument("paths", nargs=-1, required=True, metavar="FILE...")
@takes_options(_Options)
def verify(paths: tuple[str, ...], options: _Options) -> int:
    target = options.access.target()
    outputs = {"--differing": options.differing}
    check_outputs(outputs, [each.path for each in options.inputs.files(paths).files])
    result = ReadBack()
    is_interrupted = False
    with (
        read_to_end(paths, options.inputs, quiet=options.quiet) as read,
        contextlib.ExitStack() as stack,
    ):
        differing = None
        if options.differing is not None:
            differing = stack.enter_context(RowFile(options.differing, DIFFERENCES))
        try:
            run_to_end(_read(read.spool, result, target, options, differing))
        except click.Abort:
            is_interrupted = True
            if differing is not None:
                differing.keep_apart()
    ok = result.ok and not read.bad and not is_interrupted
    if options.as_json:
        document = {"file": read.name, "ok": ok, "exact": options.exact, "set_aside": read.bad}
        print_json(document | result.document())
    else:
        console = summary_console(outputs)
        counts = counted(result.conversations, "conversation")
        console.say(f"{read.name}: {counts} read back", "bold")
        print_read_back(console, result, options.inputs.names)
    if is_interrupted:
        left = read.spool.units - result.conversations
        text = agree(left, "{conversation was|conversations were} not read; nothing was changed")
        complain(f"interrupted: {left:,} {text}")
        return interrupted_status()
    if read.bad:
        complain(f"{counted(read.bad, 'row')} cannot be read and took no part in this")
    return 0 if ok else status_of_unread(result.errors.values()) or FAILED


async def _read(
    spool: "Spool", result: ReadBack, target: Target, options: _Options, differing: RowFile | None
) -> None:
    def write(difference: Difference) -> None:
        if differing is not None:
            differing.write(difference.row())

    async with reading_session(
        target, options, "verify", "conversations", spool.units, lambda: result.conversations
    ) as session:
        read = read_back_exactly if options.exact else read_back
        await read(session, spool, result, write)
