"""
Options of a job; they become `JobOptions`.
"""

import click

from chatmark.cli.options.groups import option_group, options_of
from chatmark.jobs.options import JobOptions


def _job(*, journal: str | None, **given: object) -> JobOptions:
    if journal is None:
        for name in ("keep_journal", "accept_changed_input"):
            if given[name]:
                raise click.UsageError(f"--{name.replace('_', '-')} needs --journal")
    return JobOptions(journal=journal, **given)  # type: ignore[arg-type]


job_options = option_group(
    "job",
    _job,
    *options_of(
        JobOptions,
        "Journal",
        {
            "journal": "Note in FILE what is done; the same command goes on where it stopped.",
            "journal_sync": "How long the journal may lag on the disk: so much may be lost with "
            "the power.",
        },
        journal={"metavar": "FILE"},
        journal_sync={"metavar": "SECONDS"},
    ),
    *options_of(
        JobOptions,
        "Journal",
        {
            "keep_journal": "Keep the journal when everything took effect.",
            "accept_changed_input": "Go on although the rows have changed: users whose rows are "
            "the same are not sent again, the others are sent whole.",
        },
        env=False,
    ),
    *options_of(
        JobOptions,
        "Job",
        {
            "skip_unchanged": "Read what is there; send what changes it.",
            "verify": "Read the conversations back and compare.",
            "failed": "Write what failed as rows to apply again.",
        },
        env=False,
        failed={"metavar": "FILE"},
    ),
)
