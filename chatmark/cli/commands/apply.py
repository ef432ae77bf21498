"""`chatmark apply`: send the changes of a file."""

import contextlib

import click

from chatmark.cli.options.groups import GroupedCommand, refuse_given, takes_options
from chatmark.cli.options.shared import ApplyOptions
from chatmark.cli.running.reading import open_stream, read_to_end, tell_notes
from chatmark.cli.running.sending import apply_on_cluster, deliver
from chatmark.jobs.grouping import Loaded
from chatmark.jobs.output_files import check_outputs
from chatmark.jobs.reports.page import load_template
from chatmark.jobs.sending.feeds import ChangeStream


@click.command(
    cls=GroupedCommand,
    help="""
    Apply the changes in FILE: JSON, CSV or TSV with a header, or Parquet; - is standard input.
    Several files, folders, patterns, and URLs such as s3://bucket/marks/*.parquet are one input.

    A line is {"from_account": "user_0001", "to_account": "user_0002", "set_mark": ["favorite", 33],
    "clear_mark": ["hidden"], "custom_mark": "abcd"} with to_group_id for a group, or a request body
    of mark_contact. In CSV marks are separated by "|", a comma, a semicolon or a blank.

    chatmark checks a file to its end before it sends anything, and sends it in as few calls as
    possible: by user, all changes of a conversation as one. It checks and sends standard input row
    by row.

    With --journal the same command continues after a signal, a crash or a power cut.

    With --ray a Ray cluster reads and sends, and --journal names a folder, or a URL of one, that
    every machine reaches.
    """,
)
@click.argument("paths", nargs=-1, required=True, metavar="FILE...")
@takes_options(ApplyOptions)
def apply(paths: tuple[str, ...], options: ApplyOptions) -> int:
    if options.job.failed is None and not options.dry_run:
        refuse_given({"--max-errors": options.inputs.max_errors}, "needs --failed")
    if options.html is not None:
        # Report a missing library now, not at the end of a long job.
        load_template()
    if options.cluster is not None:
        return apply_on_cluster(options.cluster, paths, options)
    file, job = options.inputs.files(paths), options.job
    if file.is_stream:
        given = {
            "--verify": job.verify,
            "--skip-unchanged": job.skip_unchanged,
            "--journal": job.journal,
            "--undo": job.undo,
        }
        refuse_given(given, "needs a file that can be read again")
    inputs = () if file.is_stream else file.files
    check_outputs(options.outputs, [each.path for each in inputs])
    target = options.target()
    with contextlib.ExitStack() as stack:
        stream = open_stream(file, stack)
        if target is not None and stream is not None:
            stack.callback(tell_notes, file)
            source: Loaded | ChangeStream = ChangeStream(
                file, stream, max_errors=options.inputs.max_errors
            )
        else:
            read = read_to_end(paths, options.inputs, quiet=options.quiet, stream=stream)
            source = stack.enter_context(read)
        return deliver(target, source, options, options.inputs.names)
