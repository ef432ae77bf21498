"""The end of `chatmark apply`: the summary, the report files, and the exit status."""

import contextlib
import sys
from collections.abc import Callable

import attrs
import click

from chatmark import ChatmarkError, MarkedConversation, MarkNames
from chatmark.cli.exit_status import FAILED, INTERRUPTED, WRONG
from chatmark.cli.options.apply import ApplyOptions
from chatmark.cli.render.console import complain, say, stdout_console
from chatmark.cli.render.marks import print_marked
from chatmark.cli.render.summary import print_summary
from chatmark.jobs.output_files import OutputFile
from chatmark.jobs.reports.page import page
from chatmark.jobs.reports.report import JobReport


@attrs.define
class Sent:
    """
    The result of sending.

    Args:
        report: The report of the job.
        marked: The marked conversations of the users of --show.
        error: The error of reading them.
        can_resume: Whether a journal would let the command continue where it stopped.
    """

    report: JobReport
    marked: dict[str, list[MarkedConversation]] = attrs.field(
        factory=dict[str, list[MarkedConversation]]
    )
    error: ChatmarkError | None = None
    can_resume: bool = True


def send_and_report(send: Callable[[], Sent], options: ApplyOptions) -> int:
    """Send, print the summary, write the report and the page, and return the exit status."""
    with contextlib.ExitStack() as stack:
        report_file, html_file = (
            open_output(each, stack) for each in (options.report, options.html)
        )
        sent = send()
        status = _print_outcome(sent, options)
        try:
            if report_file is not None:
                report_file.write(sent.report.document(), indent=2)
            if html_file is not None:
                _write_page(html_file, sent.report, options.inputs.names)
            stack.close()
        except OSError as error:
            # Exit status 2 would mean that nothing was sent.
            complain(f"{error.filename or 'the report'}: {error.strerror}")
            status = status or FAILED
    return status


def _write_page(file: OutputFile, report: JobReport, names: MarkNames) -> None:
    try:
        made = page(report, names=names)
    except Exception as error:  # noqa: BLE001 - the other results matter more.
        complain(f"the page of --html could not be made: {error}")
        file.keep_apart()
    else:
        file.write_text(made)


def open_output(path: str | None, stack: contextlib.ExitStack) -> OutputFile | None:
    """Open a file that takes its name when the stack closes, unless the path is None."""
    return None if path is None else stack.enter_context(OutputFile(path))


def _print_outcome(sent: Sent, options: ApplyOptions) -> int:
    report, names = sent.report, options.inputs.names
    console = stdout_console()
    if not (options.quiet and report.ok):
        print_summary(console, report, names)
    for user, marked in sent.marked.items():
        say(console, "")
        print_marked(console, user, marked, names)
    sys.stdout.flush()
    for message in _complaints(sent):
        complain(message)
    if report.bad_row is not None:
        applied = report.accounts.applied
        complain(f"reading stopped there; {applied:,} changes before that row took effect")
        return WRONG
    if report.complete and not report.ok and report.journal is not None:
        complain(f"not everything took effect; keep {report.journal} for the next run")
    if not report.complete:
        complain(_how_to_continue(report, can_resume=sent.can_resume))
    if report.interrupted:
        return INTERRUPTED
    return 0 if report.ok and sent.error is None else FAILED


def _complaints(sent: Sent) -> list[str]:
    report = sent.report
    lines: list[str] = []
    if not report.accounts.is_balanced:
        lines.append(f"the accounts do not balance; report this bug of chatmark: {report.accounts}")
    if report.stopped is not None:
        lines.append(report.verdict)
    if report.unwritten:
        lines.append(
            f"{report.unwritten:,} settled conversations are not in the journal; the next run "
            "sends them again, which does no harm"
        )
    unread = report.unverified or sent.error
    if unread is not None:
        lines.append(f"the marks could not be read back: {unread}")
    if report.failed_file is not None:
        lines.append(f"{report.file} is unchanged; what failed is in {report.failed_file}")
    if report.bad_row is not None:
        lines.append(report.bad_row)
    return lines


def _how_to_continue(report: JobReport, *, can_resume: bool) -> str:
    accounts = report.accounts
    how = "interrupted" if report.interrupted else "not finished"
    state = f"{how}: {accounts.settled:,} of {accounts.total:,} changes are settled"
    if report.journal is not None:
        return f"{state}; to continue: {click.get_current_context().obj}"
    hint = "; with --journal FILE it would continue where it stopped" if can_resume else ""
    return f"{state}; the same command sends everything again, which does no harm{hint}"
