"""
The calls that the emulator answers: how each body is read, what it does, and what is answered.

Each function is the call of its name, and says in its docstring where the vendor describes it.
"""

from collections.abc import Callable, Generator
from typing import Final

import attrs

from chatmark.emulator.settings import Settings
from chatmark.emulator.state import ChatState, Entry
from chatmark.emulator.wire import Answer, Fields, Key, Line, Result, contact, envelope

# Applies a method of the state to a conversation of the request, unless a fault prevents it: takes
# the method, the conversation and the further arguments.
Attempt = Callable[..., Result]
# The answer and the list of its lines, which a fault may change in place.
Effect = tuple[list[Line], Answer]
# A call reads its body, yields the user ("" in calls about accounts) and the conversations that it
# names, and takes effect when it gets the state; a request without effect ends at the yield.
Steps = Generator[tuple[str, tuple[Key, ...]], tuple[ChatState, Attempt], Effect]
_Call = Callable[[Fields, Settings], Steps]


@attrs.frozen
class Command:
    """One call of the API; of those that change conversations a user has one in flight at most."""

    known: frozenset[str]
    call: _Call
    changes: bool


def take_effect(steps: Steps, state: ChatState, attempt: Attempt) -> Effect:
    """Let a request that was read take effect."""
    try:
        steps.send((state, attempt))
    except StopIteration as end:
        effect: Effect = end.value
        return effect
    raise AssertionError("a call yields once")


COMMANDS: Final[dict[str, Command]] = {}
"""The calls by their paths."""

_MARKS: Final = "recentcontact"
_ACCOUNTS: Final = "im_open_login_svc"
_STANDARD: Final = 1
_CUSTOM: Final = 2
_BOTH: Final = 3
_ADD: Final = 1
_REMOVE: Final = 2
_RENAME: Final = 1
_MEMBERS: Final = 2
_MAX_CUSTOM_MARK: Final = 256
_MOST_ACCOUNTS: Final = 100
_MOST_SEARCHED: Final = 300
# A captured answer to these AssistFlags has no marks; those of 2026 are 63, and answers have them.
_FLAGS_WITHOUT_MARKS: Final = 15
_ITEM: Final = frozenset({"OptType", "ContactItem", "SetMark", "ClearMark", "CustomMark"})
_ABSENT: Final = {1: ("CustomMark",), 2: ("SetMark", "ClearMark"), 3: ()}
_NEW_GROUP: Final = frozenset({"GroupName", "ContactItem"})
_GROUP: Final = frozenset({"UpdateGroupType", "OldGroupName", "NewGroupName", "ContactUpdateItem"})
_MEMBER: Final = frozenset({"ContactOptType", "ContactItem"})
_CURSORS: Final = ("AssistFlags", "StartIndex", "TimeStamp", "TopStartIndex", "TopTimeStamp")
_PROFILE: Final = frozenset({"UserID", "Nick", "FaceUrl"})
_DONE: Final = {**envelope(), "ErrorDisplay": ""}


def _call(service: str, *known: str, changes: bool = False) -> Callable[[_Call], _Call]:
    def register(call: _Call) -> _Call:
        COMMANDS[f"/v4/{service}/{call.__name__}"] = Command(frozenset(known), call, changes)
        return call

    return register


@_call(_MARKS, "From_Account", "MarkItem", changes=True)
def mark_contact(body: Fields, its: Settings) -> Steps:
    """https://www.tencentcloud.com/document/product/1047/53438."""
    account = body.user("From_Account")
    rows = body.array("MarkItem", its.max_items, 51006)
    items = [_read_item(rows.object(row, _ITEM)) for row in rows.raw]
    conversations = _distinct(rows, [key for _, key, *_ in items])
    state, attempt = yield account, conversations
    lines = [
        _result(key, attempt(state.apply, key, *change), OptType=opt_type)
        for opt_type, key, *change in items
    ]
    return lines, {"ResultItem": lines, **envelope()}


def _read_item(item: Fields) -> tuple[int, Key, int, int, str | None]:
    """
    Return OptType, conversation, bits to set and to clear, and custom mark; None leaves that.

    The vendor does not document an item whose fields do not match its OptType, so a client must
    never send one.
    """
    opt_type = item.choice("OptType", _STANDARD, _CUSTOM, _BOTH)
    key = item.contact("ContactItem")
    set_bits, clear_bits = item.bits("SetMark"), item.bits("ClearMark")
    custom_mark = item.text("CustomMark") if "CustomMark" in item.raw else None
    if custom_mark is not None and len(custom_mark.encode()) > _MAX_CUSTOM_MARK:
        item.refuse("CustomMark", f"must be {_MAX_CUSTOM_MARK} bytes at most")
    if set_bits & clear_bits:
        item.own_rule("ClearMark", "must have no bit of SetMark")
    if opt_type != _STANDARD and custom_mark is None:
        item.own_rule("CustomMark", f"missing, OptType is {opt_type}")
    for name in _ABSENT[opt_type]:
        if name in item.raw:
            item.own_rule(name, f"must be absent with OptType {opt_type}")
    if opt_type == _CUSTOM:
        set_bits = clear_bits = 0
    elif not set_bits | clear_bits:
        item.own_rule("SetMark", f"no bits to set or clear, OptType is {opt_type}")
    return opt_type, key, set_bits, clear_bits, None if opt_type == _STANDARD else custom_mark


