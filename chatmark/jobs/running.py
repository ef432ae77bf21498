"""A job from its first row to its report."""

import asyncio
import contextlib
import functools
import os
import threading
from collections.abc import AsyncGenerator, Callable, Iterable
from typing import TYPE_CHECKING

import attrs

from chatmark import ChatmarkError, InputError, MarkResult
from chatmark.jobs.grouping import Loaded, Spool, Unit, load
from chatmark.jobs.journal import JobKey, Journal, JournalWriter, Run
from chatmark.jobs.options import Control, JobOptions
from chatmark.jobs.output_files import check_outputs
from chatmark.jobs.reports.monitor import Monitor
from chatmark.jobs.reports.progress import Progress
from chatmark.jobs.reports.report import JobReport
from chatmark.jobs.sending.accounts import Accounts, FailureLog, UnitOutcome, refusal_of
from chatmark.jobs.sending.feeds import ChangeStream, batches_of, batches_to_send, is_to_send
from chatmark.jobs.sending.sender import Sender, cancel_and_wait
from chatmark.jobs.sending.undo import UndoFile
from chatmark.jobs.server import ReadBack, read_back, read_units
from chatmark.jobs.sources.changes import NAME, ChangeRows, Changes
from chatmark.jobs.sources.files import ChangeFile, ChangeFiles
from chatmark.jobs.sources.row import Rows, change_of

if TYPE_CHECKING:
    from chatmark import MarkSession

OnProgress = Callable[[Progress], object]
OnResult = Callable[[MarkResult], object]


async def run(
    session: "MarkSession",
    source: ChangeFile | ChangeFiles | Changes,
    options: JobOptions | None = None,
    *,
    max_errors: int = 0,
    on_progress: OnProgress | None = None,
    on_result: OnResult | None = None,
    control: Control | None = None,
) -> JobReport:
    """
    Apply the changes of files, or other changes, and report the outcome of each.

    All changes are read, checked and grouped in a thread before the first is sent, so that a bad
    row is found before anything happened. A cancelled job sends nothing more, waits for requests in
    flight, and leaves the journal complete; cancelled a second time it waits for nothing.

    Args:
        session: The session.
        source: The changes: files, an iterable or async iterable of changes or of sequences of
            changes, or an object with `__arrow_c_stream__`, such as a data frame.
        options: The options of the job.
        max_errors: How many bad rows are set aside, into the file of the failures.
        on_progress: Called with the progress, at intervals.
        on_result: Called with the result of each change of the source, tags included, as it
            settles; those that an earlier run settled have none. Its errors end the job.
        control: Stops the job from outside.

    Raises:
        BadRowsError: More rows cannot be applied; nothing was sent.
        JournalError: The journal cannot be used; nothing was sent.
        OSError: The input cannot be read, or an output not be begun; nothing was sent.
    """
    options = JobOptions() if options is None else options
    if max_errors and options.failed is None:
        raise InputError("max_errors", "needs a file for the bad rows: give failed")
    if not isinstance(source, ChangeFile | ChangeFiles):
        name = NAME
        rows: Rows | ChangeRows = ChangeRows(source, keep=on_result is not None)
    elif source.is_stream:
        raise InputError("source", "must be a file that can be read twice, not a pipe", source.name)
    else:
        name, rows = source.name, source.rows()
        outputs = {"failed": options.failed, "journal": options.journal, "undo": options.undo}
        files = source.files if isinstance(source, ChangeFiles) else [source]
        check_outputs(outputs, [each.path for each in files])
    kept = rows.kept if isinstance(rows, ChangeRows) else []
    with await _load(name, rows, max_errors, keep_rows=on_result is not None) as loaded:

        def tell(unit: Unit, result: MarkResult) -> None:
            if on_result is not None:
                for record in loaded.spool.rows_of(unit):
                    change = kept[record[-1] - 1] if kept else change_of(record)
                    on_result(attrs.evolve(result, change=change))

        return await run_loaded(
            session, loaded, options, on_progress=on_progress, on_result=tell, control=control
        )


