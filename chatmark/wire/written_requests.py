"""Request bodies of mark_contact that a person wrote, read strictly as changes."""

from typing import Any

from chatmark.changes import MarkChange, OptType
from chatmark.conversations import check_id
from chatmark.errors import InputError
from chatmark.limits import MAX_USER_ID_BYTES
from chatmark.marks import ConversationMark
from chatmark.wire.converter import CONVERTER, first_fault
from chatmark.wire.messages import WIRE_NAMES, MarkItem, MarkRequest


def read_request(document: Any) -> list[MarkChange]:
    """
    Read a request body of mark_contact, already parsed, as changes.

    Raises:
        InputError: It is not of that shape, or a change in it could not be sent; `field` is its
            path.
    """
    if type(document) is not dict:
        raise InputError("$", "is not a JSON object")
    try:
        request = CONVERTER.structure(document, MarkRequest)
    except Exception as error:  # noqa: BLE001
        reason, path = first_fault(error)
        raise InputError(path, reason) from None
    check_id("$.From_Account", request.from_account, MAX_USER_ID_BYTES)
    changes: list[MarkChange] = []
    for index, item in enumerate(request.mark_item):
        try:
            changes.append(_change(request.from_account, item))
        except InputError as error:
            field = WIRE_NAMES.get(error.field, error.field)
            raise InputError(f"$.MarkItem[{index}].{field}", error.reason) from None
    return changes


def _change(from_account: str, item: MarkItem) -> MarkChange:
    change = MarkChange(
        from_account,
        item.contact_item,
        _mark_of("set_mark", item.set_mark),
        _mark_of("clear_mark", item.clear_mark),
        item.custom_mark,
    )
    if item.opt_type != change.opt_type:
        fields = OptType(change.opt_type)
        raise InputError("OptType", f"is {item.opt_type}, the fields are those of {fields}")
    return change


def _mark_of(field: str, numbers: list[int]) -> ConversationMark:
    try:
        return ConversationMark.from_bits(numbers)
    except InputError as error:
        raise InputError(field, error.reason) from None
