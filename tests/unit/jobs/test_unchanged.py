import pytest
from rig import Rig
from spools import FAVORITE, peer, spool_of, spool_of_sizes

from chatmark import ApplicationRefusedError, MarkChange
from chatmark.emulator import Refuse, Status
from chatmark.jobs.grouping.spool import Spool
from chatmark.jobs.grouping.units import Unit
from chatmark.jobs.server.unchanged import Sieve


async def sifted(sieve: Sieve, spool: Spool) -> list[tuple[Unit, bool]]:
    """Return everything that comes through."""
    return [each async for each in sieve.sift(spool)]


class TestSieve:
    async def test_tells(self, rig: Rig) -> None:
        """
        Every unit comes once and in order, and what the server has already is told from the rest.
        """
        state = rig.emulator.state
        state.seed_mark("amy", (1, peer(0).id), 1, "x")
        state.seed_mark("zoe", (1, peer(1).id), 9)
        changes = [
            MarkChange("amy", peer(0), FAVORITE, custom_mark="x"),
            MarkChange("amy", peer(1), clear_mark=FAVORITE),
            MarkChange("amy", peer(2), FAVORITE),
            MarkChange("zoe", peer(0), custom_mark=""),
            MarkChange("zoe", peer(1), clear_mark=FAVORITE),
        ]
        sieve = Sieve(rig.session())
        with spool_of(changes) as spool:
            found = await sifted(sieve, spool)

        assert changes == [unit.change for unit, _ in found]
        assert [True, True, False, True, False] == [same for _, same in found]
        assert (3, 0, {}) == (sieve.unchanged, sieve.unread, sieve.errors)
        assert {"search_contact_group": 2} == dict(rig.emulator.counts)

    async def test_many_units_of_a_user(self, rig: Rig) -> None:
        """
        A user with more units than are asked for at once is asked in parts, which share pages.
        """
        for number in range(90):
            rig.emulator.state.seed_mark("amy", (1, peer(number * 30).id), 1)
        sieve = Sieve(rig.session())
        with spool_of_sizes({"amy": 2_700, "zoe": 1}) as spool:
            found = await sifted(sieve, spool)

        assert list(range(2_701)) == [unit.position for unit, _ in found]
        assert list(range(0, 2_700, 30)) == [unit.position for unit, same in found if same]
        assert {"get_contact_group": 1, "search_contact_group": 1} == dict(rig.emulator.counts)

    async def test_unread(self, rig: Rig) -> None:
        """Units of a user who cannot be read are sent, and it is said why."""
        rig.emulator.script.always(Refuse(50001), account="eve")
        rig.emulator.state.seed_mark("zoe", (1, peer(0).id), 1)
        sieve = Sieve(rig.session())
        with spool_of_sizes({"amy": 2, "eve": 3, "zoe": 1}) as spool:
            found = await sifted(sieve, spool)

        assert [False] * 5 + [True] == [same for _, same in found]
        assert (1, 3, ["eve"]) == (sieve.unchanged, sieve.unread, list(sieve.errors))
        assert "50001" in str(sieve.errors["eve"])

    async def test_outage(self, rig: Rig) -> None:
        """A server that answers nobody is not asked about everybody."""
        rig.emulator.script.always(Status(502))
        sieve = Sieve(rig.session(deadline=0.0))
        with spool_of_sizes({f"user_{number:03}": 1 for number in range(400)}) as spool:
            found = await sifted(sieve, spool)

        assert 400 == len(found) == sieve.unread
        assert sum(rig.emulator.counts.values()) < 120
        assert 20 == len(sieve.errors)

    async def test_application_refused(self, rig: Rig) -> None:
        """A refusal of the whole application is an end."""
        rig.emulator.script.always(Refuse(60006))
        with spool_of_sizes({"amy": 1}) as spool, pytest.raises(ApplicationRefusedError):
            await sifted(Sieve(rig.session()), spool)
