"""
Options that say how a file of changes is read, for every command that reads one.
"""

import functools
from collections.abc import Callable
from typing import Any, TypeVar

import attrs
import click

from chatmark.cli.options.shared import names_option, read_pairs
from chatmark.errors import InputError
from chatmark.jobs.sources.columns import Columns
from chatmark.jobs.sources.files import ChangeFile
from chatmark.jobs.sources.formats import ROW_FORMATS, FileFormat
from chatmark.names import MarkNames

T = TypeVar("T")


@attrs.frozen
class Inputs:
    """
    What the options say of a file of changes.

    Args:
        format: How its rows are written, None to let its name tell.
        names: A team's own names for its extension bits.
        columns: What it calls the fields of a row.
        max_errors: How many bad rows are set aside before nothing is sent.
    """

    format: FileFormat | None
    names: MarkNames
    columns: Columns
    max_errors: int

    def file(self, path: str) -> ChangeFile:
        """
        Return the file of this path.

        Raises:
            InputError: Its name tells no format, and none is given.
        """
        return ChangeFile.of(path, self.format, self.names, self.columns)


def input_options(command: Callable[..., T]) -> Callable[..., T]:
    """
    Add the options that say how a file of changes is read; the command gets them as `inputs`.
    """

    @functools.wraps(command)
    def with_inputs(*args: Any, **given: Any) -> T:
        sources: dict[str, str] = given.pop("sources")
        ignore_unknown: bool = given.pop("ignore_unknown")
        format_: str | None = given.pop("format")
        try:
            columns = Columns(sources, ignore_unknown=ignore_unknown)
        except InputError as error:
            raise click.UsageError(f"--map: {error}") from None
        inputs = Inputs(
            None if format_ is None else FileFormat(format_),
            given.pop("names"),
            columns,
            given.pop("max_errors"),
        )
        return command(*args, inputs=inputs, **given)

    wrapped: Callable[..., T] = with_inputs
    for option in (
        click.option(
            "--max-errors",
            type=click.IntRange(min=0),
            default=0,
            show_default=True,
            envvar="CHATMARK_MAX_ERRORS",
            metavar="N",
            help="Set aside as many rows that cannot be applied; with more nothing is sent.",
        ),
        names_option,
        click.option(
            "--ignore-unknown",
            is_flag=True,
            envvar="CHATMARK_IGNORE_UNKNOWN",
            help="Leave aside columns and keys that are no fields of a row.",
        ),
        click.option(
            "--map",
            "sources",
            multiple=True,
            envvar="CHATMARK_MAP",
            metavar="FIELD=COLUMN",
            callback=read_pairs,
            help="What the file calls a field, such as to_account=peer_id. Repeatable.",
        ),
        click.option(
            "--format",
            type=click.Choice([each.value for each in ROW_FORMATS]),
            envvar="CHATMARK_FORMAT",
            help="How rows are written, where the file's name does not tell.",
        ),
    ):
        wrapped = option(wrapped)
    return wrapped
