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
    from chatmark.jobs.exporting import Export, ExportFile
    from chatmark.jobs.forecast import Conditions
    from chatmark.jobs.grouping import BadRowsError, Loaded, load
    from chatmark.jobs.journal import ChangedInputError, JournalError
    from chatmark.jobs.options import Control, JobOptions
    from chatmark.jobs.planning import Plan, Planner, RoundTrips, plan_offline, plan_online
    from chatmark.jobs.reports.page import page
    from chatmark.jobs.reports.progress import Progress
    from chatmark.jobs.reports.report import JobReport
    from chatmark.jobs.running import run
    from chatmark.jobs.sending.accounts import Accounts
    from chatmark.jobs.server import ReadBack, read_back
    from chatmark.jobs.sources.dialect import Columns, Dialect
    from chatmark.jobs.sources.files import ChangeFile, ChangeFiles
    from chatmark.jobs.sources.formats import FileFormat
    from chatmark.jobs.sources.row import RowError
    from chatmark.jobs.sources.users import UserList

_HOMES = {
    name: f"chatmark.jobs.{module}"
    for module, names in {
        "exporting": ("Export", "ExportFile"),
        "grouping": ("BadRowsError", "Loaded", "load"),
        "journal": ("ChangedInputError", "JournalError"),
        "forecast": ("Conditions",),
        "options": ("Control", "JobOptions"),
        "planning": ("Plan", "Planner", "RoundTrips", "plan_offline", "plan_online"),
        "reports.page": ("page",),
        "reports.progress": ("Progress",),
        "reports.report": ("JobReport",),
        "running": ("run",),
        "sending.accounts": ("Accounts",),
        "server": ("ReadBack", "read_back"),
        "sources.dialect": ("Columns", "Dialect"),
        "sources.files": ("ChangeFile", "ChangeFiles"),
        "sources.formats": ("FileFormat",),
        "sources.row": ("RowError",),
        "sources.users": ("UserList",),
    }.items()
    for name in names
}

__all__ = [
    "Accounts",
    "BadRowsError",
    "ChangeFile",
    "ChangeFiles",
    "ChangedInputError",
    "Columns",
    "Conditions",
    "Control",
    "Dialect",
    "Export",
    "ExportFile",
    "FileFormat",
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
    "UserList",
    "load",
    "page",
    "plan_offline",
    "plan_online",
    "read_back",
    "run",
]

__getattr__, __dir__ = _lazily(__name__, _HOMES)
