"""
The values of this package for a caller's own cattrs converter.

Rows are those of the files of `chatmark.jobs`; what the server sends and takes has the wire's form.
"""

import json
from typing import Any

import cattrs

from chatmark.changes import MarkChange
from chatmark.conversations import Conversation
from chatmark.errors import ChatmarkError, InputError
from chatmark.failures import ItemRefusedError
from chatmark.jobs.sources.parser import RowParser
from chatmark.jobs.sources.row import row_of
from chatmark.lazy import publish
from chatmark.marks import ConversationMark, MarkNames, read_mark
from chatmark.results import MarkedConversation, MarkResult
from chatmark.wire.converter import CONVERTER, to_json
from chatmark.wire.messages import Found, GroupAnswer, MarkAnswer, Message, Page


def configure(converter: cattrs.BaseConverter, *, names: MarkNames | None = None) -> None:
    """
    Give a converter the hooks for the values of this package.

    A `MarkChange` becomes a row of `chatmark.jobs`; a `ConversationMark` the names of its bits, and
    is read from names, numbers of bits, or an int; a `MarkResult` its row with code, info, attempts
    and sent. `Conversation` and `MarkedConversation` have the form of the wire, as requests and
    answers have (https://www.tencentcloud.com/document/product/1047/53440). All are made of
    dictionaries, lists, text, numbers and None. Types that are not of this package stay as they
    are.

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
    parser = RowParser(known)

    def change(row: Any, _: Any) -> MarkChange:
        changes = parser.parse(row)
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
    for read in (Conversation, MarkedConversation, MarkAnswer, GroupAnswer, Page, Found):
        converter.register_structure_hook(read, CONVERTER.structure)
    for written in (Conversation, MarkedConversation):
        converter.register_unstructure_hook(written, CONVERTER.unstructure)
    converter.register_unstructure_hook(Message, lambda each: json.loads(to_json(each)))
    converter.register_unstructure_hook(MarkChange, row_of)
    converter.register_unstructure_hook(ConversationMark, lambda mark: list(known.labels(mark)))
    converter.register_unstructure_hook(MarkResult, _result_row)


def _result_row(result: MarkResult) -> dict[str, Any]:
    fields = {name: getattr(result, name) for name in ("code", "info", "attempts", "sent")}
    return {"change": row_of(result.change), **fields}


publish(__name__)
