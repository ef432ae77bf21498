"""
Options of commands that read a file of changes.
"""

from collections.abc import Sequence
from typing import Any

import attrs
import click

from chatmark.cli.options.groups import option_group, options_of
from chatmark.cli.options.names import NAMES, read_names, read_pairs
from chatmark.errors import InputError
from chatmark.jobs.sources.columns import Columns
from chatmark.jobs.sources.files import ChangeFile
from chatmark.jobs.sources.formats import ROW_FORMATS, FileFormat
from chatmark.names import MarkNames


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
        """Return the file of this path."""
        return ChangeFile.of(path, self.format, self.names, self.columns)


@attrs.frozen
class _Given:
    format: str | None
    map: Sequence[str]
    names: Sequence[str]
    names_file: str | None
    ignore_unknown: bool = False
    max_errors: int = 0


def _inputs(**values: Any) -> Inputs:
    given = _Given(**values)
    mapped = read_pairs("--map", "FIELD=COLUMN", given.map)
    try:
        columns = Columns(mapped, ignore_unknown=given.ignore_unknown)
    except InputError as error:
        raise click.UsageError(f"--map: {error}") from None
    format_ = None if given.format is None else FileFormat(given.format)
    names = read_names(given.names_file, given.names)
    return Inputs(format_, names, columns, given.max_errors)


input_options = option_group(
    "inputs",
    _inputs,
    *options_of(
        _Given,
        "Input",
        {
            "format": "How rows are written, where the file's name does not tell.",
            "map": "What the file calls a field, such as to_account=peer_id. Repeatable.",
            "ignore_unknown": "Leave aside columns and keys that are not fields of a row.",
            "max_errors": "Set aside as many rows that cannot be applied; with more nothing is "
            "sent.",
        },
        format={"type": click.Choice([each.value for each in ROW_FORMATS])},
        map={"multiple": True, "metavar": "FIELD=COLUMN"},
        max_errors={"metavar": "N"},
    ),
    *NAMES,
)
