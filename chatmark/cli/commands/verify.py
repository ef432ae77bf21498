"""`chatmark verify`: compare the server with a file."""

import contextlib
import json
from typing import TYPE_CHECKING

import attrs
import click

from chatmark.cli.exit_status import FAILED, INTERRUPTED
from chatmark.cli.options.groups import GroupedCommand, option, takes_options
from chatmark.cli.options.reading import ComparingOptions
from chatmark.cli.options.target import Target
from chatmark.cli.render.console import complain, say, stdout_console
from chatmark.cli.render.readback import print_read_back
from chatmark.cli.running.loading import read_to_end
from chatmark.cli.running.outcome import open_output
from chatmark.cli.running.reading import reading_session, run_to_end
from chatmark.jobs.output_files import OutputFile
from chatmark.jobs.server.readback import Difference, ReadBack, read_back

if TYPE_CHECKING:
    from chatmark.jobs.grouping.spool import Spool


@attrs.frozen(kw_only=True)
class _Options(ComparingOptions):
    differing: str | None = option("Write what differs as rows to apply again.", metavar="FILE")


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
    result = ReadBack()
    is_interrupted = False
    with (
        read_to_end(paths, options.inputs, quiet=options.quiet) as read,
        contextlib.ExitStack() as stack,
    ):
        differing = open_output(options.differing, stack)
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
        complain(f"{read.bad:,} rows cannot be read and were not compared")
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
        target, options, "conversations", len(spool), lambda: result.conversations
    ) as session:
        await read_back(session, spool, result, write)
