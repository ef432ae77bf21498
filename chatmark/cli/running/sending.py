"""Sending an input through a session of this process, or of a Ray cluster."""

import asyncio
import contextlib
import functools
import gc
import json
import sys
from collections.abc import Callable, Coroutine, Generator, Iterator, Sequence
from typing import TYPE_CHECKING, Any, Final

import attrs
import click

from chatmark import ChatmarkError, InputError, MarkedConversation, MarkNames
from chatmark.cli.exit_status import FAILED, STOPPED, WRONG, status_of
from chatmark.cli.options.access import Target, shared_budget
from chatmark.cli.options.groups import refuse_given
from chatmark.cli.options.shared import ApplyOptions, Cluster, SendingOptions
from chatmark.cli.render.console import (
    Console,
    clean,
    describe,
    print_json,
    stderr_console,
    stdout_console,
)
from chatmark.cli.render.log import TO_CONTINUE, complain
from chatmark.cli.render.progress import Display, display_for, job_reporter
from chatmark.cli.render.summary import print_marked, print_summary
from chatmark.cli.running.reading import checking, tell_notes
from chatmark.cli.running.signals import interrupted_status, stoppable
from chatmark.jobs.counting import agree, counted
from chatmark.jobs.grouping import Loaded, Size
from chatmark.jobs.journal import ChangedInputError
from chatmark.jobs.options import Control
from chatmark.jobs.output_files import STANDARD_OUTPUT, OutputFile, check_outputs
from chatmark.jobs.reports.page import page
from chatmark.jobs.reports.report import JobReport
from chatmark.jobs.running import run_loaded, run_stream
from chatmark.jobs.sending.feeds import ChangeStream
from chatmark.jobs.sources.files import STANDARD_INPUT
from chatmark.ray.options import LOCAL, stay_on_loopback

if TYPE_CHECKING:
    from chatmark.ray import RayJob


# New objects between two collections. A job holds some 40,000, and frees them by reference counts.
_YOUNG: Final = 20_000


@attrs.define
class _Sent:
    """The report of a job, and the marked conversations of the users of --show."""

    report: JobReport
    marked: dict[str, list[MarkedConversation]] = attrs.field(
        factory=dict[str, list[MarkedConversation]]
    )
    # The error of reading them.
    error: ChatmarkError | None = None


def deliver(
    target: Target | None, source: Loaded | ChangeStream, options: SendingOptions, names: MarkNames
) -> int:
    """Send an input, tell the outcome, and return the exit status; only tell without a target."""
    if target is not None:
        send = functools.partial(_send, target, source, options)
        return _send_and_report(send, options, names)
    if isinstance(source, Loaded):
        _print_dry_run(source.name, source.rows, source.bad, source.spool.size, options)
    return 0


async def _send(
    target: Target, source: Loaded | ChangeStream, options: SendingOptions, display: Display
) -> _Sent:
    control = Control()
    job = attrs.evolve(
        options.job,
        target=target.name,
        calls_per_second=options.calling.rate,
        interval=min(display.interval, options.job.interval),
    )
    watch: dict[str, Any] = {"on_progress": job_reporter(display), "control": control}
    # Single marks of a service take precedence over a file.
    async with target.session(priority="low", **options.calling.options) as session:
        with stoppable(control, session), rare_collections():
            if isinstance(source, Loaded):
                report = await run_loaded(session, source, job, **watch)
            else:
                report = await run_stream(session, source, job, **watch)
            sent = _Sent(report)
            try:
                for user in options.show if report.complete else ():
                    sent.marked[user] = [each async for each in session.marked(user)]
            except ChatmarkError as error:
                sent.error = error
    return sent


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


def _send_and_report(
    send: Callable[[Display], Coroutine[Any, Any, _Sent]], options: SendingOptions, names: MarkNames
) -> int:
    with contextlib.ExitStack() as stack:
        report_file, html_file = (
            None if path is None else stack.enter_context(OutputFile(path))
            for path in (options.report, options.html)
        )
        try:
            with display_for(quiet=options.quiet) as display:
                sent = asyncio.run(send(display))
        except ChangedInputError as error:
            complain(str(error))
            complain("nothing was sent; to send what changed, add --accept-changed-input")
            return WRONG
        sent.report = attrs.evolve(sent.report, command=click.get_current_context().obj)
        status = _status_of(sent)
        try:
            if report_file is not None:
                document = json.dumps(sent.report.document(), ensure_ascii=False, indent=2)
                report_file.write_text(f"{document}\n")
            if html_file is not None:
                _write_page(html_file, sent.report, names)
            stack.close()
        except OSError as error:
            # Exit status 2 would mean that nothing was sent.
            complain(describe(error))
            status = max(status, status_of(error))
    # The fault of a standard output that is closed or full is found again at the end.
    with contextlib.suppress(OSError):
        _print(sent, options, names)
    for message in _complaints(sent, options):
        complain(message)
    return status


def _write_page(file: OutputFile, report: JobReport, names: MarkNames) -> None:
    try:
        made = page(report, names=names)
    except Exception as error:  # noqa: BLE001 - the other results matter more.
        complain(f"the page of --html could not be made: {error}")
        file.keep_apart()
    else:
        file.write_text(made)


def summary_console(outputs: dict[str, str | None]) -> Console:
    """Return standard output for a summary, or standard error if an output takes that."""
    return stderr_console() if STANDARD_OUTPUT in outputs.values() else stdout_console()


def _print_dry_run(name: str, rows: int, bad: int, size: Size, options: SendingOptions) -> None:
    if options.as_json:
        counts = {"file": name, "sent": False, "rows": rows, "set_aside": bad}
        print_json(counts | attrs.asdict(size))
    elif not options.quiet:
        aside = f"; {counted(bad, 'row')} would be set aside" if bad else ""
        click.echo(
            f"{clean(name)}: {counted(size.changes, 'change')} in {counted(rows, 'row')}, of "
            f"{counted(size.users, 'user')} and {counted(size.units, 'conversation')}: "
            f"{counted(size.calls, 'call')}{aside}; nothing was sent"
        )


