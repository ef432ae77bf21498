"""The calls that the emulator answers: how each body is read, and what the request does."""

from collections.abc import Callable
from typing import Any, Final

import attrs

from chatmark.emulator.settings import Settings
from chatmark.emulator.state import ChatState
from chatmark.emulator.wire.account_requests import (
    AccountsRequest,
    read_check_request,
    read_import_request,
    read_imports_request,
)
from chatmark.emulator.wire.answers import (
    Answer,
    Line,
    account_line,
    create_answer,
    delete_group_answer,
    entry_lines,
    envelope,
    list_answer,
    mark_answer,
    page_answer,
    result_line,
    search_answer,
    session_line,
    update_answer,
)
from chatmark.emulator.wire.group_requests import (
    ADD,
    MEMBERS,
    RENAME,
    GroupRequest,
    read_create_request,
    read_delete_group_request,
    read_update_request,
)
from chatmark.emulator.wire.requests import (
    ListRequest,
    MarkRequest,
    PageRequest,
    Request,
    SearchRequest,
    read_delete_request,
    read_list_request,
    read_mark_request,
    read_page_request,
    read_search_request,
)

# The ResultCode and ResultInfo of one item: the first argument is its conversation, the others are
# the function that applies it and its arguments.
Attempt = Callable[..., tuple[int, str]]
# The lines of an answer, and the function that makes the answer of them.
Effect = tuple[list[Line], Callable[[list[Line]], Answer]]


@attrs.frozen
class Command:
    """
    One call of the API.

    Args:
        read: Reads the body.
        apply: Lets the request take effect.
        changes: Whether it changes conversations, so that a user has one in flight at a time.
    """

    read: Callable[[bytes, Settings], Request]
    apply: Callable[[ChatState, Any, Attempt], Effect]
    changes: bool = False


def _mark(state: ChatState, asked: MarkRequest, attempt: Attempt) -> Effect:
    account, apply = asked.from_account, state.apply
    lines: list[Line] = []
    for item in asked.items:
        key = item.conversation
        change = (account, key, item.set_bits, item.clear_bits, item.custom_mark)
        lines.append(result_line(item.opt_type, key, *attempt(key, apply, *change)))
    return lines, mark_answer


def _page(state: ChatState, asked: PageRequest, _: Attempt) -> Effect:
    page = state.page(asked.from_account, asked.start_index)
    return entry_lines(page.entries), lambda lines: page_answer(page, lines)


def _search(state: ChatState, asked: SearchRequest, _: Attempt) -> Effect:
    entries = state.search(asked.from_account, asked.conversations)
    names = state.contact_group_names(asked.from_account, entries)
    return entry_lines(entries), lambda lines: search_answer(names, lines)


def _create(state: ChatState, asked: GroupRequest, attempt: Attempt) -> Effect:
    account, name = asked.from_account, asked.name
    id_ = state.create_contact_group(account, name)
    lines = [
        result_line(None, key, *attempt(key, state.join, account, key, id_))
        for key in asked.conversations
    ]
    return lines, lambda lines: create_answer(name, id_, lines)


def _update(state: ChatState, asked: GroupRequest, attempt: Attempt) -> Effect:
    account, name = asked.from_account, asked.new_name or asked.name
    id_ = state.contact_group_id(account, asked.name)
    if asked.new_name is not None:
        state.rename_contact_group(account, id_, asked.new_name)
    lines: list[Line] = []
    for key, opt_type in zip(asked.conversations, asked.opt_types, strict=True):
        apply = state.join if opt_type == ADD else state.leave
        code, info = attempt(key, apply, account, key, id_)
        lines.append(result_line(opt_type, key, code, info, "ContactOptType"))
    kind = RENAME if asked.new_name else MEMBERS
    return lines, lambda lines: update_answer(asked.name, name, id_, kind, lines)


def _delete_group(state: ChatState, asked: GroupRequest, _: Attempt) -> Effect:
    id_ = state.delete_contact_group(asked.from_account, asked.name)
    return [], lambda _: delete_group_answer(asked.name, id_)


def _list(state: ChatState, asked: ListRequest, _: Attempt) -> Effect:
    page = state.page(asked.from_account, asked.start_index, recent=True)
    lines = [session_line(entry, marks=asked.marks) for entry in page.entries]
    return lines, lambda lines: list_answer(page, state.now(), lines)


def _delete(state: ChatState, asked: Request, _: Attempt) -> Effect:
    state.delete_recent(asked.from_account, *asked.conversations)
    return [], lambda _: {**envelope(), "ErrorDisplay": ""}


def _import(state: ChatState, asked: AccountsRequest, _: Attempt) -> Effect:
    state.import_users(asked.accounts)
    failed: Answer = {"FailAccounts": []} if asked.several else {}
    return [], lambda _: {**envelope(), **failed}


def _check(state: ChatState, asked: AccountsRequest, _: Attempt) -> Effect:
    lines = [account_line(user, state.knows_user(user)) for user in asked.accounts]
    return [], lambda _: {"ResultItem": lines, **envelope()}


_MARKS: Final = "/v4/recentcontact/"
_ACCOUNTS: Final = "/v4/im_open_login_svc/"

COMMANDS: Final = {
    f"{_MARKS}mark_contact": Command(read_mark_request, _mark, changes=True),
    f"{_MARKS}get_contact_group": Command(read_page_request, _page),
    f"{_MARKS}search_contact_group": Command(read_search_request, _search),
    f"{_MARKS}create_contact_group": Command(read_create_request, _create, changes=True),
    f"{_MARKS}update_contact_group": Command(read_update_request, _update, changes=True),
    f"{_MARKS}del_contact_group": Command(read_delete_group_request, _delete_group, changes=True),
    f"{_MARKS}get_list": Command(read_list_request, _list),
    f"{_MARKS}delete": Command(read_delete_request, _delete),
    f"{_ACCOUNTS}account_import": Command(read_import_request, _import),
    f"{_ACCOUNTS}multiaccount_import": Command(read_imports_request, _import),
    f"{_ACCOUNTS}account_check": Command(read_check_request, _check),
}
"""The calls by their paths."""

SERVICES: Final = frozenset(
    {
        *("recentcontact", "im_open_login_svc", "openim", "group_open_http_svc", "sns", "profile"),
        *("group_open_attr_http_svc", "openconfigsvr", "all_member_push", "ConfigSvc"),
        *("open_msg_svc", "timpush", "openim_robot_http_svc", "official_account_open_http_svc"),
    }
)
"""Services of Chat: the second part of the path of each of its calls."""
