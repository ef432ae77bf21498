"""Sending an input, and telling its outcome: for the commands that send changes."""

import asyncio
import contextlib
import functools
import gc
import json
import sys
from collections.abc import Callable, Coroutine, Generator, Iterator, Mapping, Sequence
from typing import Any, ClassVar, Final

import attrs
import click

from chatmark import ChatmarkError, MarkedConversation
from chatmark.cli import endings, terminal
from chatmark.cli.access import Calls, Target
from chatmark.cli.options import (
    Names,
    declare,
    json_option,
    option,
    quiet_option,
    refuse_given,
)
from chatmark.cli.reading import Display
from chatmark.cli.summary import print_marked, print_summary
from chatmark.conversations import check_id
from chatmark.jobs import ChangedInputError, Control, JobOptions, JobReport, Loaded, page
from chatmark.jobs.counting import agree, counted
from chatmark.jobs.grouping import Size
from chatmark.jobs.output_files import STANDARD_OUTPUT, OutputFile
from chatmark.jobs.running import run_loaded, run_stream
from chatmark.jobs.sending.feeds import ChangeStream
from chatmark.limits import MAX_USER_ID_BYTES

# New objects between two collections. A job holds some 40,000, and frees them by reference counts.
_YOUNG: Final = 20_000
_journal = functools.partial(declare, title="Journal")
_of_job = functools.partial(declare, title="Job")
_output = functools.partial(option, title="Output")


@attrs.frozen(kw_only=True)
class Sending(Calls, Names, JobOptions):
    """The options of a job, which get their server and their rate when it begins."""

    INHERITED: ClassVar = {
        "journal": _journal(
            "Note in FILE what is settled; the same command continues where it stopped.", "FILE"
        ),
        "journal_sync": _journal("The most that a loss of power may cost.", "SECONDS"),
        "keep_journal": _journal("Keep the journal when everything took effect."),
        "accept_changed_input": _journal(
            "Continue although rows have changed: the users of these rows are sent whole."
        ),
        "undo": _of_job("Write first the rows that restore what was.", "FILE"),
        "skip_unchanged": _of_job("Read what is there; send what changes it."),
        "verify": _of_job("Read the conversations back and compare."),
        "failed": _of_job("Write what failed as rows to apply again.", "FILE"),
    }
    local: bool = option(
        "The emulator, in this process; its marks end with the process.", False, title="Server"
    )
    dry_run: bool = option("Check everything, and send nothing.", False)
    report: str | None = _output("Write a summary as JSON.", metavar="FILE")
    html: str | None = _output("Write a page about the job, with a plot of it.", metavar="FILE")
    as_json: bool = json_option("Print the summary as JSON.", title="Output")
    show: tuple[str, ...] = _output("Show this user's marks at the end.", (), "USER")
    quiet: bool = quiet_option("Print nothing but errors.", title="Output")

    @property
    def outputs(self) -> dict[str, str | None]:
        names = ("report", "html", "journal", "failed", "undo")
        return {f"--{name}": getattr(self, name) for name in names}

    def choose_server(self) -> Target | None:
        """Return the server, None with --dry-run; refuse options that do not fit."""
        if self.journal is None:
            refuse_given({"--keep-journal": self.keep_journal}, "needs --journal")
            refuse_given({"--accept-changed-input": self.accept_changed_input}, "needs --journal")
        for user in self.show:
            check_id("show", user, MAX_USER_ID_BYTES)
        if self.dry_run:
            return None
        target = self.choose_target()
        if not target.name:
            refuse_given({"--journal": self.journal}, "needs another server than --local")
        return target


# The report of a job, and the marks of the users of --show.
Sent = tuple[JobReport, Mapping[str, Sequence[MarkedConversation]]]


def deliver(target: Target | None, source: Loaded | ChangeStream, options: Sending) -> int:
    """Send an input, tell the outcome, and return the exit status; only tell without a target."""
    if target is not None:
        return send_and_report(functools.partial(_send, target, source, options), options)
    if isinstance(source, Loaded):
        print_dry_run(source.name, source.rows, source.bad, source.spool.size, options)
    return 0


async def _send(
    target: Target, source: Loaded | ChangeStream, options: Sending, display: Display
) -> Sent:
    control = Control()
    job = attrs.evolve(
        options,
        target=target.name,
        calls_per_second=target.rate,
        interval=min(display.interval, options.interval),
    )
    watch: dict[str, Any] = {"on_progress": display.show, "control": control}
    # Single marks of a service take precedence over a file.
    async with target.session("low") as session:
        close = functools.partial(session.close, send_waiting=False)
        with endings.stoppable(control, close), rare_collections():
            if isinstance(source, Loaded):
                report = await run_loaded(session, source, job, **watch)
            else:
                report = await run_stream(session, source, job, **watch)
            marked: dict[str, list[MarkedConversation]] = {}
            try:
                for user in options.show if report.complete else ():
                    marked[user] = [each async for each in session.marked(user)]
            except ChatmarkError as error:
                report = attrs.evolve(report, unverified=error)
    return report, marked


