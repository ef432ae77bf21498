"""What tests over real HTTP share: sessions that talk to an emulator, and the ledger at the end."""

import asyncio
import collections
import contextlib
import os
import pathlib
import subprocess
import sys
import textwrap
from collections.abc import Iterable
from typing import Any, Final

import attrs

from chatmark import Credentials, MarkChange, MarkSession, UnsentError
from chatmark.emulator import Emulator

SECRET_KEY: Final = "example-secret-not-real"
State = dict[tuple[str, int, str], tuple[int, str]]


def apply_to(state: State, change: MarkChange) -> None:
    """Apply a change."""
    key = (change.from_account, int(change.conversation.type), change.conversation.id)
    bits, custom = state.get(key, (0, ""))
    bits = bits & ~int(change.clear_mark) | int(change.set_mark)
    state[key] = (bits, custom if change.custom_mark is None else change.custom_mark)


def model_state(changes: Iterable[MarkChange]) -> State:
    """Return what a server has after these changes, applied one by one."""
    state: State = {}
    for change in changes:
        apply_to(state, change)
    return {key: value for key, value in state.items() if value != (0, "")}


@attrs.define
class Rig:
    """An emulator, and the sessions of one test."""

    emulator: Emulator
    sessions: list[MarkSession] = attrs.field(factory=list)

    @property
    def credentials(self) -> Credentials:
        """Credentials that the emulator takes."""
        return Credentials(sdkappid=1400000001, identifier="administrator", secret_key=SECRET_KEY)

    def session(self, **options: Any) -> MarkSession:
        """Return a session that does not wait between attempts, unless told otherwise."""
        options.setdefault("backoff", lambda _: 0.0)
        if "budget" not in options:
            options.setdefault("calls_per_second", None)
        options.setdefault("base_url", self.emulator.url)
        credentials = options.pop("credentials", self.credentials)
        session = MarkSession(credentials, **options)
        self.sessions.append(session)
        return session

    async def close(self) -> None:
        """Close the sessions, check their ledgers, and that no task of theirs is left."""
        for session in self.sessions:
            with contextlib.suppress(UnsentError):
                await session.close(0)
        self.check_ledgers()
        names = [task.get_name() for task in asyncio.all_tasks()]

        assert [] == [name for name in names if name.startswith("chatmark")]

    def check_ledgers(self) -> None:
        """Check that every accepted change has exactly one outcome, and that no rule was broken."""
        assert [] == list(self.emulator.violations)
        for session in self.sessions:
            stats = session.stats
            settled = stats.succeeded + stats.failed + stats.withdrawn

            assert (0, stats.accepted) == (stats.pending, settled), session


def windows(times: Iterable[float], width: float = 1.0) -> int:
    """Return the most of these times that any window of that width holds."""
    most, window = 0, collections.deque[float]()
    for time in sorted(times):
        window.append(time)
        while time - window[0] >= width:
            window.popleft()
        most = max(most, len(window))
    return most


def run_program(source: str, *options: str) -> "subprocess.CompletedProcess[str]":
    """Run a program, which may import what is beside this module, in a process of its own."""
    paths = [str(pathlib.Path(__file__).parent), os.environ.get("PYTHONPATH", "")]
    return subprocess.run(
        [sys.executable, *options, "-c", textwrap.dedent(source)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
    )
