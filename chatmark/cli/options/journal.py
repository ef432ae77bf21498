"""
Options of the journal of a job.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import attrs
import click

T = TypeVar("T")


@attrs.frozen
class Journaling:
    """
    What the options say of a journal.

    Args:
        path: Where it is, or is to be; None for no journal.
        keep: Whether it stays when everything took effect.
        accept_changed_input: Whether to go on with a journal of other rows.
        sync: Seconds after which it is on the disk at the latest.
    """

    path: str | None
    keep: bool
    accept_changed_input: bool
    sync: float


def journal_options(command: Callable[..., T]) -> Callable[..., T]:
    """
    Add the options of a journal; the command gets them as `journaling`.
    """

    @functools.wraps(command)
    def with_journal(*args: Any, **given: Any) -> T:
        path: str | None = given.pop("journal")
        keep: bool = given.pop("keep_journal")
        accept: bool = given.pop("accept_changed_input")
        if path is None and (keep or accept):
            option = "--keep-journal" if keep else "--accept-changed-input"
            raise click.UsageError(f"{option} needs --journal")
        journaling = Journaling(path, keep, accept, given.pop("journal_sync"))
        return command(*args, journaling=journaling, **given)

    wrapped: Callable[..., T] = with_journal
    for option in (
        click.option(
            "--journal-sync",
            type=click.FloatRange(min=0),
            default=1.0,
            show_default=True,
            envvar="CHATMARK_JOURNAL_SYNC",
            metavar="SECONDS",
            help="How long the journal may lag on the disk: so much may be lost with the power.",
        ),
        click.option(
            "--accept-changed-input",
            is_flag=True,
            help="Go on although the rows have changed: users whose rows are the same are not sent "
            "again, the others are sent whole.",
        ),
        click.option(
            "--keep-journal",
            is_flag=True,
            help="Keep the journal when everything took effect.",
        ),
        click.option(
            "--journal",
            metavar="FILE",
            envvar="CHATMARK_JOURNAL",
            help="Note in FILE what is done; the same command goes on where it stopped.",
        ),
    ):
        wrapped = option(wrapped)
    return wrapped
