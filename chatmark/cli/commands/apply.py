"""
`chatmark apply`: send the changes of a file.
"""

import asyncio
import contextlib
import os
import sys
from typing import BinaryIO

import click

from chatmark.cli.exit_status import INTERRUPTED, WRONG
from chatmark.cli.options.calling import calling_options, in_flight_option
from chatmark.cli.options.inputs import input_options
from chatmark.cli.options.journal import journal_options
from chatmark.cli.options.shared import shared_option, signer_options, target_options
from chatmark.cli.options.target import Target
from chatmark.cli.render.console import complain
from chatmark.cli.render.progress import display_for, sign_of_reading
from chatmark.cli.running.finish import ApplyOptions, send_and_tell
from chatmark.cli.running.loading import tell_bad_rows
from chatmark.cli.running.on_ray import OnRay, ray_options
from chatmark.cli.running.sending import Ending, Sending
from chatmark.cli.running.signals import sigterm_interrupts
from chatmark.jobs.grouping.loading import BadRowsError, Loaded, load
from chatmark.jobs.journal.database import ChangedInputError
from chatmark.jobs.options import JobOptions
from chatmark.jobs.reports.page import load_template
from chatmark.jobs.sending.stream import ChangeStream
from chatmark.jobs.sources.files import STANDARD_INPUT, ChangeFile
from chatmark.models import MAX_USER_ID_BYTES, check_id


@click.command()
@click.argument("paths", nargs=-1, required=True, metavar="FILE...")
@target_options
@shared_option("local", is_flag=True, help="The emulator, in this process; it forgets all after.")
@signer_options
@calling_options
@in_flight_option
@input_options
@journal_options
@ray_options
@click.option("--dry-run", is_flag=True, help="Check the file, and send nothing.")
@click.option("--skip-unchanged", is_flag=True, help="Read what is there; send what changes it.")
@click.option("--report", metavar="FILE", help="Write a summary as JSON.")
@click.option("--html", metavar="FILE", help="Write a page about the job, with a plot of it.")
@click.option("--failed", metavar="FILE", help="Write what failed as rows to apply again.")
@click.option("--verify", is_flag=True, help="Read the conversations back and compare.")
@click.option("--show", multiple=True, metavar="USER", help="Show this user's marks at the end.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing unless something is wrong.")
@click.pass_context
def apply(
    ctx: click.Context, /, paths: tuple[str, ...], onray: OnRay | None, **given: object
) -> int:
    """
    Apply the changes in FILE: JSON Lines, CSV with a header, or Parquet; - is standard input.

    A line is {"from_account": "user_0001", "to_account": "user_0002", "set_mark": ["favorite", 33],
    "clear_mark": ["hidden"], "custom_mark": "abcd"} with to_group_id for a group, or a request body
    of mark_contact. In CSV marks are separated by "|".

    A file is checked to its end before anything is sent, and sent in as few calls as can be: by
    user, the changes of one conversation as one. Standard input is checked and sent as it comes.

    With --journal the same command goes on where it stopped, whatever stopped it.

    With --ray it runs on a Ray cluster, FILEs may be several, folders and URLs such as
    s3://bucket/marks/*.parquet, and what --failed names is a folder of Parquet files.
    """
    options = ApplyOptions(**given)  # type: ignore[arg-type]
    if onray is not None:
        return onray.apply(ctx, paths, options)
    path, *more = paths
    if more:
        raise click.UsageError("several files at once need --ray", ctx)
    file = options.inputs.file(path)
    for user in options.show:
        check_id("show", user, MAX_USER_ID_BYTES)
    _check_usage(ctx, file, options)
    target = None if options.dry_run else Target.of(ctx)
    if target is not None and not target.name and options.journaling.path is not None:
        raise click.UsageError("--journal needs a server that outlives this process", ctx)
    with sigterm_interrupts(), contextlib.ExitStack() as stack:
        stream = _open_stream(file, stack)
        if target is None or stream is None:
            loaded = _load(file, stream, options)
            if isinstance(loaded, int):
                return loaded
            source: Loaded | ChangeStream = stack.enter_context(loaded)
        else:
            source = ChangeStream(file, stream, max_errors=options.inputs.max_errors)
        return 0 if target is None else _apply(target, source, options, command=ctx.obj)


