"""Opens the journal of a job, and counts the units that earlier runs have settled."""

import os

from chatmark import ItemRefusedError, MarkResult
from chatmark.jobs.grouping.loading import Loaded
from chatmark.jobs.journal.database import JobKey, Journal
from chatmark.jobs.options import JobOptions
from chatmark.jobs.sending.accounts import Accounts
from chatmark.jobs.sending.failures import FailureLog
from chatmark.jobs.sending.outcomes import UnitOutcome


def open_journal(loaded: Loaded, options: JobOptions, target: str) -> Journal:
    """Return the journal of a job that changes *target*; see `Journal.claim`."""
    spool = loaded.spool
    # A name that is not UTF-8 is stored in another way, for messages.
    name = loaded.name.encode("utf-8", "backslashreplace").decode()
    undo = "" if options.undo is None else os.path.realpath(options.undo)
    key = JobKey(target, spool.digest, spool.units, spool.changes, name, os.fsencode(undo))
    journal = Journal(str(options.journal))
    try:
        journal.claim(key, spool.by_user(), accept_changed_input=options.accept_changed_input)
    except BaseException:
        journal.close()
        raise
    return journal


def leave_out_settled(
    journal: Journal, loaded: Loaded, accounts: Accounts, failures: FailureLog
) -> None:
    """Count the units that earlier runs have settled, and leave them out of the open ones."""
    spool = loaded.spool
    settled = spool.leave_out(journal.outcomes())
    for refusal in journal.refusals():
        # A damaged journal may have positions that no unit has.
        for unit in spool.read(refusal.position, 1):
            code = refusal.code or 0
            error = ItemRefusedError(code, refusal.info)
            error.names_peer = {"peer": True, "user": False}.get(refusal.subject)
            failures.add(unit, MarkResult(unit.change, code, refusal.info, refusal.attempts, error))
            accounts.add(UnitOutcome.REFUSED, unit.rows, code)
    for outcome in (UnitOutcome.APPLIED, UnitOutcome.UNCHANGED):
        accounts.add(outcome, settled[outcome])
    accounts.earlier = settled.total()
    accounts.taken += accounts.earlier
