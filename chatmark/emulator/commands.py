"""The calls that the emulator answers: how each body is read, and what the request does."""

from collections.abc import Callable
from typing import Any, Final

import attrs

from chatmark.emulator.settings import Settings
from chatmark.emulator.state import ChatState
from chatmark.emulator.wire import account_requests as accounts
from chatmark.emulator.wire import answers, requests
from chatmark.emulator.wire import group_requests as groups
from chatmark.emulator.wire.answers import Answer, Line
from chatmark.emulator.wire.requests import Request

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


def _mark(state: ChatState, asked: requests.MarkRequest, attempt: Attempt) -> Effect:
    account, apply = asked.from_account, state.apply
    lines: list[Line] = []
    for item in asked.items:
        key = item.conversation
        change = (account, key, item.set_bits, item.clear_bits, item.custom_mark)
        lines.append(answers.result_line(item.opt_type, key, *attempt(key, apply, *change)))
    return lines, answers.mark_answer


def _page(state: ChatState, asked: requests.PageRequest, _: Attempt) -> Effect:
    page = state.page(asked.from_account, asked.start_index)
    lines = [answers.entry_line(entry) for entry in page.entries]
    return lines, lambda lines: answers.page_answer(page, lines)


def _search(state: ChatState, asked: Request, _: Attempt) -> Effect:
    entries = state.search(asked.from_account, asked.conversations)
    names = state.contact_group_names(asked.from_account, entries)
    lines = [answers.entry_line(entry) for entry in entries]
    return lines, lambda lines: answers.search_answer(names, lines)


def _create(state: ChatState, asked: groups.GroupRequest, attempt: Attempt) -> Effect:
    account, name = asked.from_account, asked.name
    id_ = state.create_contact_group(account, name)
    lines = [
        answers.result_line(None, key, *attempt(key, state.join, account, key, id_))
        for key in asked.conversations
    ]
    return lines, lambda lines: answers.create_answer(name, id_, lines)


def _update(state: ChatState, asked: groups.GroupRequest, attempt: Attempt) -> Effect:
    account, name = asked.from_account, asked.new_name or asked.name
    id_ = state.contact_group_id(account, asked.name)
    if asked.new_name is not None:
        state.rename_contact_group(account, id_, asked.new_name)
    lines: list[Line] = []
    for key, opt_type in zip(asked.conversations, asked.opt_types, strict=True):
        apply = state.join if opt_type == groups.ADD else state.leave
        code, info = attempt(key, apply, account, key, id_)
        lines.append(answers.result_line(opt_type, key, code, info, "ContactOptType"))
    kind = groups.RENAME if asked.new_name else groups.MEMBERS
    return lines, lambda lines: answers.update_answer(asked.name, name, id_, kind, lines)


def _delete_group(state: ChatState, asked: groups.GroupRequest, _: Attempt) -> Effect:
    id_ = state.delete_contact_group(asked.from_account, asked.name)
    return [], lambda _: answers.delete_group_answer(asked.name, id_)


def _list(state: ChatState, asked: requests.ListRequest, _: Attempt) -> Effect:
    page = state.page(asked.from_account, asked.start_index, recent=True)
    lines = [answers.session_line(entry, marks=asked.marks) for entry in page.entries]
    return lines, lambda lines: answers.list_answer(page, state.now(), lines)


def _delete(state: ChatState, asked: Request, _: Attempt) -> Effect:
    state.delete_recent(asked.from_account, *asked.conversations)
    return [], lambda _: {**answers.envelope(), "ErrorDisplay": ""}


def _import(state: ChatState, asked: accounts.AccountsRequest, _: Attempt) -> Effect:
    state.import_users(asked.accounts)
    failed: Answer = {"FailAccounts": []} if asked.several else {}
    return [], lambda _: {**answers.envelope(), **failed}


def _check(state: ChatState, asked: accounts.AccountsRequest, _: Attempt) -> Effect:
    lines = [answers.account_line(user, state.knows_user(user)) for user in asked.accounts]
    return [], lambda _: {"ResultItem": lines, **answers.envelope()}


_MARKS: Final = "/v4/recentcontact/"
_ACCOUNTS: Final = "/v4/im_open_login_svc/"

COMMANDS: Final = {
    f"{_MARKS}mark_contact": Command(requests.read_mark_request, _mark, changes=True),
    f"{_MARKS}get_contact_group": Command(requests.read_page_request, _page),
    f"{_MARKS}search_contact_group": Command(requests.read_search_request, _search),
    f"{_MARKS}create_contact_group": Command(groups.read_create_request, _create, changes=True),
    f"{_MARKS}update_contact_group": Command(groups.read_update_request, _update, changes=True),
    f"{_MARKS}del_contact_group": Command(groups.read_delete_request, _delete_group, changes=True),
    f"{_MARKS}get_list": Command(requests.read_list_request, _list),
    f"{_MARKS}delete": Command(requests.read_delete_request, _delete),
    f"{_ACCOUNTS}account_import": Command(accounts.read_import_request, _import),
    f"{_ACCOUNTS}multiaccount_import": Command(accounts.read_imports_request, _import),
    f"{_ACCOUNTS}account_check": Command(accounts.read_check_request, _check),
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
