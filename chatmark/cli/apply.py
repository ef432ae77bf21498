"""
`chatmark apply`: send the changes of a file.
"""

import asyncio
import contextlib
import os
import sys
from typing import BinaryIO

import attrs
import click

from chatmark.cli.access import Target
from chatmark.cli.app import FAILED, INTERRUPTED, WRONG
from chatmark.cli.console import complain, say, stdout_console
from chatmark.cli.options import names_option, shared_option, signer_options, target_options
from chatmark.cli.progress import display_for, sign_of_reading, watching
from chatmark.cli.summary import print_summary
from chatmark.cli.tables import print_marked
from chatmark.jobs.files import STANDARD_INPUT, ChangeFile, Checked, RowFormat, check
from chatmark.jobs.intake import Intake
from chatmark.jobs.job import Job, JobEnd
from chatmark.jobs.outcome import Outcome
from chatmark.jobs.outputs import OutputFile
from chatmark.models import MAX_USER_ID_BYTES, check_id
from chatmark.names import MarkNames


@attrs.frozen(kw_only=True)
class _Options:
    names: MarkNames
    rate: float
    timeout: float
    deadline: float
    format: str | None
    report: str | None
    failed: str | None
    show: tuple[str, ...]
    dry_run: bool
    verify: bool
    quiet: bool


@click.command()
@click.argument("path", metavar="FILE")
@target_options
@shared_option("local", is_flag=True, help="The emulator, in this process; it forgets all after.")
@signer_options
@click.option(
    "--rate",
    type=click.FloatRange(min=0),
    default=190.0,
    show_default=True,
    envvar="CHATMARK_RATE",
    help="Calls a second, 0 for as many as go. The vendor allows 200 for a whole application.",
)
@click.option(
    "--timeout",
    type=click.FloatRange(min=0.001),
    default=10.0,
    show_default=True,
    envvar="CHATMARK_TIMEOUT",
    metavar="SECONDS",
    help="For one attempt.",
)
@click.option(
    "--deadline",
    type=click.FloatRange(min=0),
    default=60.0,
    show_default=True,
    envvar="CHATMARK_DEADLINE",
    metavar="SECONDS",
    help="For one change, from its first attempt.",
)
@click.option(
    "--format",
    type=click.Choice([each.value for each in RowFormat]),
    envvar="CHATMARK_FORMAT",
    help="How rows are written, where the file's name does not tell.",
)
@names_option
@click.option("--dry-run", is_flag=True, help="Check the file, and send nothing.")
@click.option("--report", metavar="FILE", help="Write a summary as JSON.")
@click.option("--failed", metavar="FILE", help="Write what failed as rows to apply again.")
@click.option("--verify", is_flag=True, help="Read the conversations back and compare.")
@click.option("--show", multiple=True, metavar="USER", help="Show this user's marks at the end.")
@click.option("-q", "--quiet", is_flag=True, help="Say nothing unless something is wrong.")
@click.pass_context
def apply(ctx: click.Context, /, path: str, **given: object) -> int:
    """
    Apply the changes in FILE: JSON Lines, or CSV with a header; - is standard input.

    A line is {"from_account": "user_0001", "to_account": "user_0002", "set_mark": ["favorite", 33],
    "clear_mark": ["hidden"], "custom_mark": "abcd"} with to_group_id for a group, or a request body
    of mark_contact. In CSV marks are separated by "|".

    A file is checked to its end before anything is sent; standard input is checked as it is sent.
    """
    options = _Options(**given)  # type: ignore[arg-type]
    file = ChangeFile.of(
        path, None if options.format is None else RowFormat(options.format), options.names
    )
    for user in options.show:
        check_id("show", user, MAX_USER_ID_BYTES)
    if options.verify and file.is_stream:
        raise click.UsageError("--verify needs a file that can be read again", ctx)
    target = None if options.dry_run else Target.of(ctx)
    with contextlib.ExitStack() as stack:
        stream = _open_stream(file, stack)
        checked = None
        if stream is None or target is None:
            checked = _check(file, stream, options)
            if checked is None:
                return INTERRUPTED
            if checked.bad:
                return _refuse(checked)
        if target is None:
            return 0
        if options.report is not None and _is_same(options.report, file.path):
            complain(f"{options.report}: the report would replace the input")
            return WRONG
        failed_file, report_file = (
            None if each is None else stack.enter_context(OutputFile(each))
            for each in (options.failed, options.report)
        )
        job = Job(
            file,
            Intake(file, stream),
            Outcome(failed_file),
            verify=options.verify,
            users=options.show,
        )
        end = _run(job, target, options, None if checked is None else checked.changes)
        if report_file is not None:
            report_file.write(end.report.document(), indent=2)
        if failed_file is not None and failed_file.is_file(file.path) and not end.report.complete:
            # The rows that were not sent are nowhere but in the input.
            kept = failed_file.keep_apart()
            complain(f"{file.name} is left as it was; what failed is in {kept}")
    return _tell(end, job, options)


def _is_same(path: str, other: str) -> bool:
    return other != STANDARD_INPUT and os.path.realpath(path) == os.path.realpath(other)


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


def _check(file: ChangeFile, stream: BinaryIO | None, options: _Options) -> Checked | None:
    rows = file.rows() if stream is None else file.read(stream)
    try:
        with display_for(quiet=options.quiet) as display:
            checked = check(rows, sign_of_reading(display, file.name))
    except KeyboardInterrupt:
        complain(f"interrupted while {file.name} was checked: nothing was sent")
        return None
    if options.dry_run and not checked.bad and not options.quiet:
        click.echo(
            f"{file.name}: {checked.changes:,} changes in {checked.rows:,} rows, of "
            f"{checked.users} users and {checked.conversations} conversations; nothing was sent"
        )
    return checked


def _refuse(checked: Checked) -> int:
    for error in checked.errors:
        complain(str(error))
    more = checked.bad - len(checked.errors)
    shown = f", {more:,} of them not shown" if more else ""
    bad = f"{checked.bad:,} of {checked.rows:,} rows cannot be applied{shown}"
    complain(f"{bad}: nothing was sent")
    return WRONG


def _run(job: Job, target: Target, options: _Options, total: int | None) -> JobEnd:
    opened = target.session(
        rate=options.rate or None,
        # A service's single marks pass before a file.
        priority="low",
        timeout=options.timeout,
        deadline=options.deadline,
    )
    with display_for(quiet=options.quiet) as display:
        return asyncio.run(
            job.run(opened, lambda session: watching(display, lambda: session.stats, total))
        )


def _tell(end: JobEnd, job: Job, options: _Options) -> int:
    report, marks = end.report, end.report.marks
    console = stdout_console()
    if not (options.quiet and report.ok):
        print_summary(console, report, options.names)
    for user, marked in end.marked.items():
        say(console, "")
        print_marked(console, user, marked, options.names)
    sys.stdout.flush()
    if job.outcome.refused is not None:
        complain(f"the server refuses this application: {job.outcome.refused}")
    if end.error is not None:
        complain(f"the marks could not be read back: {end.error}")
    if job.intake.error is not None:
        complain(str(job.intake.error))
        complain(f"reading stopped there: {marks.succeeded:,} changes before it took effect")
        return WRONG
    if report.interrupted:
        complain(
            f"interrupted: {marks.succeeded:,} changes took effect, {marks.failed:,} failed, the "
            "rest was not sent; the same command may be given again"
        )
        return INTERRUPTED
    return 0 if report.ok and end.error is None else FAILED
