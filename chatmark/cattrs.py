"""
The values of this package for a caller's own cattrs converter.

Rows are those of the files of `chatmark.jobs`; what the server sends and takes has the wire's form.
"""

import json
import re
from typing import Any, Final, cast

import attrs
import cattrs

from chatmark.changes import MarkChange
from chatmark.conversations import Conversation
from chatmark.errors import ChatmarkError, InputError
from chatmark.failures import ItemRefusedError
from chatmark.jobs.sources.dialect import Dialect
from chatmark.jobs.sources.parser import RowParser
from chatmark.jobs.sources.row import MARK_FIELDS, row_of
from chatmark.lazy import publish
from chatmark.marks import ConversationMark, MarkNames, read_mark
from chatmark.results import MarkedConversation, MarkResult
from chatmark.wire.converter import CONVERTER, to_json
from chatmark.wire.messages import Found, GroupAnswer, MarkAnswer, Message, Page

# Advice that only the command line can follow.
_OPTIONS: Final = re.compile(r": (?:add|jq) .*|; if it means[^;]*", re.DOTALL)


def configure(converter: cattrs.BaseConverter, *, names: MarkNames | None = None) -> None:
    """
    Give a converter the hooks for the values of this package.

    A `MarkChange` becomes a row of `chatmark.jobs`, with `allow_reserved` if that is set; a
    `ConversationMark` the names of its bits, and is read from names, numbers of bits, or an int; a
    `MarkResult` its row with code, info, attempts and sent; `MarkNames` a name and a number each.
    `Conversation` and `MarkedConversation` have the form of the wire, as requests and answers have
    (https://www.tencentcloud.com/document/product/1047/53440); the latter has `GroupNames` besides,
    and fractions of seconds. All are made of dictionaries, lists, text, numbers and None. Types
    that are not of this package stay as they are.

    The tag of a change is not kept. The error of a failed result comes back as an
    `ItemRefusedError` with its code, any other one as a `ChatmarkError`. Requests are only written,
    and answers are only read.

    Args:
        converter: The converter.
        names: A team's own names of bits, read and written.

    >>> converter = cattrs.Converter()
    >>> configure(converter)
    >>> change = MarkChange("alice", Conversation.one_to_one("bob"), ConversationMark.FAVORITE)
    >>> converter.unstructure(change)
    {'from_account': 'alice', 'to_account': 'bob', 'set_mark': ['favorite']}
    >>> converter.structure({"Type": 2, "ToGroupId": "team"}, Conversation)
    Conversation(type=<ConversationType.GROUP: 2>, id='team')
    """
    known = MarkNames() if names is None else names
    parser = RowParser(known, dialect=Dialect(literal=True))

    def change(row: Any, kind: Any) -> MarkChange:
        fields = cast("dict[str, Any]", row) if isinstance(row, dict) else {}
        if isinstance(fields.get("allow_reserved"), bool):
            custom_mark = fields.get("custom_mark")
            given = fields | {"custom_mark": custom_mark or ""}
            allow_reserved = given.pop("allow_reserved")
            to_set, to_clear = (parser.mark(name, given.pop(name, None)) for name in MARK_FIELDS)
            plain = change(given, kind)
            return attrs.evolve(
                plain,
                set_mark=to_set,
                clear_mark=to_clear,
                custom_mark=custom_mark,
                allow_reserved=allow_reserved,
            )
        try:
            changes = parser.row(row, 1).changes
        except InputError as error:
            raise InputError(error.field, _OPTIONS.sub("", error.reason)) from None
        if len(changes) != 1:
            raise InputError("MarkItem", f"holds {len(changes)} changes, not one")
        return changes[0]

    def result(given: dict[str, Any], _: Any) -> MarkResult:
        fields: dict[str, Any] = given | {"change": change(given["change"], MarkChange)}
        code, info = fields["code"], fields["info"]
        error = ChatmarkError(info) if code is None else ItemRefusedError(code, info)
        return MarkResult(**fields, error=error.about(fields["change"]) if code != 0 else None)

    converter.register_structure_hook(MarkChange, change)
    converter.register_structure_hook(MarkResult, result)
    converter.register_structure_hook(ConversationMark, lambda value, _: read_mark(value, known))
    converter.register_structure_hook(MarkNames, lambda own, _: MarkNames(**own))
    converter.register_structure_hook(MarkedConversation, _read_marked)
    for read in (Conversation, MarkAnswer, GroupAnswer, Page, Found):
        converter.register_structure_hook(read, CONVERTER.structure)
    for written in (Conversation, MarkedConversation):
        converter.register_unstructure_hook(written, CONVERTER.unstructure)
    converter.register_unstructure_hook(MarkNames, lambda own: own.own)
    converter.register_unstructure_hook(Message, lambda each: json.loads(to_json(each)))
    converter.register_unstructure_hook(MarkChange, _change_row)
    converter.register_unstructure_hook(ConversationMark, lambda mark: list(known.labels(mark)))
    converter.register_unstructure_hook(MarkResult, _result_row)


def _change_row(change: MarkChange) -> dict[str, Any]:
    return row_of(change) | ({"allow_reserved": True} if change.allow_reserved else {})


def _read_marked(given: Any, kind: Any) -> MarkedConversation:
    marked: MarkedConversation = CONVERTER.structure(given, kind)
    return attrs.evolve(marked, group_names=tuple(given.get("GroupNames", ())))


def _result_row(result: MarkResult) -> dict[str, Any]:
    fields = {name: getattr(result, name) for name in ("code", "info", "attempts", "sent")}
    return {"change": _change_row(result.change), **fields}


publish(__name__)
