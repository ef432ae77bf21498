"""
The soak: a million changes under faults, with a server that is stopped and started again.

    python tests/long/soak.py [CHANGES]

Exits 0 when the ledger is exact, the server's final state is that of applying the changes one by
one, and memory stayed flat: the peak of the last tenth is within 10 % of that of the second tenth.
"""

import asyncio
import random
import resource
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from job_rig import Server
from rig import SECRET_KEY, State, apply_to

from chatmark import Conversation, ConversationMark, Credentials, MarkChange, MarkSession
from chatmark.emulator import (
    CutBody,
    Empty,
    Emulator,
    Html,
    Refuse,
    ResetAfter,
    ResetBefore,
    Status,
)

USERS, PEERS = 100, 200
RESTARTS = 20
_BITS = (0, 1, 2, 3, 32, 33, 62, 63)
_FAULTS = (
    *(Status(502, html=True), ResetBefore(), ResetAfter()),
    *(Refuse(60008), Html(), Empty(), CutBody(0.5)),
)


def make_trouble(emulator: Emulator) -> None:
    """Let one request in twenty and one item in twenty meet a fault."""
    emulator.script.shuffle_lines = True
    emulator.script.randomly(0.05, _FAULTS, rng=random.Random(1))
    emulator.script.items_randomly(0.05, [50004, 50005], rng=random.Random(2))


class Soak:
    """
    The client's side: it makes the changes, keeps the model, and watches its memory.

    Args:
        total: How many changes.
        server: The server's process.
    """

    def __init__(self, total: int, server: Server) -> None:
        self.total = total
        self.server = server
        self.model: State = {}
        self.peaks = [0.0] * 10
        self.started = time.monotonic()

    def changes(self) -> Iterator[MarkChange]:
        """Yield random changes, restart the server now and then, and note the memory."""
        rng = random.Random(3)
        every = max(1, self.total // (RESTARTS + 1))
        for number in range(self.total):
            if number % every == every - 1:
                self.server.tell("restart")
            if number % 1000 == 0:
                self._look(number)
            change = MarkChange(
                f"user_{rng.randrange(USERS)}",
                Conversation.one_to_one(f"peer_{rng.randrange(PEERS)}"),
                ConversationMark(1 << rng.choice(_BITS[:4])),
                ConversationMark(1 << rng.choice(_BITS[4:])),
                rng.choice((None, None, "", "vip", "標")),
            )
            apply_to(self.model, change)
            yield change

    def _look(self, number: int) -> None:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[1])
        size = pages * resource.getpagesize() / 2**20
        tenth = number * 10 // self.total
        self.peaks[tenth] = max(self.peaks[tenth], size)
        if number % max(1, self.total // 10) == 0:
            seconds = time.monotonic() - self.started
            print(f"{number:>9,} changes  {size:6.1f} MiB  {seconds:6.1f} s", flush=True)


async def soak(total: int, server: Server) -> list[str]:
    """Run it, and return what went wrong."""
    run = Soak(total, server)
    credentials = Credentials(
        sdkappid=1400000001, identifier="administrator", secret_key=SECRET_KEY
    )
    url = server.environment["CHATMARK_BASE_URL"]
    async with MarkSession(credentials, base_url=url, calls_per_second=None) as session:
        report = await session.apply(run.changes())
        stats = session.stats
    state, violations = server.ask("state"), server.ask("violations")
    print(f"{report.succeeded:,} succeeded, {report.failed} failed, {report.withdrawn} withdrawn")
    print(f"{report.calls:,} calls, {report.retries:,} items sent again: {stats.retries_by_reason}")
    print(f"peaks by tenth in MiB: {[round(peak, 1) for peak in run.peaks]}")
    wrong = list(violations)
    if (stats.accepted, report.succeeded) != (total, total):
        wrong.append(f"ledger: {stats}")
    if state != {key: value for key, value in run.model.items() if value != (0, "")}:
        wrong.append("the server's state is not the model's")
    if run.peaks[9] > 1.1 * run.peaks[1]:
        wrong.append("memory grew")
    return wrong


def main() -> int:
    """Run the soak."""
    total = int(sys.argv[1]) if len(sys.argv) > 1 else 1_000_000
    with Server(keep_calls=10) as server:
        server.tell(make_trouble)
        wrong = asyncio.run(soak(total, server))
    print("\n".join(["WRONG", *wrong]) if wrong else "exact and flat")
    return bool(wrong)


if __name__ == "__main__":
    sys.exit(main())
