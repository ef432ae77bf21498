"""
A service that marks conversations as things happen, one at a time, from many tasks.

    chatmark serve                      # in one terminal; it prints the environment for the other
    python examples/service.py
"""

import asyncio

from chatmark import (
    ChatmarkError,
    Conversation,
    ConversationMark,
    ItemRefusedError,
    MarkSession,
)

ESCALATED = ConversationMark.extension(33)


async def on_escalated(session: MarkSession, agent: str, customer: str, reason: str) -> None:
    """Mark the agent's conversation with the customer; what waits together shares a request."""
    try:
        await session.mark(
            agent,
            Conversation.one_to_one(customer),
            set_mark=ConversationMark.FAVORITE | ESCALATED,
            clear_mark=ConversationMark.HIDDEN,
            custom_mark=reason,
        )
    except ItemRefusedError as error:
        print(f"{customer} cannot be marked: {error.meaning}. {error.advice}")
    except ChatmarkError as error:
        print(f"{customer} is not marked: {error}")


async def main() -> None:
    """Handle a thousand events at once."""
    async with MarkSession.from_env() as session:
        async with asyncio.TaskGroup() as events:
            for number in range(1_000):
                agent, customer = f"agent_{number % 10}", f"customer_{number:04}"
                events.create_task(on_escalated(session, agent, customer, "asked for a manager"))
        stats = session.stats
        print(f"{stats.succeeded:,} conversations marked in {stats.calls} calls")


if __name__ == "__main__":
    asyncio.run(main())
