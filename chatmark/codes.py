"""
The vendor's result codes: what each means, what to do about it, and how chatmark treats it.

This table is the only place that knows a code by its number. The meanings come from the pages named
in `PAGES`; where the pages disagree, the treatment follows the newest of them.
"""

import enum

import attrs


class Handling(enum.Enum):
    """The way in which a session handles a code."""

    DONE = "success"
    RETRY = "sent again after a backoff"
    RETRY_ONCE = "sent again once, then refused"
    SLOW_DOWN = "everything pauses, then it is sent again"
    RENEW_SIGNATURE = "sent again with a new UserSig, once"
    SPLIT = "sent again in smaller requests; an item that is refused alone is at fault"
    REFUSE_ITEM = "not sent again"
    REFUSE_STANDARD = (
        "changes of the standard mark are not sent again, and those that wait fail at once with it"
    )
    REFUSE_APPLICATION = "not sent again, and everything that waits fails at once with it"


@attrs.frozen
class Code:
    """
    One row of the vendor's tables.

    Args:
        number: The code, as in `ErrorCode` or `ResultCode`.
        handling: How a session handles it.
        meaning: The code in words.
        advice: The advice to a person.
        page: The vendor page that documents it.
        pause: The least time in seconds that the vendor asks to wait, 0 where it names none.
    """

    number: int
    handling: Handling
    meaning: str
    advice: str
    page: str
    pause: float = attrs.field(default=0.0, kw_only=True)

    @property
    def is_of_login(self) -> bool:
        """Whether a wrong SDKAppID, region, identifier or key is the likely cause."""
        return self.advice in (_REGION, _KEY)


_MARKS = "https://www.tencentcloud.com/document/product/1047/53438"
_GROUPS = "https://www.tencentcloud.com/document/product/1047/53437"
_REST = "https://www.tencentcloud.com/document/product/1047/34620"
_ERRORS = "https://trtc.io/document/34348"
_WEB_SDK = "https://www.npmjs.com/package/@tencentcloud/chat"
_SEEN = "https://github.com/tencentyun/imsdk_restapi-nodejs-sdk/issues/1"
_NOWHERE = "documented nowhere"

_RETRY, _ONCE, _SLOW = Handling.RETRY, Handling.RETRY_ONCE, Handling.SLOW_DOWN
_RENEW, _SPLIT = Handling.RENEW_SIGNATURE, Handling.SPLIT
_ITEM, _APP = Handling.REFUSE_ITEM, Handling.REFUSE_APPLICATION

_LATER = "Try again later; if it lasts, ask the vendor's support."
_SLOWER = "Lower the rate of calls; other programs of this SDKAppID share it."
_SUPPORT = "Ask the vendor's support."
_BODY = "Report it to chatmark's developers, with the server's text."
_IMPORT = "Import the account, then send again."
_ADMIN = "Use an identifier that is an administrator of the application."
_PLAN = "Look at the plan and the bill of this SDKAppID in the console."
_REGION = "Check the SDKAppID and that the region is the data centre of this application."
_KEY = "Use the secret key of this very SDKAppID, from the console."
_SIGN = "Renew the UserSig; check the clock of this machine."

