"""
Options of a job; they become `JobOptions`.
"""

import click

from chatmark.cli.options.groups import option_group, shared
from chatmark.jobs.options import JobOptions

_JOURNAL = "Journal"
_JOB = "Job"


def _job(*, journal: str | None, **given: object) -> JobOptions:
    if journal is None:
        for name in ("keep_journal", "accept_changed_input"):
            if given[name]:
                raise click.UsageError(f"--{name.replace('_', '-')} needs --journal")
    return JobOptions(journal=journal, **given)  # type: ignore[arg-type]


job_options = option_group(
    "job",
    _job,
    shared(
        _JOURNAL,
        "--journal",
        metavar="FILE",
        help="Note in FILE what is done; the same command goes on where it stopped.",
    ),
    shared(
        _JOURNAL,
        "--keep-journal",
        env=False,
        is_flag=True,
        help="Keep the journal when everything took effect.",
    ),
    shared(
        _JOURNAL,
        "--accept-changed-input",
        env=False,
        is_flag=True,
        help="Go on although the rows have changed: users whose rows are the same are not sent "
        "again, the others are sent whole.",
    ),
    shared(
        _JOURNAL,
        "--journal-sync",
        type=click.FloatRange(min=0),
        default=1.0,
        metavar="SECONDS",
        help="How long the journal may lag on the disk: so much may be lost with the power.",
    ),
    shared(
        _JOB,
        "--skip-unchanged",
        env=False,
        is_flag=True,
        help="Read what is there; send what changes it.",
    ),
    shared(
        _JOB, "--verify", env=False, is_flag=True, help="Read the conversations back and compare."
    ),
    shared(
        _JOB,
        "--failed",
        env=False,
        metavar="FILE",
        help="Write what failed as rows to apply again.",
    ),
)
