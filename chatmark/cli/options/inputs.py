"""Options of commands that read a file of changes."""

import functools
from collections.abc import Collection, Sequence
from typing import Any

import attrs
import click

from chatmark import InputError, MarkNames
from chatmark.cli.options.groups import group, option, options_of
from chatmark.cli.options.names import NamesGiven, read_names, read_pairs
from chatmark.jobs.sources.dialect import CLEAR_WORD, Columns, Dialect
from chatmark.jobs.sources.files import ChangeFiles
from chatmark.jobs.sources.formats import ROW_FORMATS, FileFormat

_input = functools.partial(option, title="Input")


def one_of(formats: Collection[FileFormat]) -> dict[str, Any]:
    """Return the settings of an option for a format."""

    def parsed(_: object, __: object, value: str | None) -> FileFormat | None:
        return None if value is None else FileFormat(value)

    return {"type": click.Choice([*(each.value for each in formats), "json"]), "callback": parsed}


@attrs.frozen
class Inputs:
    """How files of changes are read, with *max_errors* bad rows at most to set aside."""

    format: FileFormat | None
    names: MarkNames
    columns: Columns
    max_errors: int
    dialect: Dialect = attrs.field(factory=Dialect)

    def files(self, paths: Sequence[str]) -> ChangeFiles:
        """Return the files of paths, folders, patterns and URLs as one input."""
        return ChangeFiles.of(paths, self.format, self.names, self.columns, self.dialect)


@attrs.frozen
class _Given:
    format: FileFormat | None = option(
        "The format of the rows, if the file's name does not tell.",
        title="Input",
        **one_of(ROW_FORMATS),
    )
    map: Sequence[str] = _input(
        "The file's name for a field, such as to_account=peer_id. Repeatable.",
        multiple=True,
        metavar="FIELD=COLUMN",
    )
    ignore_unknown: bool = _input("Ignore columns and keys that are not fields of a row.", False)
    delimiter: str | None = _input(
        "The character between the cells of CSV, such as ';', or tab.", metavar="CHAR"
    )
    encoding: str | None = _input(
        "The encoding of the text, such as cp1252 or gb18030.  [default: utf-8]", metavar="NAME"
    )
    null: Sequence[str] = _input(
        "A text of cells that means an absent field, such as NULL. With '\\N', TSV is read as "
        "PostgreSQL's COPY writes it. Repeatable.",
        multiple=True,
        metavar="TEXT",
    )
    literal: bool = _input(
        "Take cells as they are: ids with commas or blanks at their edges, ids such as NULL or "
        f"1.0E+05, and {CLEAR_WORD}, which clears a custom mark otherwise.",
        False,
    )
    max_errors: int = _input(
        "Set aside up to N rows that cannot be applied; with more nothing is sent.", 0, metavar="N"
    )


def _read_inputs(names: Sequence[str], names_file: str | None, **values: Any) -> Inputs:
    given = _Given(**values)
    mapped = read_pairs("--map", "FIELD=COLUMN", given.map)
    try:
        columns = Columns(mapped, ignore_unknown=given.ignore_unknown)
    except InputError as error:
        raise click.UsageError(f"--map: {error}") from None
    try:
        dialect = Dialect(given.delimiter, given.encoding, given.null, given.literal)
    except InputError as error:
        raise click.UsageError(f"--{error}") from None
    return Inputs(given.format, read_names(names, names_file), columns, given.max_errors, dialect)


INPUTS = group(_read_inputs, *options_of(_Given), *options_of(NamesGiven))
