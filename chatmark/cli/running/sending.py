"""
Sending a file from the command line, and telling how it ended.
"""

import sys
from collections.abc import Sequence
from typing import Any, final

import attrs

from chatmark.cli.exit_status import FAILED, INTERRUPTED, WRONG
from chatmark.cli.options.target import Target
from chatmark.cli.render.console import complain, say, stdout_console
from chatmark.cli.render.marks import print_marked
from chatmark.cli.render.progress import Display, sign_of_progress
from chatmark.cli.render.summary import print_summary
from chatmark.cli.running.garbage import rare_collections
from chatmark.cli.running.signals import stoppable
from chatmark.errors import ChatmarkError, RefusedError
from chatmark.jobs.grouping.loading import Loaded
from chatmark.jobs.options import Control, JobOptions
from chatmark.jobs.reports.report import JobReport
from chatmark.jobs.running import run_loaded, run_stream
from chatmark.jobs.sending.stream import ChangeStream
from chatmark.models import MarkedConversation
from chatmark.names import MarkNames


@attrs.define
class Ending:
    """
    How a command ended.

    Args:
        report: What became of the file.
        marked: The marked conversations of the users that were asked for.
        error: Why these could not be had.
        can_go_on: Whether a journal would let the command go on where it stopped.
    """

    report: JobReport
    marked: dict[str, list[MarkedConversation]] = attrs.field(
        factory=dict[str, list[MarkedConversation]]
    )
    error: ChatmarkError | None = None
    can_go_on: bool = True


@final
class Sending:
    """
    Applies a file through a session of its own.

    Args:
        target: Where to.
        source: What.
        options: How.
        display: Shows how it is doing.
    """

    def __init__(
        self, target: Target, source: Loaded | ChangeStream, options: JobOptions, display: Display
    ) -> None:
        self._target = target
        self._source = source
        self._options = attrs.evolve(options, interval=min(display.interval, options.interval))
        self._display = display

    async def run(self, users: Sequence[str], **calling: Any) -> Ending:
        """
        Send everything, and look at some users at the end.

        Args:
            users: Whose marked conversations to read.
            **calling: Options of the session.

        Raises:
            JournalError: The journal cannot be used; nothing was sent.
            OSError: An output cannot be begun; nothing was sent.
        """
        control = Control()
        # A service's single marks pass before a file.
        async with self._target.session(priority="low", **calling) as session:
            with stoppable(control, session), rare_collections():
                sign = sign_of_progress(self._display)
                source, options = self._source, self._options
                if isinstance(source, Loaded):
                    report = await run_loaded(
                        session, source, options, on_progress=sign, control=control
                    )
                else:
                    report = await run_stream(
                        session, source, options, on_progress=sign, control=control
                    )
                ending = Ending(report)
                if report.complete:
                    await self._look(session, users, ending)
        return ending

    async def _look(self, session: Any, users: Sequence[str], ending: Ending) -> None:
        try:
            for user in users:
                ending.marked[user] = [each async for each in session.marked(user)]
        except ChatmarkError as error:
            ending.error = error


def tell(ending: Ending, names: MarkNames, *, command: str, quiet: bool) -> int:
    """
    Say how it ended, and return the exit status.

    Args:
        ending: How.
        names: A team's own names for its extension bits.
        command: The command that was given.
        quiet: Whether to say nothing where all is well.
    """
    report = ending.report
    console = stdout_console()
    if not (quiet and report.ok):
        print_summary(console, report, names)
    for user, marked in ending.marked.items():
        say(console, "")
        print_marked(console, user, marked, names)
    sys.stdout.flush()
    for message in _complaints(ending):
        complain(message)
    if report.bad_row is not None:
        applied = report.accounts.applied
        complain(f"reading stopped there: {applied:,} changes before it took effect")
        return WRONG
    if report.complete and not report.ok and report.journal is not None:
        complain(
            f"{report.journal} stays, since not everything took effect; without it all begins anew"
        )
    if not report.complete:
        complain(_how_to_go_on(report, command, can_go_on=ending.can_go_on))
    if report.interrupted:
        return INTERRUPTED
    return 0 if report.ok and ending.error is None else FAILED


def _complaints(ending: Ending) -> list[str]:
    report = ending.report
    said: list[str] = []
    if not report.accounts.is_balanced:
        said.append(f"the accounts do not balance, which is a fault of chatmark: {report.accounts}")
    if isinstance(report.stopped, RefusedError):
        said.append(f"the server refuses this application: {report.stopped}")
    elif isinstance(report.stopped, OSError) and not isinstance(report.stopped, ChatmarkError):
        where = "" if report.stopped.filename is None else f"{report.stopped.filename}: "
        said.append(f"stopped: {where}{report.stopped.strerror or report.stopped}")
    elif report.stopped is not None:
        said.append(f"stopped: {report.stopped}")
    if report.unwritten:
        said.append(
            f"{report.unwritten:,} conversations are settled of which the journal does not know: "
            "they will be sent again, which does no harm"
        )
    unread = report.unverified or ending.error
    if unread is not None:
        said.append(f"the marks could not be read back: {unread}")
    if report.failed_file is not None:
        said.append(f"{report.file} is left as it was; what failed is in {report.failed_file}")
    if report.bad_row is not None:
        said.append(report.bad_row)
    return said


def _how_to_go_on(report: JobReport, command: str, *, can_go_on: bool) -> str:
    accounts = report.accounts
    how = "interrupted" if report.interrupted else "not finished"
    state = f"{how}: {accounts.settled:,} of {accounts.total:,} changes are settled"
    if report.journal is not None:
        return f"{state}; this goes on where it stopped: {command}"
    hint = " (with --journal FILE it would go on where it stopped)" if can_go_on else ""
    return (
        f"{state}; the same command may be given again, and sends everything again, which does no "
        f"harm{hint}"
    )
