"""
The calls of the API, and its result codes: what each means, and how chatmark treats it.

`codes.tsv` is the only place that knows a code by its number. The meanings come from the pages that
it names; where they disagree, the newest decides. Those on 51007 name two causes, and both allow
one later attempt. Codes of other families of the same server are there because its parts may answer
for each other.
"""

import enum
import importlib.resources
from collections.abc import Iterator
from typing import Final

import attrs

from chatmark.lazy import publish


class Command(enum.Enum):
    """The calls of the API that chatmark makes, by their path."""

    MARK_CONTACT = "v4/recentcontact/mark_contact"
    GET_CONTACT_GROUP = "v4/recentcontact/get_contact_group"
    SEARCH_CONTACT_GROUP = "v4/recentcontact/search_contact_group"
    CREATE_CONTACT_GROUP = "v4/recentcontact/create_contact_group"
    UPDATE_CONTACT_GROUP = "v4/recentcontact/update_contact_group"
    DELETE_CONTACT_GROUP = "v4/recentcontact/del_contact_group"

    def __str__(self) -> str:
        return self.value.rpartition("/")[2]


# The command that a budget counts by itself.
MARKING: Final = str(Command.MARK_CONTACT)


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
        is_of_login: Whether a wrong SDKAppID, region, identifier or key is the likely cause.
    """

    number: int
    handling: Handling
    meaning: str
    advice: str
    page: str
    pause: float = 0.0
    is_of_login: bool = False


def _rows() -> Iterator[Code]:
    table = (importlib.resources.files("chatmark") / "codes.tsv").read_text("utf-8")
    for line in table.splitlines()[1:]:
        number, handling, pause, login, meaning, advice, page = line.split("\t")
        kind, is_of_login = Handling[handling], bool(login)
        yield Code(int(number), kind, meaning, advice, page, float(pause or 0), is_of_login)


CODES: Final = {row.number: row for row in _rows()}


def code_of(number: int) -> Code:
    """Return the row of a code; one that no page lists is refused, never retried."""
    known = CODES.get(number)
    if known is not None:
        return known
    meaning, advice = "a code that no vendor page lists", "Ask the vendor's support."
    return Code(number, Handling.REFUSE_ITEM, meaning, advice, "documented nowhere")


publish(__name__)
