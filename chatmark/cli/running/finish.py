"""
What `chatmark apply` is told, and what it writes beside the marks.
"""

import contextlib
from collections.abc import Callable

import attrs

from chatmark.cli.exit_status import FAILED
from chatmark.cli.options.calling import Calling
from chatmark.cli.options.inputs import Inputs
from chatmark.cli.options.journal import Journaling
from chatmark.cli.render.console import complain
from chatmark.cli.running.sending import Ending, tell
from chatmark.jobs.output_files import OutputFile
from chatmark.jobs.reports.page import page
from chatmark.jobs.reports.report import JobReport
from chatmark.names import MarkNames


@attrs.frozen(kw_only=True)
class ApplyOptions:
    """
    The options of the command.
    """

    inputs: Inputs
    calling: Calling
    journaling: Journaling
    max_in_flight: int
    report: str | None
    html: str | None
    failed: str | None
    show: tuple[str, ...]
    dry_run: bool
    skip_unchanged: bool
    verify: bool
    quiet: bool


def send_and_tell(send: Callable[[], Ending], options: ApplyOptions, *, command: str) -> int:
    """
    Send, say how it ended, write what is to be written, and return the exit status.

    Args:
        send: Sends everything.
        options: The options of the command.
        command: The command that was given.

    Raises:
        OSError: A file cannot be begun; nothing was sent.
    """
    with contextlib.ExitStack() as stack:
        report_file, html_file = (
            None if each is None else stack.enter_context(OutputFile(each))
            for each in (options.report, options.html)
        )
        ending = send()
        status = tell(ending, options.inputs.names, command=command, quiet=options.quiet)
        try:
            if report_file is not None:
                report_file.write(ending.report.document(), indent=2)
            if html_file is not None:
                _write_page(html_file, ending.report, options.inputs.names)
            stack.close()
        except OSError as error:
            # Nobody may take it for a command that sent nothing.
            complain(f"{error.filename or 'the report'}: {error.strerror}")
            status = status or FAILED
    return status


def _write_page(file: OutputFile, report: JobReport, names: MarkNames) -> None:
    try:
        made = page(report, names=names)
    except Exception as error:  # noqa: BLE001 - a picture is no reason to lose the rest.
        complain(f"the page could not be made: {error}")
        file.keep_apart()
    else:
        file.write_text(made)
