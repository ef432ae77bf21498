"""Read the bodies of requests about accounts by hand, or refuse them."""

from collections.abc import Iterable, Iterator
from typing import Final

import attrs

from chatmark.emulator.settings import Settings
from chatmark.emulator.wire.fields import read_array, read_body, read_object, read_user_id
from chatmark.emulator.wire.refusals import Refusal
from chatmark.emulator.wire.requests import Request

_PROFILE: Final = frozenset({"UserID", "Nick", "FaceUrl"})
_MOST: Final = 100


@attrs.frozen
class AccountsRequest(Request):
    """
    A body of account_import, multiaccount_import or account_check.

    Args:
        accounts: The accounts that the request names.
        several: Whether it may name several.
    """

    accounts: tuple[str, ...]
    several: bool = True


def read_import_request(body: bytes, its: Settings) -> AccountsRequest:
    """Read a body of https://www.tencentcloud.com/document/product/1047/34953."""
    # Older pages call the account Identifier.
    raw = read_body(body, _PROFILE | {"Identifier", "Type"}, strict=its.strict)
    name = "UserID" if "UserID" in raw else "Identifier"
    return AccountsRequest("", (), (read_user_id(raw, name),), several=False)


def read_imports_request(body: bytes, its: Settings) -> AccountsRequest:
    """Read a body of https://www.tencentcloud.com/document/product/1047/34954, old or new."""
    raw = read_body(body, frozenset({"AccountList", "Accounts"}), strict=its.strict)
    if "AccountList" in raw:
        return _accounts(_named(raw, "AccountList", its))
    return _accounts(
        read_user_id({"Accounts": each}, "Accounts") for each in read_array(raw, "Accounts")
    )


def read_check_request(body: bytes, its: Settings) -> AccountsRequest:
    """Read a body of https://www.tencentcloud.com/document/product/1047/34956."""
    raw = read_body(body, frozenset({"CheckItem"}), strict=its.strict)
    return _accounts(_named(raw, "CheckItem", its))


def _named(raw: dict[str, object], name: str, its: Settings) -> Iterator[str]:
    for index, row in enumerate(read_array(raw, name)):
        where = f"{name}[{index}]."
        yield read_user_id(read_object(row, _PROFILE, where, strict=its.strict), "UserID", where)


def _accounts(accounts: Iterable[str]) -> AccountsRequest:
    found = tuple(accounts)
    if not 0 < len(found) <= _MOST:
        raise Refusal(70402, f"{len(found)} accounts, must be 1 to {_MOST}")
    return AccountsRequest("", (), found)
