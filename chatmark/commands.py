"""The calls of the API."""

import enum
from typing import Final

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

publish(__name__)
