"""
`chatmark apply`: send the changes of a file.
"""

import contextlib
import os

import click

from chatmark.cli.exit_status import WRONG
from chatmark.cli.options.access import server_or_local_options
from chatmark.cli.options.calling import calling_options
from chatmark.cli.options.groups import GroupedCommand
from chatmark.cli.options.inputs import input_options
from chatmark.cli.options.job import job_options
from chatmark.cli.options.ray import Cluster, ray_options
from chatmark.cli.render.console import complain
from chatmark.cli.running.loading import open_stream, read_to_end, tell_dry_run
from chatmark.cli.running.on_ray import apply_on_cluster
from chatmark.cli.running.outcome import ApplyOptions, send_and_tell
from chatmark.cli.running.sending import send
from chatmark.cli.running.signals import sigterm_interrupts
from chatmark.conversations import check_id
from chatmark.jobs.grouping.loading import Loaded
from chatmark.jobs.journal.database import ChangedInputError
from chatmark.jobs.reports.page import load_template
from chatmark.jobs.sending.stream import ChangeStream
from chatmark.jobs.sources.files import ChangeFile
from chatmark.limits import MAX_USER_ID_BYTES


@click.command(
    cls=GroupedCommand,
    help="""
    Apply the changes in FILE: JSON Lines, CSV with a header, or Parquet; - is standard input.

    A line is {"from_account": "user_0001", "to_account": "user_0002", "set_mark": ["favorite", 33],
    "clear_mark": ["hidden"], "custom_mark": "abcd"} with to_group_id for a group, or a request body
    of mark_contact. In CSV marks are separated by "|".

    A file is checked to its end before anything is sent, and sent in as few calls as can be: by
    user, the changes of one conversation as one. Standard input is checked and sent as it comes.

    With --journal the same command continues after a signal, a crash or a power cut.

    With --ray it runs on a Ray cluster, FILEs may be several, folders and URLs such as
    s3://bucket/marks/*.parquet, and what --failed names is a folder of Parquet files.
    """,
)
@click.argument("paths", nargs=-1, required=True, metavar="FILE...")
@server_or_local_options
@calling_options
@input_options
@job_options
@ray_options
@click.option("--dry-run", is_flag=True, help="Check the file, and send nothing.")
@click.option("--report", metavar="FILE", help="Write a summary as JSON.")
@click.option("--html", metavar="FILE", help="Write a page about the job, with a plot of it.")
@click.option("--show", multiple=True, metavar="USER", help="Show this user's marks at the end.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing unless something is wrong.")
@click.pass_context
def apply(
    ctx: click.Context, /, paths: tuple[str, ...], cluster: Cluster | None, **given: object
) -> int:
    options = ApplyOptions(**given)  # type: ignore[arg-type]
    if options.inputs.max_errors and options.job.failed is None and not options.dry_run:
        raise click.UsageError("--max-errors needs --failed, for the rows that are set aside", ctx)
    if options.html is not None:
        # A missing library is reported now, not at the end of a long job.
        load_template()
    if cluster is not None:
        return apply_on_cluster(ctx, cluster, paths, options)
    path, *more = paths
    if more:
        raise click.UsageError("several files at once need --ray", ctx)
    return _apply(ctx, path, options)


def _apply(ctx: click.Context, path: str, options: ApplyOptions) -> int:
    file = options.inputs.file(path)
    for user in options.show:
        check_id("show", user, MAX_USER_ID_BYTES)
    _check_usage(ctx, file, options)
    target = None if options.dry_run else options.access.target()
    if target is not None and not target.name and options.job.journal is not None:
        raise click.UsageError("--journal needs a server that outlives this process", ctx)
    with sigterm_interrupts(), contextlib.ExitStack() as stack:
        stream = open_stream(file, stack)
        if target is not None and stream is not None:
            source: Loaded | ChangeStream = ChangeStream(
                file, stream, max_errors=options.inputs.max_errors
            )
        else:
            read = read_to_end(path, options.inputs, quiet=options.quiet, stream=stream)
            source = stack.enter_context(read)
            if target is None:
                if not options.quiet:
                    tell_dry_run(file.name, read.rows, read.bad, read.spool.size)
                return 0
        try:
            return send_and_tell(lambda: send(target, source, options), options, command=ctx.obj)
        except ChangedInputError as error:
            complain(str(error))
            complain("nothing was sent; --accept-changed-input goes on, and sends what changed")
            return WRONG


def _check_usage(ctx: click.Context, file: ChangeFile, options: ApplyOptions) -> None:
    """Refuse options that do not go together."""
    job = options.job
    if file.is_stream:
        for option, is_given in (
            ("--verify", job.verify),
            ("--skip-unchanged", job.skip_unchanged),
            ("--journal", job.journal is not None),
        ):
            if is_given:
                raise click.UsageError(f"{option} needs a file that can be read again", ctx)
    outputs = {
        "--report": options.report,
        "--html": options.html,
        "--journal": job.journal,
        "--failed": job.failed,
    }
    taken = {} if file.is_stream else {os.path.realpath(file.path): "the input"}
    for option, path in outputs.items():
        if path is None:
            continue
        real = os.path.realpath(path)
        # The file of failures may replace the input, once all of it was sent.
        if real in taken and not (option == "--failed" and taken[real] == "the input"):
            raise click.UsageError(f"{path}: {option} would replace {taken[real]}", ctx)
        taken[real] = f"what {option} writes"