_ROWS = (
    Code(0, Handling.DONE, "success", "Nothing.", _MARKS),
    # The recentcontact family.
    Code(50001, _ITEM, "the user account is not imported", _IMPORT, _MARKS),
    Code(50002, _SPLIT, "a parameter of the request is wrong", "Read the server's text.", _MARKS),
    Code(50003, _APP, "the identifier is not an administrator", _ADMIN, _MARKS),
    Code(50004, _RETRY, "a fault inside the server", _LATER, _MARKS),
    Code(50005, _RETRY, "a timeout inside the server", _LATER, _MARKS),
    Code(51006, _SPLIT, "no items, or more than the server takes at once", _BODY, _MARKS),
    # The two editions of the page disagree on the cause; both allow one later attempt.
    Code(
        51007,
        _ONCE,
        "the group was dissolved, or the user does not have this group conversation",
        "Check that the user is a member of the group.",
        _MARKS,
    ),
    Code(
        51008,
        _ITEM,
        "the user has the most marked or grouped conversations that are allowed (1000 by default)",
        "Clear the marks of conversations that no longer need them, or remove them from groups.",
        _MARKS,
    ),
    Code(
        51009,
        _ITEM,
        "the conversation group does not exist",
        "List the user's groups; a client may have renamed or deleted it.",
        _GROUPS,
    ),
    Code(51010, _ITEM, "more than 20 conversation groups", "Delete a group first.", _GROUPS),
    Code(51011, _ITEM, "the group name is longer than 32 or 64 bytes", "Shorten it.", _GROUPS),
    Code(51012, _ITEM, "too many pinned conversations", "Unpin one first.", _ERRORS),
    Code(
        51013,
        Handling.REFUSE_STANDARD,
        "the plan does not include standard marks",
        "Upgrade the edition of this SDKAppID.",
        _MARKS,
    ),
    # Common to every REST call.
    Code(60002, _APP, "the HTTP request could not be parsed", "Check the base URL.", _REST),
    Code(60003, _ITEM, "the request body is not valid JSON", _BODY, _REST),
    Code(60004, _RENEW, "the account or signature check failed", _SIGN, _REST),
    Code(60005, _RENEW, "the account or signature check failed", _SIGN, _REST),
    Code(60006, _APP, "the SDKAppID is not valid", _REGION, _REST),
    Code(60007, _SLOW, "the call rate of this API is exceeded", _SLOWER, _REST),
    Code(60008, _RETRY, "a timeout behind the server", _LATER, _REST),
    Code(60009, _APP, "the request path is unknown", "Check the base URL.", _REST),
    Code(60010, _APP, "the identifier must be an administrator", _ADMIN, _REST),
    Code(60011, _SLOW, "the call rate of the whole SDKAppID is exceeded", _SLOWER, _REST),
    Code(60012, _APP, "the SDKAppID is missing in the URL", _BODY, _REST),
    Code(60013, _ITEM, "the server could not read its own answer", _SUPPORT, _REST),
    Code(60014, _RETRY, "the account check timed out", _LATER, _REST),
    Code(60015, _ITEM, "a user id in the body is not a string", _BODY, _REST),
    Code(60016, _APP, "the SDKAppID is disabled", _SUPPORT, _REST),
    Code(60017, _APP, "this request is disabled", _SUPPORT, _REST),
    Code(60018, _SLOW, "too many requests", _SLOWER, _REST),
    Code(60019, _SLOW, "too many requests", _SLOWER, _REST),
    Code(60020, _APP, "the plan has expired or is in arrears", _PLAN, _REST),
    Code(60021, _APP, "the source IP is refused", "Allow this machine's address.", _REST),
    Code(60022, _SLOW, "the service is overloaded", _LATER, _WEB_SDK),
    Code(60025, _APP, "a parameter of the URL is wrong", _REGION, _ERRORS),
    Code(60026, _APP, "the host is not the data centre of this application", _REGION, _ERRORS),
    Code(60027, _APP, "this application may only use the push APIs", _PLAN, _ERRORS),
    Code(60028, _APP, "the daily quota of the trial edition is used up", _PLAN, _ERRORS),
    # Signatures.
    Code(70001, _RENEW, "the UserSig has expired", _SIGN, _ERRORS),
    Code(70002, _RENEW, "the UserSig is empty", _SIGN, _ERRORS),
    Code(70003, _APP, "the UserSig is malformed", "Make it anew, whole.", _ERRORS),
    Code(70005, _APP, "the UserSig is not valid", "Make it anew, whole.", _ERRORS),
    Code(70009, _APP, "the UserSig was made with another key", _KEY, _ERRORS),
    Code(70013, _APP, "the UserSig was made for another identifier", _KEY, _ERRORS),
    Code(70014, _APP, "the UserSig was made for another SDKAppID", _KEY, _ERRORS),
    Code(70016, _APP, "this data centre has no key for the SDKAppID", _REGION, _ERRORS),
    Code(70020, _APP, "the SDKAppID is unknown here", _REGION, _ERRORS),
    Code(70050, _SLOW, "too many failed signatures", _SIGN, _ERRORS, pause=60.0),
    Code(70051, _APP, "the account is blocklisted", _SUPPORT, _ERRORS),
    Code(70107, _ITEM, "the user account is not imported", _IMPORT, _ERRORS),
    Code(70169, _RETRY, "a timeout of the server", _LATER, _ERRORS),
    Code(70202, _RETRY, "a timeout of the server", _LATER, _ERRORS),
    Code(70206, _SPLIT, "the size of the batch is not allowed", _BODY, _ERRORS),
    Code(70346, _RENEW, "the signature check failed", _SIGN, _SEEN),
    Code(70398, _ITEM, "more accounts than the plan allows", _PLAN, _ERRORS),
    Code(70402, _SPLIT, "a parameter is not allowed", "Read the server's text.", _ERRORS),
    Code(70403, _APP, "the call needs an administrator", _ADMIN, _ERRORS),
    Code(70500, _RETRY, "a fault inside the server", _LATER, _ERRORS),
    Code(72000, _APP, "the daily users of the trial edition are used up", _PLAN, _ERRORS),
    Code(72002, _APP, "the monthly users of the trial edition are used up", _PLAN, _ERRORS),
    Code(72010, _SLOW, "too many requests", _SLOWER, _ERRORS),
    Code(80002, _SPLIT, "the request body is longer than 12 KB", _BODY, _ERRORS),
    Code(80005, _APP, "the service is deactivated", _PLAN, _ERRORS),
    # Other families of the same server, in case its parts answer for each other.
    Code(10002, _RETRY, "a fault inside the group server", _LATER, _ERRORS),
    Code(10003, _APP, "the name of the API is unknown", "Check the base URL.", _ERRORS),
    Code(10004, _SPLIT, "a parameter of the request is wrong", "Read the server's text.", _ERRORS),
    Code(10005, _SPLIT, "too many accounts in one request", _BODY, _ERRORS),
    Code(10006, _SLOW, "the operation is too frequent", _SLOWER, _ERRORS),
    Code(10007, _ITEM, "no permission for this group", "Check the membership.", _ERRORS),
    Code(10010, _ITEM, "the group does not exist", "Check the group id.", _ERRORS),
    Code(10011, _ITEM, "the request body is not valid JSON", _BODY, _ERRORS),
    Code(10015, _ITEM, "the group does not exist", "Check the group id.", _ERRORS),
    Code(10018, _SPLIT, "the answer would be longer than 1 MB", _BODY, _ERRORS),
    Code(10026, _APP, "this command is disabled for the SDKAppID", _SUPPORT, _ERRORS),
    Code(10059, _APP, "the plan does not include this feature", _PLAN, _ERRORS),
    Code(20004, _RETRY, "a network fault inside the server", _LATER, _ERRORS),
    Code(20005, _RETRY, "a fault inside the server", _LATER, _ERRORS),
    Code(90001, _ITEM, "the request body is not valid JSON", _BODY, _ERRORS),
    Code(90008, _ITEM, "the account is missing or unknown", _IMPORT, _ERRORS),
    Code(90009, _APP, "the call needs an administrator", _ADMIN, _ERRORS),
    Code(90018, _SPLIT, "too many accounts in one request", _BODY, _ERRORS),
    Code(90048, _ITEM, "the user account does not exist", _IMPORT, _ERRORS),
    Code(90057, _SLOW, "batch requests are too frequent", _SLOWER, _ERRORS),
    Code(90992, _RETRY, "a fault behind the server", _LATER, _ERRORS),
    Code(90994, _RETRY, "a fault inside the server", _LATER, _ERRORS),
    Code(90995, _RETRY, "a fault inside the server", _LATER, _ERRORS),
    Code(91000, _RETRY, "a fault inside the server", _LATER, _ERRORS),
    Code(93000, _SPLIT, "the request body is too long", _BODY, _ERRORS),
)

CODES: dict[int, Code] = {row.number: row for row in _ROWS}


def code_of(number: int) -> Code:
    """Return the row of a code; one that no page lists is refused, never retried."""
    known = CODES.get(number)
    if known is not None:
        return known
    return Code(number, _ITEM, "a code that no vendor page lists", _SUPPORT, _NOWHERE)
