"""The marked conversations of reading calls, and the answers of all calls."""

import json

import attrs

from chatmark.emulator.wire.fields import ONE_TO_ONE, Key
from chatmark.emulator.wire.refusals import advice

Line = dict[str, object]
"""One line of an answer: of ResultItem, ContactItem or ContactResultItem."""

Answer = dict[str, object]
"""A whole answer before it is written as JSON."""


@attrs.frozen
class Entry:
    """One conversation of a reading call, with the time of its last change in Unix seconds."""

    conversation: Key
    bits: int = 0
    custom_mark: str = ""
    contact_group_ids: tuple[int, ...] = ()
    timestamp: int = 0


@attrs.frozen
class Page:
    """
    One page of a user's marked conversations.

    Args:
        entries: The conversations of this page.
        contact_groups: Names of the user's contact groups by id.
        next_index: StartIndex of the next page, or None on the last one.
        complete_time: When the newest of the conversations changed, in seconds since 1970.
    """

    entries: list[Entry]
    contact_groups: dict[int, str]
    next_index: int | None
    complete_time: int


def contact(key: Key) -> Line:
    """Return the ContactItem of a conversation."""
    type_, id_ = key
    return {"Type": type_, "To_Account" if type_ == ONE_TO_ONE else "ToGroupId": id_}


def result_line(
    opt_type: int | None, key: Key, code: int, info: str, opt_name: str = "OptType"
) -> Line:
    """Return the line of a change for one conversation; create_contact_group has no *opt_type*."""
    named = contact(key)
    if opt_type is None:
        return {"ContactItem": named, "ResultCode": code, "ResultInfo": info}
    return {opt_name: opt_type, "ContactItem": named, "ResultCode": code, "ResultInfo": info}


def entry_line(entry: Entry) -> Line:
    """
    Return the line of a reading call for one conversation.

    As in the captured answer, StandardMark is "" without bits, and the fields of a custom mark and
    of contact groups are present only if the conversation has any.
    """
    line = contact(entry.conversation)
    # Most significant bit first, no leading zeros.
    line["StandardMark"] = f"{entry.bits:b}" if entry.bits else ""
    if entry.custom_mark:
        line["CustomMark"] = entry.custom_mark
    if entry.contact_group_ids:
        line["ContactGroupId"] = list(entry.contact_group_ids)
    line["Timestamp"] = entry.timestamp
    return line


def envelope(code: int = 0, info: str = "") -> Answer:
    """Return the fields that every answer has."""
    return {
        "ActionStatus": "FAIL" if code else "OK",
        "ErrorCode": code,
        "ErrorInfo": info or advice(code) if code else "",
    }


def mark_answer(lines: list[Line]) -> Answer:
    """Return the answer of https://www.tencentcloud.com/document/product/1047/53438."""
    return {"ResultItem": lines, **envelope()}


def page_answer(page: Page, lines: list[Line]) -> Answer:
    """
    Return the answer of https://www.tencentcloud.com/document/product/1047/53440.

    As in the captured answer, the last page has CompleteTime instead of NextStartIndex.
    """
    answer: Answer = {"ContactItem": lines, "GroupItem": _group_items(page.contact_groups)}
    if page.next_index is None:
        answer |= {"CompleteFlag": 1, "CompleteTime": page.complete_time}
    else:
        answer |= {"CompleteFlag": 0, "NextStartIndex": page.next_index}
    return {**answer, **envelope(), "ErrorDisplay": ""}


def search_answer(contact_groups: dict[int, str], lines: list[Line]) -> Answer:
    """Return the answer of https://www.tencentcloud.com/document/product/1047/53442."""
    groups = _group_items(contact_groups)
    return {"ContactResultItem": lines, "GroupItem": groups, **envelope(), "ErrorDisplay": ""}


def create_answer(name: str, id_: int, lines: list[Line]) -> Answer:
    """Return the answer of https://www.tencentcloud.com/document/product/1047/53437."""
    (group,) = _group_items({id_: name})
    result: Line = {"GroupItem": group, "ResultItem": lines}
    return {"GroupResultItem": [result], **envelope(), "ErrorDisplay": ""}


def update_answer(old_name: str, name: str, id_: int, kind: int, lines: list[Line]) -> Answer:
    """Return the answer of https://www.tencentcloud.com/document/product/1047/53439."""
    result: Line = {
        "UpdateGroupType": kind,
        "GroupName": name,
        "GroupId": id_,
        "OldGroupName": old_name,
        "ContactResultItem": lines,
    }
    return {"UpdateType": 1, "UpdateGroupResult": result, **envelope(), "ErrorDisplay": ""}


def delete_group_answer(name: str, id_: int) -> Answer:
    """Return the answer of https://www.tencentcloud.com/document/product/1047/53441."""
    return {"GroupItem": _group_items({id_: name}), **envelope(), "ErrorDisplay": ""}


def session_line(entry: Entry, *, marks: bool) -> Line:
    """Return the line of get_list for one conversation."""
    line = entry_line(entry)
    time = line.pop("Timestamp")
    named = {
        name.replace("ToGroup", "Group"): line.pop(name) for name in contact(entry.conversation)
    }
    return {**named, "MsgTime": time, "TopFlag": 0, **(line if marks else {})}


def list_answer(page: Page, now: int, lines: list[Line]) -> Answer:
    """Return the answer of https://www.tencentcloud.com/document/product/1047/43087."""
    index = page.next_index
    cursors = {"TimeStamp": now, "StartIndex": index or 0, "TopTimeStamp": now, "TopStartIndex": 0}
    flag = {"CompleteFlag": int(index is None)}
    return {"SessionItem": lines, **flag, **cursors, **envelope(), "ErrorDisplay": ""}


def account_line(user: str, known: bool) -> Line:
    """Return the line of account_check for one account."""
    status = "Imported" if known else "NotImported"
    return {"UserID": user, "ResultCode": 0, "ResultInfo": "", "AccountStatus": status}


def to_json(answer: Answer) -> bytes:
    """Return *answer* as JSON."""
    return json.dumps(answer, separators=(",", ":")).encode()


def _group_items(names: dict[int, str]) -> list[Line]:
    return [{"GroupName": name, "GroupId": id_} for id_, name in names.items()]
