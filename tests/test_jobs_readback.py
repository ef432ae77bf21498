import pytest

from chatmark.credentials import Credentials
from chatmark.emulator import EmulatorThread
from chatmark.errors import RefusedError
from chatmark.jobs.readback import net_effects, read_back
from chatmark.marks import ConversationMark
from chatmark.models import Conversation, MarkChange
from chatmark.session import MarkSession

FAVORITE, HIDDEN = ConversationMark.FAVORITE, ConversationMark.HIDDEN
BOB, TEAM = Conversation.one_to_one("bob"), Conversation.group("team")


def session_of(emulator: EmulatorThread, credentials: Credentials) -> MarkSession:
    """
    Return a session with the emulator.
    """
    return MarkSession(credentials, base_url=emulator.url, calls_per_second=None)


class TestNetEffects:
    def test_newest_wins(self) -> None:
        """
        All changes of one conversation count, bit by bit, and users are told apart.
        """
        changes = [
            MarkChange("amy", BOB, FAVORITE, custom_mark="x"),
            MarkChange("zoe", BOB, HIDDEN),
            MarkChange("amy", BOB, HIDDEN, FAVORITE),
            MarkChange("amy", TEAM, FAVORITE),
        ]

        assert {
            "amy": {
                BOB: MarkChange("amy", BOB, HIDDEN, FAVORITE, "x"),
                TEAM: MarkChange("amy", TEAM, FAVORITE),
            },
            "zoe": {BOB: MarkChange("zoe", BOB, HIDDEN)},
        } == net_effects(changes)


class TestReadBack:
    @pytest.mark.parametrize("at_once", [1, 500_000])
    async def test_compares(
        self,
        chatmark_emulator: EmulatorThread,
        chatmark_credentials: Credentials,
        monkeypatch: pytest.MonkeyPatch,
        at_once: int,
    ) -> None:
        """
        Every conversation is compared once, however few changes memory may hold.
        """
        monkeypatch.setattr("chatmark.jobs.readback._CHANGES_AT_ONCE", at_once)
        chatmark_emulator.state.seed_mark("amy", (1, "bob"), 1, "x")
        chatmark_emulator.state.seed_mark("zoe", (2, "team"), 9)
        changes = [
            MarkChange("amy", BOB, HIDDEN, custom_mark="x"),
            MarkChange("amy", BOB, FAVORITE, HIDDEN),
            MarkChange("zoe", TEAM, clear_mark=HIDDEN),
            MarkChange("zoe", BOB, clear_mark=HIDDEN, custom_mark=""),
        ]
        async with session_of(chatmark_emulator, chatmark_credentials) as session:
            result = await read_back(session, lambda: changes, len(changes))

        assert (3, 1) == (result.conversations, result.differing)
        assert [changes[2]] == [each.wanted for each in result.differences]
        assert (0, 3) == result.differences[0].found.mark.bits

    async def test_refusal(
        self, chatmark_emulator: EmulatorThread, chatmark_credentials: Credentials
    ) -> None:
        """
        A server that refuses to tell is one plain error.
        """
        from chatmark.emulator import Refuse  # noqa: PLC0415

        chatmark_emulator.script.always(Refuse(60006))
        changes = [MarkChange(f"user_{number}", BOB, FAVORITE) for number in range(40)]
        async with session_of(chatmark_emulator, chatmark_credentials) as session:
            with pytest.raises(RefusedError, match="60006"):
                await read_back(session, lambda: changes, len(changes))
