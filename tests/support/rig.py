"""What tests over real HTTP share: sessions that talk to an emulator, and the ledger at the end."""

import itertools
from collections.abc import Iterable
from typing import Any

import attrs

from chatmark import Credentials, MarkChange, MarkSession
from chatmark.emulator import Emulator

State = dict[tuple[str, int, str], tuple[int, str]]


def model_state(changes: Iterable[MarkChange]) -> State:
    """Return what a server has after these changes, applied one by one."""
    state: State = {}
    for change in changes:
        key = (change.from_account, int(change.conversation.type), change.conversation.id)
        bits, custom = state.get(key, (0, ""))
        bits = bits & ~int(change.clear_mark) | int(change.set_mark)
        state[key] = (bits, custom if change.custom_mark is None else change.custom_mark)
    return {key: value for key, value in state.items() if value != (0, "")}


@attrs.define
class Rig:
    """An emulator, and the sessions of one test."""

    emulator: Emulator
    sessions: list[MarkSession] = attrs.field(factory=list)

    @property
    def credentials(self) -> Credentials:
        """Credentials that the emulator takes."""
        return Credentials(
            sdkappid=1400000001, identifier="administrator", secret_key="example-secret-not-real"
        )

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

    def check_ledgers(self) -> None:
        """Check that every accepted change has exactly one outcome, and that no rule was broken."""
        assert [] == list(self.emulator.violations)
        for session in self.sessions:
            stats = session.stats
            settled = stats.succeeded + stats.failed + stats.withdrawn

            assert (0, stats.accepted) == (stats.pending, settled), session


def windows(times: Iterable[float], width: float = 1.0) -> int:
    """Return the most of these times that any window of that width holds."""
    ordered = sorted(times)
    first = itertools.count()
    most = start = 0
    for end in first:
        if end >= len(ordered):
            return most
        while ordered[end] - ordered[start] >= width:
            start += 1
        most = max(most, end - start + 1)
    return most
