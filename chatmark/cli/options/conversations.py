"""Conversations on the command line."""

from chatmark import Conversation


def conversation_of(text: str) -> Conversation:
    """
    Return the conversation that an argument names: the id of a user, c2c_ID or group_ID.

    Raises:
        InputError: No conversation has this id.
    """
    # The forms of the SDKs in capitals are users' ids as well.
    if text.startswith(("c2c_", "group_")):
        return Conversation.parse(text)
    return Conversation.one_to_one(text)
