"""
The same marks in each form that a benchmark needs: rows, changes, bodies.

A row is what a team has in a table: a user, a peer, a deed, and a text for the custom mark. What
the deeds are in bits is a constant of the program, with chatmark as without.
"""

import itertools
import json
import pathlib
from collections.abc import Iterable, Iterator
from typing import Any, Final

from chatmark import Conversation, ConversationMark, MarkChange

Row = tuple[str, str, str, str | None]

ITEMS: Final = 100

_NOTHING: Final = ConversationMark(0)
_VIP: Final = ConversationMark.FAVORITE | ConversationMark.extension(33)
_MARKS: Final = {
    "star": (_VIP, ConversationMark.HIDDEN),
    "remind": (ConversationMark.UNREAD, _NOTHING),
    "label": (_NOTHING, _NOTHING),
}
# What people write by hand: OptType, SetMark, ClearMark.
_BITS: Final = {"star": (1, [0, 33], [3]), "remind": (3, [1], None), "label": (2, None, None)}
_DEEDS: Final = (("star", None), ("remind", "call back"), ("star", None), ("label", "vip customer"))


def rows(users: int, conversations: int, *, interleaved: bool = False) -> Iterator[Row]:
    """Yield a row for each conversation of each user, sorted by user or in turns."""
    pairs: Iterable[tuple[int, int]] = itertools.product(range(users), range(conversations))
    if interleaved:
        turned = itertools.product(range(conversations), range(users))
        pairs = ((user, conversation) for conversation, user in turned)
    for user, conversation in pairs:
        deed, text = _DEEDS[conversation % len(_DEEDS)]
        yield f"user_{user:06}", f"customer_{conversation:06}", deed, text


def changes(source: Iterable[Row]) -> Iterator[MarkChange]:
    """Yield the change of each row, built and checked on the way."""
    for user, peer, deed, text in source:
        set_mark, clear_mark = _MARKS[deed]
        yield MarkChange(user, Conversation.one_to_one(peer), set_mark, clear_mark, text)


def requests(source: Iterable[Row]) -> Iterator[tuple[str, list[Row]]]:
    """Yield each user with at most a hundred of the rows, as they stand sorted."""
    for user, group in itertools.groupby(source, key=lambda row: row[0]):
        mine = list(group)
        for start in range(0, len(mine), ITEMS):
            yield user, mine[start : start + ITEMS]


def written(user: str, chunk: Iterable[Row]) -> dict[str, Any]:
    """Return the body of one request as people write it by hand."""
    items: list[dict[str, Any]] = []
    for _, peer, deed, text in chunk:
        opt_type, set_bits, clear_bits = _BITS[deed]
        item: dict[str, Any] = {
            "OptType": opt_type,
            "ContactItem": {"Type": 1, "To_Account": peer},
        }
        if set_bits:
            item["SetMark"] = set_bits
        if clear_bits:
            item["ClearMark"] = clear_bits
        if text is not None:
            item["CustomMark"] = text
        items.append(item)
    return {"From_Account": user, "MarkItem": items}


def bodies(source: Iterable[Row]) -> list[bytes]:
    """Return ready-made bodies, a hundred items each."""
    return [
        json.dumps(written(user, chunk), separators=(",", ":")).encode()
        for user, chunk in requests(source)
    ]


_NAMED: Final[dict[str, dict[str, list[str | int]]]] = {
    "star": {"set_mark": ["favorite", 33], "clear_mark": ["hidden"]},
    "remind": {"set_mark": ["unread"]},
    "label": {},
}


def json_lines(source: Iterable[Row]) -> Iterator[str]:
    """Yield the lines of a file for `chatmark apply`."""
    for user, peer, deed, text in source:
        row: dict[str, Any] = {"from_account": user, "to_account": peer, **_NAMED[deed]}
        if text is not None:
            row["custom_mark"] = text
        yield json.dumps(row) + "\n"


def write_parquet(path: pathlib.Path, source: Iterable[Row]) -> None:
    """Write a table for `chatmark apply`, its marks as text as in CSV."""
    import pyarrow as pa  # noqa: PLC0415 - only who measures Parquet needs it.
    from pyarrow import parquet  # noqa: PLC0415

    columns: dict[str, list[str | None]] = {
        name: [] for name in ("from_account", "to_account", "set_mark", "clear_mark", "custom_mark")
    }
    for user, peer, deed, text in source:
        columns["from_account"].append(user)
        columns["to_account"].append(peer)
        columns["custom_mark"].append(text)
        for name in ("set_mark", "clear_mark"):
            marks = _NAMED[deed].get(name)
            columns[name].append("|".join(map(str, marks)) if marks else None)
    parquet.write_table(pa.table(columns), path)