def _status_of(sent: _Sent) -> int:
    report = sent.report
    if report.bad_row is not None:
        return WRONG
    if report.interrupted:
        return interrupted_status()
    fault = report.stopped or report.unverified or sent.error
    if fault is not None:
        return status_of(fault)
    # Without a fault of its own, changes are not sent because the server did not answer.
    return 0 if report.ok else FAILED if report.complete else STOPPED


def _print(sent: _Sent, options: SendingOptions, names: MarkNames) -> None:
    if options.as_json:
        print_json(sent.report.document())
        return
    console = summary_console(options.outputs)
    if not (options.quiet and sent.report.ok):
        print_summary(console, sent.report, names)
    for user, marked in sent.marked.items():
        console.say("")
        print_marked(console, user, marked, names)
    console.file.flush()


def _complaints(sent: _Sent, options: SendingOptions) -> Iterator[str]:
    report = sent.report
    if not report.accounts.is_balanced:
        yield f"the accounts do not balance; report this bug of chatmark: {report.accounts}"
    if report.stopped is not None:
        yield report.verdict
    if report.unwritten:
        yield (
            f"{counted(report.unwritten, 'settled conversation')} not in the journal; the next run "
            "sends what is missing there again, which does no harm"
        )
    unread = report.unverified or sent.error
    if unread is not None:
        yield f"the marks could not be read back: {unread}"
    if report.bad_row is not None:
        yield report.bad_row
        applied = report.accounts.applied
        yield f"reading stopped there; {counted(applied, 'change')} before that row took effect"
    elif not report.complete:
        yield _how_to_continue(report)
    elif not report.accounts.ok:
        yield _next_step(report, options.job.failed)


def _next_step(report: JobReport, failed: str | None) -> str:
    keep = "" if report.journal is None else f"; keep {report.journal} for the next run"
    if failed is None:
        again = "run the same command with --failed FILE to get the rows that failed"
        return f"not everything took effect{keep}; {again}"
    where = "on standard output" if failed == STANDARD_OUTPUT else f"in {failed}"
    return (
        f"not everything took effect{keep}; the rows that failed are {where}: mend the causes, "
        "then apply them"
    )


def _how_to_continue(report: JobReport) -> str:
    accounts = report.accounts
    how = "interrupted" if report.interrupted else "not finished"
    settled = agree(accounts.total, "{change is|changes are} settled")
    state = f"{how}: {accounts.settled:,} of {accounts.total:,} {settled}"
    if report.journal is not None:
        return f"{state}; {TO_CONTINUE}{report.command}"
    hint = "with --journal FILE it would continue where it stopped"
    return f"{state}; the same command sends everything again, which does no harm; {hint}"


def apply_on_cluster(cluster: Cluster, paths: Sequence[str], options: ApplyOptions) -> int:
    """Send the changes of files, and return the exit status."""
    given = {
        "--undo": options.job.undo,
        "--show": options.show,
        "--local": options.access.local,
        "standard input": STANDARD_INPUT in paths,
    }
    refuse_given(given, "is not possible with --ray: another process sends")
    check_outputs(options.outputs, paths)
    target = options.access.target()
    with _joined(cluster.ray):
        job = _job(paths, target, options, cluster.ray_partitions)
        name = job.files.name
        try:
            with checking(name, quiet=options.quiet) as (check, group), _without_ray_output():
                job.read(check, group)
            if not options.quiet:
                tell_notes(job.files)
            if options.dry_run:
                rows, bad = job.input.rows, len(job.input.bad)
                _print_dry_run(name, rows, bad, job.input.size, options)
                return 0
            run = functools.partial(_run_on_cluster, job)
            return _send_and_report(run, options, options.inputs.names)
        finally:
            job.release()


@contextlib.contextmanager
def _joined(address: str) -> Generator[None]:
    if address == LOCAL:
        stay_on_loopback()
    try:
        from chatmark.ray import joined  # noqa: PLC0415 - an extra.
    except ModuleNotFoundError:
        raise InputError("ray", "is not installed: pip install 'chatmark[ray]'") from None
    with joined(address):
        yield


def _without_ray_output() -> contextlib.AbstractContextManager[object]:
    """Send Ray's own messages, of lost nodes for example, to standard error."""
    return contextlib.redirect_stdout(sys.stderr)


def _job(
    paths: Sequence[str], target: Target, options: ApplyOptions, partitions: int | None
) -> "RayJob":
    from chatmark.ray import RayJob, RayOptions  # noqa: PLC0415 - an extra.

    session, inputs = options.calling.options | target.way, options.inputs
    assert target.credentials is not None, "--local is refused above"  # noqa: S101
    rate, budget = session.pop("rate"), None
    if target.pace is not None:
        budget = shared_budget(target.pace, target.credentials.sdkappid, rate, "low")
        # Wrong arguments fail here; the budget does not connect yet.
        budget()
    ray_options = RayOptions.of(
        options.job,
        calls_per_second=rate,
        target=target.name,
        budget=budget,
        max_errors=inputs.max_errors,
        session=session,
        **{} if partitions is None else {"partitions": partitions},
    )
    return RayJob(
        inputs.files(paths),
        target.credentials,
        ray_options,
        region=target.region,
        base_url=target.base_url,
    )


async def _run_on_cluster(job: "RayJob", display: Display) -> _Sent:
    control = Control()
    with stoppable(control, job), _without_ray_output():
        return _Sent(await job.run(job_reporter(display), control))
