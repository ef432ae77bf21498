"""
Options of commands that read a file of changes.
"""

from collections.abc import Sequence

import attrs
import click

from chatmark.cli.options.groups import option_group, shared
from chatmark.cli.options.names import NAMES, read_names, read_pairs
from chatmark.errors import InputError
from chatmark.jobs.sources.columns import Columns
from chatmark.jobs.sources.files import ChangeFile
from chatmark.jobs.sources.formats import ROW_FORMATS, FileFormat
from chatmark.names import MarkNames

_TITLE = "Input"


@attrs.frozen
class Inputs:
    """
    How a file of changes is read.

    Args:
        format: The format of its rows, None to tell by its name.
        names: A team's own names for its extension bits.
        columns: The file's names for the fields of a row.
        max_errors: How many bad rows are set aside before nothing is sent.
    """

    format: FileFormat | None
    names: MarkNames
    columns: Columns
    max_errors: int

    def file(self, path: str) -> ChangeFile:
        """
        Return the file of this path.
        """
        return ChangeFile.of(path, self.format, self.names, self.columns)


def _inputs(
    format: str | None,  # noqa: A002 - the option's name.
    sources: Sequence[str],
    max_errors: int,
    names: Sequence[str],
    names_file: str | None,
    *,
    ignore_unknown: bool,
) -> Inputs:
    mapped = read_pairs("--map", "FIELD=COLUMN", sources)
    try:
        columns = Columns(mapped, ignore_unknown=ignore_unknown)
    except InputError as error:
        raise click.UsageError(f"--map: {error}") from None
    format_ = None if format is None else FileFormat(format)
    return Inputs(format_, read_names(names_file, names), columns, max_errors)


input_options = option_group(
    "inputs",
    _inputs,
    shared(
        _TITLE,
        "--format",
        type=click.Choice([each.value for each in ROW_FORMATS]),
        help="How rows are written, where the file's name does not tell.",
    ),
    shared(
        _TITLE,
        "--map",
        "sources",
        multiple=True,
        metavar="FIELD=COLUMN",
        help="What the file calls a field, such as to_account=peer_id. Repeatable.",
    ),
    shared(
        _TITLE,
        "--ignore-unknown",
        is_flag=True,
        help="Leave aside columns and keys that are no fields of a row.",
    ),
    shared(
        _TITLE,
        "--max-errors",
        type=click.IntRange(min=0),
        default=0,
        metavar="N",
        help="Set aside as many rows that cannot be applied; with more nothing is sent.",
    ),
    *NAMES,
)
