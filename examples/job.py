"""
A job that marks many conversations at once, and accounts for each of them.

    chatmark serve                      # in one terminal; it prints the environment for the other
    python examples/job.py
"""

import asyncio
from collections.abc import Iterator

from chatmark import Conversation, ConversationMark, MarkChange, MarkSession

VIP = ConversationMark.extension(32)


def changes() -> Iterator[MarkChange]:
    """Yield what the database says, one row at a time."""
    for number in range(20_000):
        yield MarkChange(
            f"agent_{number % 40:02}",
            Conversation.group(f"team_{number // 40:04}"),
            set_mark=VIP,
            clear_mark=ConversationMark.UNREAD,
        )


async def main() -> None:
    """Apply them all, and say how it went."""
    async with MarkSession.from_env() as session:
        report = await session.apply(changes())
    print(f"{report.succeeded:,} of {report.succeeded + report.failed:,} changes took effect")
    print(f"{report.calls} calls in {report.elapsed:.1f} s, {report.retries} changes sent again")
    report.raise_for_failures()


if __name__ == "__main__":
    asyncio.run(main())