def _apply(
    target: Target, source: Loaded | ChangeStream, options: ApplyOptions, *, command: str
) -> int:
    try:
        return send_and_tell(lambda: _send(target, source, options), options, command=command)
    except ChangedInputError as error:
        complain(str(error))
        complain("nothing was sent; --accept-changed-input goes on, and sends what changed")
        return WRONG


def _send(target: Target, source: Loaded | ChangeStream, options: ApplyOptions) -> Ending:
    calling = {**options.calling.options, "max_in_flight": options.max_in_flight}
    with display_for(quiet=options.quiet) as display:
        sending = Sending(target, source, _job_options(target, options), display)
        return asyncio.run(sending.run(options.show, **calling))


def _check_usage(ctx: click.Context, file: ChangeFile, options: ApplyOptions) -> None:
    """
    Refuse options that do not go together.
    """
    if file.is_stream:
        for option, is_given in (
            ("--verify", options.verify),
            ("--skip-unchanged", options.skip_unchanged),
            ("--journal", options.journaling.path is not None),
        ):
            if is_given:
                raise click.UsageError(f"{option} needs a file that can be read again", ctx)
    if options.inputs.max_errors and options.failed is None and not options.dry_run:
        raise click.UsageError("--max-errors needs --failed, for the rows that are set aside", ctx)
    if options.html is not None:
        # What is missing is missed now, not when a long job has ended.
        load_template()
    outputs = {
        "--report": options.report,
        "--html": options.html,
        "--journal": options.journaling.path,
        "--failed": options.failed,
    }
    taken = {} if file.is_stream else {os.path.realpath(file.path): "the input"}
    for option, path in outputs.items():
        if path is None:
            continue
        real = os.path.realpath(path)
        # What failed may take the place of the input, once all of it was sent.
        if real in taken and not (option == "--failed" and taken[real] == "the input"):
            raise click.UsageError(f"{path}: {option} would replace {taken[real]}", ctx)
        taken[real] = f"what {option} writes"


def _job_options(target: Target, options: ApplyOptions) -> JobOptions:
    journaling = options.journaling
    return JobOptions(
        journal=journaling.path,
        target=target.name,
        keep_journal=journaling.keep,
        accept_changed_input=journaling.accept_changed_input,
        journal_sync=journaling.sync,
        failed=options.failed,
        skip_unchanged=options.skip_unchanged,
        verify=options.verify,
        budget=options.calling.rate,
    )


def _open_stream(file: ChangeFile, stack: contextlib.ExitStack) -> BinaryIO | None:
    """
    Open what can be read only once; a file is opened whenever it is read.
    """
    if file.path == STANDARD_INPUT:
        # A thread that waits in the buffered reader would hold its lock when the process ends.
        raw = getattr(sys.stdin.buffer, "raw", None)
        return sys.stdin.buffer if raw is None else open(raw.fileno(), "rb", closefd=False)
    if file.is_stream:
        return stack.enter_context(open(file.path, "rb"))  # noqa: PTH123
    return None


def _load(file: ChangeFile, stream: BinaryIO | None, options: ApplyOptions) -> Loaded | int:
    """
    Read the file to its end; return what it holds, or the exit status.
    """
    rows = file.rows() if stream is None else file.read(stream)
    try:
        with display_for(quiet=options.quiet) as display:
            sign = sign_of_reading(display, file.name)
            loaded = load(file.name, rows, max_errors=options.inputs.max_errors, sign=sign)
    except KeyboardInterrupt:
        complain(f"interrupted while {file.name} was checked: nothing was sent")
        return INTERRUPTED
    except BadRowsError as error:
        tell_bad_rows(error)
        return WRONG
    if options.dry_run and not options.quiet:
        spool = loaded.spool
        bad = f"; {loaded.bad:,} rows would be set aside" if loaded.bad else ""
        click.echo(
            f"{file.name}: {spool.changes:,} changes in {loaded.rows:,} rows, of {spool.users:,} "
            f"users and {spool.units:,} conversations: {spool.calls:,} calls{bad}; nothing was sent"
        )
    return loaded
