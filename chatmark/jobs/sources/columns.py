"""A file's own names for the fields of a row: its columns, or the keys of its objects."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import attrs

from chatmark import InputError
from chatmark.jobs.sources.row import FIELDS, OWN_FIELDS, TARGETS, unknown_field

_NEEDED: Final = "from_account"


@attrs.frozen
class Columns:
    """
    The columns of a file that hold the fields of a row.

    A field that is mapped is read from its column and from no other.

    Args:
        sources: The columns of the fields that have another name there.
        ignore_unknown: Leave aside columns that are no fields; they are errors otherwise.

    Raises:
        InputError: There is no such field, or two are read from one column.

    >>> Columns({"to_account": "peer_id"}).renamed({"peer_id": "b"})
    {'to_account': 'b'}
    """

    sources: Mapping[str, str] = attrs.field(factory=dict[str, str])
    ignore_unknown: bool = False
    _fields: dict[str, str] = attrs.field(init=False, repr=False, eq=False)

    def __attrs_post_init__(self) -> None:
        fields = {field: field for field in FIELDS if field not in self.sources}
        # The class is frozen; these are the sources, inverted.
        object.__setattr__(self, "_fields", fields | _by_column(self.sources))

    def renamed(self, row: Mapping[str, Any]) -> dict[str, Any]:
        """
        Return an object under the names of the fields.

        Raises:
            InputError: A key is no field, and such are not ignored; or two are one field.
        """
        found: dict[str, Any] = {}
        for column, value in row.items():
            field = self._field(column)
            if field is not None:
                found[field] = value
        return found

    def header(self, columns: Sequence[str]) -> list[str | None]:
        """
        Return the field of each column, None for ignored ones.

        Raises:
            InputError: A column is no field, and such are not ignored; one appears twice; or a
                column that every row needs is missing.
        """
        fields = [self._field(column) for column in columns]
        for field, column in zip(fields, columns, strict=True):
            if field is not None and fields.count(field) > 1:
                raise InputError(column, "appears twice in the header")
        for field, column in self.sources.items():
            if field not in fields:
                raise InputError(column, f"is not a column, but {field} is mapped to it")
        if _NEEDED not in fields:
            raise InputError(_NEEDED, "is not a column of the header")
        if not set(TARGETS) & set(fields):
            raise InputError(TARGETS[0], "is not a column of the header, nor is to_group_id")
        return fields

    def _field(self, column: str) -> str | None:
        field = self._fields.get(column)
        if field is None and not self.ignore_unknown:
            source = self.sources.get(column)
            if source is not None:
                raise InputError(column, f"is in the file, but is mapped to {source!r}")
            raise unknown_field(column)
        return field


def _by_column(sources: Mapping[str, str]) -> dict[str, str]:
    fields: dict[str, str] = {}
    for field, column in sources.items():
        if field not in OWN_FIELDS:
            raise unknown_field(field)
        if not column:
            raise InputError(field, "is mapped to a column without a name")
        if column in fields:
            raise InputError(field, f"and {fields[column]} are read from one column", column)
        fields[column] = field
    return fields
