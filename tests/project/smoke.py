"""
Use an installed chatmark as a new user would: `python smoke.py`, with the wheel and no source.
"""

import asyncio
import importlib.resources
import sys

import chatmark
from chatmark import Conversation, ConversationMark, Credentials, MarkSession
from chatmark.emulator import EmulatorThread


async def main() -> None:
    """Mark, and read back."""
    with EmulatorThread() as emulator:
        credentials = Credentials(
            sdkappid=emulator.settings.sdkappid,
            identifier=min(emulator.settings.admins),
            secret_key=emulator.settings.secret_key,
        )
        async with MarkSession(credentials, base_url=emulator.url) as session:
            await session.mark(
                "amy", Conversation.one_to_one("bob"), set_mark=ConversationMark.FAVORITE
            )
            [marked] = [each async for each in session.marked("amy")]
    assert ConversationMark.FAVORITE == marked.mark
    assert importlib.resources.files(chatmark).joinpath("py.typed").is_file()
    print(f"chatmark {chatmark.__version__} works on Python {sys.version.split()[0]}")


if __name__ == "__main__":
    asyncio.run(main())
