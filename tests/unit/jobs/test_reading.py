import pytest
from rig import Rig
from spools import FAVORITE, peer, spool_of, spool_of_sizes

from chatmark import ApplicationRefusedError, ChatmarkError, MarkChange, MarkSession
from chatmark.emulator import Refuse, Status
from chatmark.jobs.grouping import Spool, Unit
from chatmark.jobs.server import read_units


async def looked_up(session: MarkSession, spool: Spool) -> list[tuple[Unit, bool | str]]:
    """Return the units, and whether the server has each already, or the error of reading it."""
    return [
        (unit, str(found) if isinstance(found, ChatmarkError) else found.satisfies(unit.change))
        async for unit, found in read_units(session, spool)
    ]


class TestReadUnits:
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
        with spool_of(changes) as spool:
            found = await looked_up(rig.session(), spool)

        assert changes == [unit.change for unit, _ in found]
        assert [True, True, False, True, False] == [same for _, same in found]
        assert {"search_contact_group": 2} == dict(rig.emulator.counts)

    async def test_many_units_of_a_user(self, rig: Rig) -> None:
        """
        A user with more units than are searched for at once is asked in parts.
        """
        for number in range(90):
            rig.emulator.state.seed_mark("amy", (1, peer(number * 30).id), 1)
        with spool_of_sizes({"amy": 2_700, "zoe": 1}) as spool:
            found = await looked_up(rig.session(), spool)

        assert list(range(2_701)) == [unit.position for unit, _ in found]
        assert list(range(0, 2_700, 30)) == [unit.position for unit, same in found if same is True]
        assert {"search_contact_group": 10} == dict(rig.emulator.counts)

    async def test_unread(self, rig: Rig) -> None:
        """Units of a user that cannot be read come with the reason."""
        rig.emulator.script.always(Refuse(50001), account="eve")
        rig.emulator.state.seed_mark("zoe", (1, peer(0).id), 1)
        with spool_of_sizes({"amy": 2, "eve": 3, "zoe": 1}) as spool:
            found = await looked_up(rig.session(), spool)

        said = [same for _, same in found]
        assert ([False] * 2, True) == (said[:2], said[5])
        assert all("50001" in str(each) for each in said[2:5])

    async def test_outage(self, rig: Rig) -> None:
        """A server that answers nobody is not asked about everybody."""
        rig.emulator.script.always(Status(502))
        with spool_of_sizes({f"user_{number:03}": 1 for number in range(400)}) as spool:
            found = await looked_up(rig.session(deadline=0.0), spool)

        assert [str] * 400 == [type(same) for _, same in found]
        assert sum(rig.emulator.counts.values()) < 120

    async def test_application_refused(self, rig: Rig) -> None:
        """A refusal of the whole application is an end."""
        rig.emulator.script.always(Refuse(60006))
        with spool_of_sizes({"amy": 1}) as spool, pytest.raises(ApplicationRefusedError):
            await looked_up(rig.session(), spool)