async def run_loaded(
    session: "MarkSession",
    loaded: Loaded,
    options: JobOptions,
    *,
    on_progress: OnProgress | None = None,
    on_result: Callable[[Unit, MarkResult], object] | None = None,
    control: Control | None = None,
) -> JobReport:
    """Apply an input that was read already, with a result for each unit; see `run`."""
    control = Control() if control is None else control
    spool = loaded.spool
    accounts = Accounts(total=spool.changes + loaded.bad, set_aside=loaded.bad)
    journal = undo = found = error = None
    earlier: list[Run] = []
    with contextlib.ExitStack() as stack:
        if options.journal is not None:
            journal = stack.enter_context(Journal(str(options.journal)))
            key = _key_of(loaded, options, options.target or session.target)
            journal.claim(key, spool.by_user(), accept_changed_input=options.accept_changed_input)
        failures = stack.enter_context(FailureLog(options.failed))
        for row in spool.rows_set_aside():
            failures.add_row(row)
        if journal is not None:
            _leave_out_settled(journal, spool, accounts, failures)
            earlier = journal.runs()
        sender = Sender(accounts, failures, on_result)
        monitor = Monitor(session, sender, options, total=accounts.total, on_progress=on_progress)
        control.on_stop(sender.stop)
        if options.undo is not None:
            is_begun = journal is not None and journal.is_continued
            is_needed = bool(accounts.applied)
            undo = UndoFile(options.undo, is_begun=is_begun, is_needed=is_needed)
            stack.enter_context(undo)
        if journal is not None:
            sender.journal = JournalWriter(
                journal, sync=options.journal_sync, run=monitor.run, on_failure=sender.stop
            )
        with monitor.following():
            batches = _batches(session, spool.open_units(), sender, undo, options)
            await sender.run(session, batches, grouped=True)
        if options.verify and not sender.is_stopped:
            found, error = await _verify(session, loaded, monitor, control)
        is_sent = bool(accounts.applied or accounts.unconfirmed)
        report = monitor.report(
            loaded.name,
            loaded.rows,
            conversations=spool.size.units,
            earlier_runs=earlier,
            job=spool.digest,
            earlier_phases=loaded.phases,
            read_back=found,
            unverified=error,
            undo=None if undo is None else undo.kept(is_needed=is_sent),
        )
        report = attrs.evolve(report, stopped=failures.close(report.stopped))
        if journal is not None and report.ok and not options.keep_journal:
            journal.close(remove=True)
        elif journal is not None:
            report = attrs.evolve(report, journal=journal.path)
    return report


def _key_of(loaded: Loaded, options: JobOptions, target: str) -> JobKey:
    spool = loaded.spool
    # A name that is not UTF-8 is stored in another way, for messages.
    name = loaded.name.encode("utf-8", "backslashreplace").decode()
    undo = "" if options.undo is None else os.path.realpath(options.undo)
    return JobKey(target, spool.digest, spool.size.units, spool.changes, name, os.fsencode(undo))


def _leave_out_settled(
    journal: Journal, spool: Spool, accounts: Accounts, failures: FailureLog
) -> None:
    """Count the units that earlier runs have settled, and leave them out of the open ones."""
    settled = spool.leave_out(journal.outcomes())
    for refusal in journal.refusals():
        # A damaged journal may have positions that no unit has.
        for unit in spool.read(refusal.position, 1):
            answer = (refusal.code or 0, refusal.info, refusal.attempts, refusal.subject)
            failures.add(unit, refusal_of(unit.change, *answer))
            accounts.add(UnitOutcome.REFUSED, unit.rows, refusal.code)
    for outcome in (UnitOutcome.APPLIED, UnitOutcome.UNCHANGED):
        accounts.add(outcome, settled[outcome])
    accounts.earlier = settled.total()
    accounts.taken += accounts.earlier


def _batches(
    session: "MarkSession",
    units: Iterable[Unit],
    sender: Sender,
    undo: UndoFile | None,
    options: JobOptions,
) -> AsyncGenerator[list[Unit]]:
    if not options.skip_unchanged and undo is None:
        return batches_of(units)
    check = functools.partial(is_to_send, sender, undo, options.skip_unchanged)
    return batches_to_send(read_units(session, units), check, undo)


async def run_stream(
    session: "MarkSession",
    stream: ChangeStream,
    options: JobOptions,
    *,
    on_progress: OnProgress | None = None,
    control: Control | None = None,
) -> JobReport:
    """Apply the changes of a stream as they come, without a journal; see `run`."""
    control = Control() if control is None else control
    accounts = Accounts()
    with FailureLog(options.failed) as failures:
        sender = Sender(accounts, failures, None)
        monitor = Monitor(session, sender, options, total=None, on_progress=on_progress)
        control.on_stop(sender.stop)
        with monitor.following():
            await sender.run(session, stream.batches(failures.add_row), grouped=False)
        accounts.set_aside = stream.bad
        accounts.total = stream.changes + stream.bad
        bad_row = None if stream.error is None else str(stream.error)
        report = monitor.report(stream.name, stream.rows, bad_row=bad_row)
        return attrs.evolve(report, stopped=failures.close(report.stopped))


async def _load(name: str, rows: Rows | ChangeRows, max_errors: int, *, keep_rows: bool) -> Loaded:
    cancelled = threading.Event()

    def sign(_: int) -> None:
        # A thread cannot be cancelled otherwise.
        if cancelled.is_set():
            raise InterruptedError

    try:
        return await asyncio.to_thread(
            load, name, rows, max_errors=max_errors, keep_rows=keep_rows, sign=sign
        )
    finally:
        cancelled.set()
        if isinstance(rows, ChangeRows):
            rows.cancel()


async def _verify(
    session: "MarkSession", loaded: Loaded, monitor: Monitor, control: Control
) -> tuple[ReadBack | None, ChatmarkError | None]:
    found = ReadBack()
    reading = asyncio.create_task(read_back(session, loaded.spool, found), name="chatmark-verify")
    control.on_stop(reading.cancel)
    with monitor.following_reading(loaded.spool.size.units, lambda: found.conversations):
        try:
            await asyncio.wait([reading])
        finally:
            await cancel_and_wait(reading)
    if reading.cancelled():
        return None, None
    error = reading.exception()
    if isinstance(error, ChatmarkError):
        return None, error
    return reading.result(), None