@_call(_MARKS, "From_Account", "StartIndex")
def get_contact_group(body: Fields, _: Settings) -> Steps:
    """
    https://www.tencentcloud.com/document/product/1047/53440.

    As in the captured answer, the last page has CompleteTime instead of NextStartIndex.
    """
    account, start_index = body.user("From_Account"), body.number("StartIndex")
    state, _attempt = yield account, ()
    page = state.page(account, start_index)
    groups = _group_items(dict(state.account(account).contact_groups))
    lines = [entry_line(entry) for entry in page.entries]
    answer: Answer = {"ContactItem": lines, "GroupItem": groups}
    if page.next_index is None:
        answer |= {"CompleteFlag": 1, "CompleteTime": page.complete_time}
    else:
        answer |= {"CompleteFlag": 0, "NextStartIndex": page.next_index}
    return lines, answer | _DONE


@_call(_MARKS, "From_Account", "ContactItem")
def search_contact_group(body: Fields, _: Settings) -> Steps:
    """https://www.tencentcloud.com/document/product/1047/53442."""
    account = body.user("From_Account")
    rows = body.array("ContactItem", _MOST_SEARCHED)
    conversations = tuple([rows.contact(row) for row in rows.raw])
    state, _attempt = yield account, conversations
    entries = state.search(account, conversations)
    lines = [entry_line(entry) for entry in entries]
    ids = {id_ for entry in entries for id_ in entry.contact_group_ids}
    names = state.account(account).contact_groups.items()
    groups = _group_items({id_: name for id_, name in list(names) if id_ in ids})
    return lines, {"ContactResultItem": lines, "GroupItem": groups, **_DONE}


@_call(_MARKS, "From_Account", "GroupContactItem", changes=True)
def create_contact_group(body: Fields, its: Settings) -> Steps:
    """https://www.tencentcloud.com/document/product/1047/53437."""
    account = body.user("From_Account")
    group = body.array("GroupContactItem", 1).object("GroupContactItem[0]", _NEW_GROUP)
    name = group.name("GroupName")
    rows = group.array("ContactItem", its.max_items, 51006, least=0)
    conversations = _distinct(rows, [rows.contact(row) for row in rows.raw])
    state, attempt = yield account, conversations
    id_ = state.create_contact_group(account, name)
    lines = [_result(key, attempt(state.join, key, id_)) for key in conversations]
    (created,) = _group_items({id_: name})
    result: Line = {"GroupItem": created, "ResultItem": lines}
    return lines, {"GroupResultItem": [result], **_DONE}


@_call(_MARKS, "From_Account", "UpdateType", "UpdateGroup", changes=True)
def update_contact_group(body: Fields, its: Settings) -> Steps:
    """https://www.tencentcloud.com/document/product/1047/53439."""
    account = body.user("From_Account")
    body.choice("UpdateType", 1)
    group = body.object("UpdateGroup", _GROUP)
    kind = group.choice("UpdateGroupType", _RENAME, _MEMBERS)
    old_name = name = group.name("OldGroupName")
    opt_types: list[int] = []
    conversations: tuple[Key, ...] = ()
    if kind == _RENAME:
        name = group.name("NewGroupName")
    else:
        rows = group.array("ContactUpdateItem", its.max_items, 51006)
        members = [rows.object(row, _MEMBER) for row in rows.raw]
        opt_types = [each.choice("ContactOptType", _ADD, _REMOVE) for each in members]
        conversations = _distinct(rows, [each.contact("ContactItem") for each in members])
    state, attempt = yield account, conversations
    id_ = state.contact_group_id(account, old_name)
    if kind == _RENAME:
        state.rename_contact_group(account, id_, name)
    lines: list[Line] = []
    for key, opt_type in zip(conversations, opt_types, strict=True):
        code = attempt(state.join if opt_type == _ADD else state.leave, key, id_)
        lines.append(_result(key, code, ContactOptType=opt_type))
    result: Line = {
        "UpdateGroupType": kind,
        "GroupName": name,
        "GroupId": id_,
        "OldGroupName": old_name,
        "ContactResultItem": lines,
    }
    return lines, {"UpdateType": 1, "UpdateGroupResult": result, **_DONE}


