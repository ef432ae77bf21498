"""Options of a job; they become `JobOptions`."""

from typing import Any

import attrs
import click

from chatmark.cli.options.groups import click_option, group, refuse_given
from chatmark.jobs.options import JobOptions


def _option(name: str, text: str, title: str = "Journal", **settings: Any) -> click.Option:
    default = attrs.fields_dict(JobOptions)[name].default
    return click_option(name, text, default, title=title, **settings)


def _job(*, journal: str | None, **given: object) -> JobOptions:
    if journal is None:
        names = ("keep_journal", "accept_changed_input")
        refuse_given(
            {f"--{name.replace('_', '-')}": given[name] for name in names}, "needs --journal"
        )
    return JobOptions(journal=journal, **given)  # type: ignore[arg-type]


JOB = group(
    _job,
    _option(
        "journal",
        "Note in FILE what is settled; the same command continues where it stopped.",
        metavar="FILE",
    ),
    _option(
        "journal_sync",
        "The most seconds of work that a loss of power may take from the journal.",
        metavar="SECONDS",
    ),
    _option("keep_journal", "Keep the journal when everything took effect."),
    _option(
        "accept_changed_input",
        "Continue although the rows have changed: users with the same rows are not sent again, the "
        "others are sent whole.",
    ),
    _option(
        "undo",
        "Write first the rows that bring back what was: apply FILE restores it.",
        "Job",
        metavar="FILE",
    ),
    _option("skip_unchanged", "Read what is there; send what changes it.", "Job"),
    _option("verify", "Read the conversations back and compare.", "Job"),
    _option("failed", "Write what failed as rows to apply again.", "Job", metavar="FILE"),
)
