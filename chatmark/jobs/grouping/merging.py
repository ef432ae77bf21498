"""
The changes of one conversation as one, while they are records of SQLite.
"""

from collections.abc import Iterator
from typing import Any

Record = tuple[Any, ...]


def merged(rows: Iterator[Record]) -> Iterator[Record]:
    """
    Yield the record of each unit without its position, from those of all changes, sorted.
    """
    unit: Record | None = None
    for row in rows:
        if unit is not None:
            if row[1] == unit[1] and row[0] == unit[0]:
                unit = _merge(unit, row)
                continue
            yield unit
        unit = (*row, 1, False)
    if unit is not None:
        yield unit


def _merge(unit: Record, row: Record) -> Record:
    """
    Return the record of a unit and a newer change.
    """
    account, conversation, set_mark, clear_mark, custom_mark, reserved, line, count, undoes = unit
    _, _, newer_set, newer_clear, newer_custom, newer_reserved, _ = row
    undoes = undoes or bool(
        set_mark & newer_clear
        or clear_mark & newer_set
        or (None not in (custom_mark, newer_custom) and custom_mark != newer_custom)
    )
    # As `models.merge`: a bit goes where the newest change that names it sends it.
    set_mark = set_mark & ~newer_clear | newer_set
    clear_mark = clear_mark & ~newer_set | newer_clear
    custom_mark = custom_mark if newer_custom is None else newer_custom
    reserved |= newer_reserved
    net = (account, conversation, set_mark, clear_mark, custom_mark, reserved)
    return (*net, line, count + 1, undoes)