@_call(_MARKS, "From_Account", "GroupName", changes=True)
def del_contact_group(body: Fields, _: Settings) -> Steps:
    """https://www.tencentcloud.com/document/product/1047/53441."""
    account = body.user("From_Account")
    name = body.array("GroupName", 1).name("GroupName[0]")
    state, _attempt = yield account, ()
    id_ = state.contact_group_id(account, name)
    for key in list(state.accounts[account].entries):
        state.leave(account, key, id_)
    del state.accounts[account].contact_groups[id_]
    return [], {"GroupItem": _group_items({id_: name}), **_DONE}


@_call(_MARKS, "From_Account", *_CURSORS)
def get_list(body: Fields, _: Settings) -> Steps:
    """https://www.tencentcloud.com/document/product/1047/43087."""
    account = body.user("From_Account")
    cursors = {name: body.number(name) for name in _CURSORS}
    marks = bool(cursors["AssistFlags"] & ~_FLAGS_WITHOUT_MARKS)
    state, _attempt = yield account, ()
    page = state.page(account, cursors["StartIndex"], recent=True)
    lines = [_session_line(entry, marks=marks) for entry in page.entries]
    return lines, {
        "SessionItem": lines,
        "CompleteFlag": int(page.next_index is None),
        "TimeStamp": state.now(),
        "StartIndex": page.next_index or 0,
        "TopTimeStamp": state.now(),
        "TopStartIndex": 0,
        **_DONE,
    }


@_call(_MARKS, "From_Account", "Type", "To_Account", "ToGroupid", "ClearRamble")
def delete(body: Fields, _: Settings) -> Steps:
    """
    https://www.tencentcloud.com/document/product/1047/43088.

    It does not say what becomes of the marks. They are said to be independent of the recent
    conversations, so they stay.
    """
    account, key = body.user("From_Account"), body.conversation(group_field="ToGroupid")
    state, _attempt = yield account, (key,)
    state.accounts[account].deleted.add(key)
    return [], dict(_DONE)


@_call(_ACCOUNTS, "Identifier", "Type", *_PROFILE)
def account_import(body: Fields, _: Settings) -> Steps:
    """https://www.tencentcloud.com/document/product/1047/34953."""
    # Older pages call the account Identifier.
    user = body.user("UserID" if "UserID" in body.raw else "Identifier")
    state, _attempt = yield "", ()
    state.import_users([user])
    return [], envelope()


@_call(_ACCOUNTS, "AccountList", "Accounts")
def multiaccount_import(body: Fields, _: Settings) -> Steps:
    """https://www.tencentcloud.com/document/product/1047/34954, the old form or the new one."""
    if "AccountList" in body.raw:
        users = _read_accounts(body, "AccountList")
    else:
        rows = body.array("Accounts", _MOST_ACCOUNTS, 70402)
        users = [rows.user(row) for row in rows.raw]
    state, _attempt = yield "", ()
    state.import_users(users)
    return [], {**envelope(), "FailAccounts": []}


@_call(_ACCOUNTS, "CheckItem")
def account_check(body: Fields, _: Settings) -> Steps:
    """https://www.tencentcloud.com/document/product/1047/34956."""
    users = _read_accounts(body, "CheckItem")
    state, _attempt = yield "", ()
    statuses = ["Imported" if state.knows_user(user) else "NotImported" for user in users]
    lines = [
        {"UserID": user, "ResultCode": 0, "ResultInfo": "", "AccountStatus": status}
        for user, status in zip(users, statuses, strict=True)
    ]
    return [], {"ResultItem": lines, **envelope()}


def _read_accounts(body: Fields, name: str) -> list[str]:
    rows = body.array(name, _MOST_ACCOUNTS, 70402)
    return [rows.object(row, _PROFILE).user("UserID") for row in rows.raw]


def _distinct(rows: Fields, conversations: list[Key]) -> tuple[Key, ...]:
    """
    Refuse a second item of a conversation.

    The vendor does not document such an item, so no client may send one.
    """
    seen: set[Key] = set()
    for name, key in zip(rows.raw, conversations, strict=True):
        if key in seen:
            reason = "must not name the conversation of an earlier item"
            rows.own_rule(name, reason, violation=f"conversation {key} twice in a request")
        seen.add(key)
    return tuple(conversations)


def _result(key: Key, result: Result, **opt_type: int) -> Line:
    code, info = result
    return {**opt_type, "ContactItem": contact(key), "ResultCode": code, "ResultInfo": info}


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


def _session_line(entry: Entry, *, marks: bool) -> Line:
    """Return the line of get_list for one conversation, where a group is named by GroupId."""
    line, named = entry_line(entry), contact(entry.conversation)
    time = line.pop("Timestamp")
    named = {name.replace("ToGroup", "Group"): line.pop(name) for name in named}
    return {**named, "MsgTime": time, "TopFlag": 0, **(line if marks else {})}


def _group_items(names: dict[int, str]) -> list[Line]:
    return [{"GroupName": name, "GroupId": id_} for id_, name in names.items()]
