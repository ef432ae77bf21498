"""Refusals of requests, with the vendor's codes."""

from typing import Final

ADVICE: Final = {
    50001: "the user account is not imported",
    50002: "a request parameter is wrong",
    50003: "the identifier is not an app admin",
    50004: "server fault",
    50005: "server-side timeout",
    51006: "the number of conversations of the request is 0 or above the limit",
    51007: "the group does not exist or the user is not in it",
    51008: "the user has the maximum of marked or grouped conversations",
    51009: "the user has no conversation group of this name",
    51010: "the user has the maximum of conversation groups",
    51011: "the name of the conversation group is too long",
    51013: "the edition has no standard marks and no conversation groups",
    60002: "the HTTP request could not be parsed",
    60003: "the body is not valid JSON",
    60006: "the SDKAppID is not valid",
    60007: "too many calls of this API in one second",
    60008: "the request did not arrive in time",
    60009: "unknown request path",
    60010: "the identifier is not an app admin",
    60011: "too many calls of this SDKAppID",
    60012: "sdkappid is missing",
    60015: "a user id is not a string",
    60025: "a query parameter is missing or wrong",
    70001: "the UserSig has expired",
    70002: "the UserSig is empty",
    70003: "the UserSig is malformed",
    70009: "the UserSig was signed with another key",
    70013: "the UserSig was made for another identifier",
    70014: "the UserSig was made for another SDKAppID",
    70402: "a parameter is wrong",
    93000: "the body is too long",
}
"""The emulator's texts for the codes that it gives.

The codes are those of https://www.tencentcloud.com/document/product/1047/34348.
"""


def advice(code: int) -> str:
    """Return the emulator's text for *code*, also for codes of a script."""
    return ADVICE.get(code, f"refused with {code}")


class Refusal(Exception):  # noqa: N818 - a refusal is an answer, not an error of the emulator.
    """
    Ends the handling of a request with an envelope of *code*.

    Args:
        code: The vendor's ErrorCode.
        info: ErrorInfo; the emulator's text for *code* by default.
        violation: The act that a correct client never does, if there is one.
    """

    def __init__(self, code: int, info: str = "", *, violation: str | None = None) -> None:
        super().__init__(code, info)
        self.code = code
        self.info = info or advice(code)
        self.violation = violation
