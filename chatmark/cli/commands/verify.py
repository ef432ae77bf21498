"""
`chatmark verify`: whether the server has what a file wants.
"""

import contextlib
import json
from typing import TYPE_CHECKING

import attrs
import click

from chatmark.cli.exit_status import FAILED, INTERRUPTED
from chatmark.cli.options.access import Access, server_options
from chatmark.cli.options.calling import Calling, calling_options
from chatmark.cli.options.groups import GroupedCommand
from chatmark.cli.options.inputs import Inputs, input_options
from chatmark.cli.options.target import Target
from chatmark.cli.render.console import complain, say, stdout_console
from chatmark.cli.render.readback import print_read_back
from chatmark.cli.running.loading import read_to_end
from chatmark.cli.running.reading import reading_session, run_to_end
from chatmark.jobs.output_files import OutputFile
from chatmark.jobs.server.readback import Difference, ReadBack, read_back

if TYPE_CHECKING:
    from chatmark.jobs.grouping.spool import Spool


@attrs.frozen(kw_only=True)
class _Options:
    access: Access
    inputs: Inputs
    calling: Calling
    differing: str | None
    as_json: bool
    quiet: bool


@click.command(
    cls=GroupedCommand,
    help="""
    Read back what FILE changes, and compare; nothing is sent.

    All rows of a conversation are taken together. Exit status 1 means that something differs, or
    could not be read. The vendor's own clients clear hidden and unread when a message comes or a
    conversation is opened: where nothing else is missing, it is said.
    """,
)
@click.argument("path", metavar="FILE")
@server_options
@calling_options
@input_options
@click.option("--differing", metavar="FILE", help="Write what differs as rows to apply again.")
@click.option("--json", "as_json", is_flag=True, help="Print what was found as JSON.")
@click.option("-q", "--quiet", is_flag=True, help="Show no progress.")
def verify(path: str, **given: object) -> int:
    options = _Options(**given)  # type: ignore[arg-type]
    target = options.access.target()
    result = ReadBack()
    is_interrupted = False
    with (
        read_to_end(path, options.inputs, quiet=options.quiet) as read,
        contextlib.ExitStack() as stack,
    ):
        differing = None
        if options.differing is not None:
            differing = stack.enter_context(OutputFile(options.differing))
        try:
            run_to_end(_read(read.spool, result, target, options, differing))
        except click.Abort:
            is_interrupted = True
            if differing is not None:
                differing.keep_apart()
    ok = result.ok and not read.bad and not is_interrupted
    document = {"file": read.name, "ok": ok, "set_aside": read.bad, **result.document()}
    if options.as_json:
        click.echo(json.dumps(document, indent=2))
    else:
        console = stdout_console()
        say(console, f"{read.name}: {result.conversations:,} conversations read back", "bold")
        print_read_back(console, result, options.inputs.names)
    if is_interrupted:
        left = len(read.spool) - result.conversations
        complain(f"interrupted: {left:,} conversations were not read; nothing was changed")
        return INTERRUPTED
    if read.bad:
        complain(f"rows that cannot be read, and so were not compared: {read.bad:,}")
    return 0 if ok else FAILED


async def _read(
    spool: "Spool",
    result: ReadBack,
    target: Target,
    options: _Options,
    differing: OutputFile | None,
) -> None:
    def write(difference: Difference) -> None:
        if differing is not None:
            differing.write(difference.row())

    async with reading_session(
        target,
        options.calling,
        quiet=options.quiet,
        things="conversations",
        total=len(spool),
        done=lambda: result.conversations,
    ) as session:
        await read_back(session, spool, result, write)
