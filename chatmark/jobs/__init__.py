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

The same call continues a job that was stopped. Nothing is sent before all rows are checked. All
changes of one conversation are merged into one *unit*, and the units of one user go
together, so that they fill requests and cost the fewest calls.
"""

from typing import TYPE_CHECKING

from chatmark.lazy import lazily as _lazily

if TYPE_CHECKING:
    from chatmark.jobs.exporting import Export as Export
    from chatmark.jobs.exporting import ExportFile as ExportFile
    from chatmark.jobs.forecast import Conditions as Conditions
    from chatmark.jobs.grouping import BadRowsError as BadRowsError
    from chatmark.jobs.grouping import Loaded as Loaded
    from chatmark.jobs.grouping import load as load
    from chatmark.jobs.journal import ChangedInputError as ChangedInputError
    from chatmark.jobs.journal import JournalError as JournalError
    from chatmark.jobs.options import Control as Control
    from chatmark.jobs.options import JobOptions as JobOptions
    from chatmark.jobs.planning import Plan as Plan
    from chatmark.jobs.planning import Planner as Planner
    from chatmark.jobs.planning import RoundTrips as RoundTrips
    from chatmark.jobs.planning import plan_offline as plan_offline
    from chatmark.jobs.planning import plan_online as plan_online
    from chatmark.jobs.reports.page import page as page
    from chatmark.jobs.reports.progress import Progress as Progress
    from chatmark.jobs.reports.report import JobReport as JobReport
    from chatmark.jobs.running import run as run
    from chatmark.jobs.sending.accounts import Accounts as Accounts
    from chatmark.jobs.server import ReadBack as ReadBack
    from chatmark.jobs.server import read_back as read_back
    from chatmark.jobs.sources.dialect import Columns as Columns
    from chatmark.jobs.sources.dialect import Dialect as Dialect
    from chatmark.jobs.sources.files import ChangeFile as ChangeFile
    from chatmark.jobs.sources.files import ChangeFiles as ChangeFiles
    from chatmark.jobs.sources.formats import FileFormat as FileFormat
    from chatmark.jobs.sources.row import RowError as RowError
    from chatmark.jobs.sources.users import UserList as UserList

_NAMES = {
    "exporting": "Export ExportFile",
    "forecast": "Conditions",
    "grouping": "BadRowsError Loaded load",
    "journal": "ChangedInputError JournalError",
    "options": "Control JobOptions",
    "planning": "Plan Planner RoundTrips plan_offline plan_online",
    "reports.page": "page",
    "reports.progress": "Progress",
    "reports.report": "JobReport",
    "running": "run",
    "sending.accounts": "Accounts",
    "server": "ReadBack read_back",
    "sources.dialect": "Columns Dialect",
    "sources.files": "ChangeFile ChangeFiles",
    "sources.formats": "FileFormat",
    "sources.row": "RowError",
    "sources.users": "UserList",
}
_HOMES = {
    name: f"chatmark.jobs.{module}" for module, names in _NAMES.items() for name in names.split()
}

__getattr__, __dir__ = _lazily(__name__, _HOMES)