@contextlib.contextmanager
def rare_collections() -> Generator[None]:
    """
    Collect garbage rarely while the block runs, and skip older objects.

    By default the collector walks all modules and all pending changes once every few hundred
    changes, a tenth of a job's time. A program may change this for its process, a library may not.
    """
    before = gc.get_threshold()
    gc.freeze()
    gc.set_threshold(_YOUNG, *before[1:])
    try:
        yield
    finally:
        gc.set_threshold(*before)
        gc.unfreeze()


def send_and_report(send: Callable[[Display], Coroutine[Any, Any, Sent]], options: Sending) -> int:
    with contextlib.ExitStack() as stack:
        report_file, html_file = (
            None if path is None else stack.enter_context(OutputFile(path))
            for path in (options.report, options.html)
        )
        try:
            with Display(quiet=options.quiet) as display:
                report, marked = asyncio.run(send(display))
        except ChangedInputError as error:
            hint = "nothing was sent; to send what changed, add --accept-changed-input"
            raise click.UsageError(f"{error}; {hint}") from None
        report = attrs.evolve(report, command=click.get_current_context().obj)
        status = _status_of(report)
        try:
            if report_file is not None:
                document = json.dumps(report.document(), ensure_ascii=False, indent=2)
                report_file.write_text(f"{document}\n")
            if html_file is not None:
                _write_page(html_file, report, options)
            stack.close()
        except OSError as error:
            # Exit status 2 would mean that nothing was sent.
            terminal.complain(terminal.describe(error))
            status = max(status, endings.status_of(error))
    try:
        _print(report, marked, options)
    except OSError as error:
        status = status or endings.status_of_output(error)
    for message in _complaints(report, options.failed):
        terminal.complain(message)
    return status


def _write_page(file: OutputFile, report: JobReport, options: Sending) -> None:
    try:
        made = page(report, names=options.names)
    except Exception as error:  # noqa: BLE001 - the other results matter more.
        terminal.complain(f"the page of --html could not be made: {error}")
        file.keep_apart()
    else:
        file.write_text(made)


def summary_console(outputs: dict[str, str | None]) -> terminal.Console:
    """Return the console for a summary: standard error if an output takes standard output."""
    return terminal.Console(sys.stderr if STANDARD_OUTPUT in outputs.values() else sys.stdout)


def print_dry_run(name: str, rows: int, bad: int, size: Size, options: Sending) -> None:
    document = {"file": name, "sent": False, "rows": rows, "set_aside": bad} | attrs.asdict(size)
    aside = f"; {counted(bad, 'row')} would be set aside" if bad else ""
    line = (
        f"{name}: {counted(size.changes, 'change')} in {counted(rows, 'row')}, of "
        f"{counted(size.users, 'user')} and {counted(size.units, 'conversation')}: "
        f"{counted(size.calls, 'call')}{aside}; nothing was sent"
    )
    if options.as_json or not options.quiet:
        terminal.tell(document, [line], as_json=options.as_json)


def _status_of(report: JobReport) -> int:
    if report.bad_row is not None:
        return endings.WRONG
    if report.interrupted:
        return endings.interrupted_status()
    fault = report.stopped or report.unverified
    if fault is not None:
        return endings.status_of(fault)
    # Without a fault of its own, changes are not sent because the server did not answer.
    return 0 if report.ok else endings.FAILED if report.complete else endings.STOPPED


def _print(
    report: JobReport, marked: Mapping[str, Sequence[MarkedConversation]], options: Sending
) -> None:
    console = summary_console(options.outputs)
    if options.as_json:
        terminal.print_json(report.document(), err=console.file is sys.stderr)
        return
    if not (options.quiet and report.ok):
        print_summary(console, report, options.names)
    for user, found in marked.items():
        console.say("")
        print_marked(console, user, found, options.names)
    console.file.flush()


def _complaints(report: JobReport, failed: str | None) -> Iterator[str]:
    accounts = report.accounts
    if not accounts.is_balanced:
        yield f"the accounts do not balance; report this bug of chatmark: {accounts}"
    if report.stopped is not None:
        yield report.verdict
    if report.unwritten:
        rest = "not in the journal; the next run sends what is missing there again, without harm"
        yield f"{counted(report.unwritten, 'settled conversation')} {rest}"
    if report.unverified is not None:
        yield f"the marks could not be read back: {report.unverified}"
    if report.bad_row is not None:
        yield report.bad_row
        applied = counted(accounts.applied, "change")
        yield f"reading stopped there; {applied} before that row took effect"
    elif not report.complete:
        how = "interrupted" if report.interrupted else "not finished"
        settled = agree(accounts.total, "{change is|changes are} settled")
        state = f"{how}: {accounts.settled:,} of {accounts.total:,} {settled}"
        hint = (
            "the same command sends everything again, which does no harm; with --journal FILE it "
            "would continue where it stopped"
        )
        if report.journal is not None:
            hint = f"{terminal.TO_CONTINUE}{report.command}"
        yield f"{state}; {hint}"
    elif not accounts.ok:
        keep = "" if report.journal is None else f"; keep {report.journal} for the next run"
        next_step = "run the same command with --failed FILE to get the rows that failed"
        if failed is not None:
            where = "on standard output" if failed == STANDARD_OUTPUT else f"in {failed}"
            next_step = f"the rows that failed are {where}: mend the causes, then apply them"
        yield f"not everything took effect{keep}; {next_step}"
