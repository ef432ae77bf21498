"""
Bulk jobs: rows in, a report out, and a journal in between that outlives the process.

    from chatmark import Credentials, MarkSession, Region
    from chatmark.jobs import ChangeFile, JobOptions, Progress, run

    def show(progress: Progress) -> None:
        print(progress.line, progress.troubles)

    async def nightly() -> None:
        async with MarkSession(Credentials.from_env(), region=Region.SINGAPORE) as session:
            report = await run(
                session,
                ChangeFile.of("marks.jsonl"),
                JobOptions(journal="marks.journal", failed="failed.jsonl"),
                on_progress=show,
            )
        print(report.accounts.applied, report.accounts.refused)

The same call after whatever stopped it goes on where it was. Nothing is sent before all rows are
checked. What is sent is grouped: all changes of one conversation are one *unit*, and a user's units
fill requests, so that rows which are scattered through a file cost the fewest calls.

- `rows`, `parser`, `files` and the formats beside them: what one row says; `plainrows`: faster;
- `loading`, `spool`, `merging`: all of them, checked and grouped, in memory or beside it;
- `unchanged`, `portions`, `job`: units through a session, each to exactly one of the `fates`;
- `journal`, `keeper`, `recall`: what is settled, and how a later run learns of it;
- `accounts`, `timeline`, `meter`, `ticking`, `watch`, `report`: what became of them, and when;
- `lookup`, `looking`, `readback`: what the server has, in few calls, and whether it is as wanted;
- `plan`, `foresight`, `forecast`: what a job would do, and how long it would take;
- `users`, `export`, `exportfile`, `exportrows`: all marks of many users, as rows;
- `htmlpage`, `plot`: a report as a page;
- `running`: all of that together; `intake`: what comes through a pipe.
"""

from typing import TYPE_CHECKING

from chatmark.lazy import lazily as _lazily

if TYPE_CHECKING:
    from chatmark.jobs.accounts import Accounts
    from chatmark.jobs.control import Control, JobOptions
    from chatmark.jobs.export import Export
    from chatmark.jobs.exportfile import ExportFile
    from chatmark.jobs.exportrows import ExportFormat
    from chatmark.jobs.files import ChangeFile, RowFormat
    from chatmark.jobs.forecast import Conditions
    from chatmark.jobs.foresight import RoundTrips, plan_online
    from chatmark.jobs.htmlpage import page
    from chatmark.jobs.journal import ChangedInputError, JournalError
    from chatmark.jobs.loading import BadRowsError, Loaded, load
    from chatmark.jobs.meter import Progress
    from chatmark.jobs.plan import Plan, Planner, plan_offline
    from chatmark.jobs.readback import ReadBack, read_back
    from chatmark.jobs.report import JobReport
    from chatmark.jobs.rows import RowError
    from chatmark.jobs.running import run
    from chatmark.jobs.unchanged import Sieve
    from chatmark.jobs.users import UserList

_HOMES = {
    "Accounts": "chatmark.jobs.accounts",
    "BadRowsError": "chatmark.jobs.loading",
    "ChangeFile": "chatmark.jobs.files",
    "ChangedInputError": "chatmark.jobs.journal",
    "Conditions": "chatmark.jobs.forecast",
    "Control": "chatmark.jobs.control",
    "Export": "chatmark.jobs.export",
    "ExportFile": "chatmark.jobs.exportfile",
    "ExportFormat": "chatmark.jobs.exportrows",
    "JobOptions": "chatmark.jobs.control",
    "JobReport": "chatmark.jobs.report",
    "JournalError": "chatmark.jobs.journal",
    "Loaded": "chatmark.jobs.loading",
    "Plan": "chatmark.jobs.plan",
    "Planner": "chatmark.jobs.plan",
    "Progress": "chatmark.jobs.meter",
    "ReadBack": "chatmark.jobs.readback",
    "RoundTrips": "chatmark.jobs.foresight",
    "RowError": "chatmark.jobs.rows",
    "RowFormat": "chatmark.jobs.files",
    "Sieve": "chatmark.jobs.unchanged",
    "UserList": "chatmark.jobs.users",
    "load": "chatmark.jobs.loading",
    "page": "chatmark.jobs.htmlpage",
    "plan_offline": "chatmark.jobs.plan",
    "plan_online": "chatmark.jobs.foresight",
    "read_back": "chatmark.jobs.readback",
    "run": "chatmark.jobs.running",
}

__all__ = [
    "Accounts",
    "BadRowsError",
    "ChangeFile",
    "ChangedInputError",
    "Conditions",
    "Control",
    "Export",
    "ExportFile",
    "ExportFormat",
    "JobOptions",
    "JobReport",
    "JournalError",
    "Loaded",
    "Plan",
    "Planner",
    "Progress",
    "ReadBack",
    "RoundTrips",
    "RowError",
    "RowFormat",
    "Sieve",
    "UserList",
    "load",
    "page",
    "plan_offline",
    "plan_online",
    "read_back",
    "run",
]

__getattr__, __dir__ = _lazily(__name__, _HOMES)
