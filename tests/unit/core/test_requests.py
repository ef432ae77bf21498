"""What goes into the next request: how many items, of whom, and when it need not wait for more."""

import pytest
from engine_rig import BOB, DROPPED, EVE, ZOE, EngineRig, changes, crowd, names
from sinks import Job


@pytest.fixture
def rig() -> EngineRig:
    """An engine that does not linger."""
    return EngineRig()


@pytest.fixture
def lingering() -> EngineRig:
    """An engine that lingers for half a second."""
    return EngineRig(linger=0.5)


@pytest.fixture
def reading(rig: EngineRig) -> EngineRig:
    """An engine while a job still reads its rows."""
    rig.engine.scheduler.readers = 1
    return rig


class TestSizes:
    @pytest.mark.parametrize(
        ("count", "sizes"),
        [
            (1, [1]),
            (99, [99]),
            (100, [100]),
            (101, [100, 1]),
            (250, [100, 100, 50]),
            (10_000, [100] * 100),
        ],
    )
    def test_fewest_requests(self, rig: EngineRig, count: int, sizes: list[int]) -> None:
        """Changes of one user go in as few requests as the limit of 100 allows."""
        entries = rig.submit_all(crowd(count))

        assert sizes == rig.run()
        assert all(entry.report().ok for entry in entries)

    def test_one_request_of_each_user(self, rig: EngineRig) -> None:
        """A user has one request in flight, and users do not wait for each other."""
        for number in range(30):
            rig.submit_all(crowd(101), f"user{number}")

        assert 30 == len({request.account for request in rig.take_all()})

    def test_limit_holds_after_a_retry(self, rig: EngineRig) -> None:
        """What is put back does not make a request larger than 100."""
        rig.submit_all(crowd(250))
        request = rig.take()
        rig.submit_all(crowd(250))
        rig.reply(request, DROPPED)

        assert [100, 100, 50] == rig.run()

    def test_order_of_submission(self, rig: EngineRig) -> None:
        """Conversations go in the order in which they were first named."""
        rig.submit_all([EVE, BOB, ZOE])

        assert ["eve", "bob", "zoe"] == names(rig.take())


class TestLinger:
    """Waiting a little for more changes."""

    def test_first_change_sets_the_time(self, lingering: EngineRig) -> None:
        """A change waits for others no longer than the linger; later ones do not put it off."""
        for number, each in enumerate(crowd(4)):
            lingering.now = number / 8
            lingering.submit(each)

        assert not lingering.engine.has_ready(0.4375)
        lingering.sleep()
        assert (0.5, 4) == (lingering.now, len(lingering.take().changes))

    def test_full_request(self, lingering: EngineRig) -> None:
        """It does not wait, unless a change of it is withdrawn."""
        entries = lingering.submit_all(crowd(99))
        ready = [lingering.is_ready]
        lingering.submit(BOB)
        ready.append(lingering.is_ready)
        lingering.engine.withdraw(entries[0], lingering.now)
        ready.append(lingering.is_ready)

        assert [False, True, False] == ready
        assert (0.5, 99) == (lingering.sleep(), len(lingering.take().changes))

    def test_flush(self, lingering: EngineRig) -> None:
        """Everything goes at once until the last of the flushes has ended."""
        lingering.submit()
        for _ in range(2):
            lingering.engine.start_flush(lingering.now)
        lingering.submit(account="bea")
        during = len(lingering.take_all())
        lingering.engine.end_flush()
        lingering.submit(account="cem")
        during += len(lingering.take_all())
        lingering.engine.end_flush()
        lingering.submit(account="dan")

        assert (3, False) == (during, lingering.is_ready)


class TestBulk:
    """Rows of bulk jobs, which may wait for full requests."""

    def test_waits_for_full_requests(self, reading: EngineRig) -> None:
        """While a job reads, its rows wait until they fill a request."""
        reading.submit_all(crowd(99), bulk=True)
        early = reading.is_ready
        reading.submit(BOB, bulk=True)

        assert (False, 100) == (early, len(reading.take().changes))

    @pytest.mark.parametrize("reason", ["no reader", "full", "flush"])
    def test_partial_requests(self, reading: EngineRig, reason: str) -> None:
        """They go when nobody reads, when the session has no room for more, and in a flush."""
        reading.submit_all(crowd(99), bulk=True)
        if reason == "no reader":
            reading.engine.scheduler.readers = 0
        elif reason == "full":
            reading.engine.scheduler.is_full = True
        else:
            reading.engine.start_flush(reading.now)

        assert 99 == len(reading.take().changes)

    def test_plenty(self, rig: EngineRig) -> None:
        """There is plenty when so many full requests wait; what is not full does not count."""
        for account, count in (("ann", 100), ("bea", 100), ("cem", 99)):
            rig.submit_all(crowd(count), account, bulk=True)

        assert [True, False] == [rig.engine.scheduler.has_full(requests) for requests in (2, 3)]

    def test_patience(self, reading: EngineRig) -> None:
        """A row waits for others no longer than five seconds, however slowly they come."""
        for number, each in enumerate(crowd(40)):
            reading.now = number / 8
            reading.submit(each, bulk=True)
            reading.submit(each, "bea", bulk=True)
        reading.sleep()

        assert 5.0 == reading.now
        assert {"ann", "bea"} == {request.account for request in reading.take_all()}

    def test_patience_with_a_growing_lane(self, reading: EngineRig) -> None:
        """Rows that come do not put off the first one's time, nor behind that of other lanes."""
        reading.submit(BOB, "ann", bulk=True)
        reading.now = 4.0
        reading.submit(BOB, "bea", bulk=True)
        reading.submit(EVE, "ann", bulk=True)
        reading.sleep()

        assert (5.0, "ann") == (reading.now, reading.take().account)

    @pytest.mark.parametrize("place", [7, 40], ids=["joins a row", "alone"])
    def test_single_mark_does_not_wait(self, reading: EngineRig, place: int) -> None:
        """A change that a caller awaits goes at once, and takes the rows of its lane with it."""
        reading.submit_all(crowd(40), bulk=True)
        reading.submit(crowd(41)[place])

        assert [f"c{place}", "c0"] == names(reading.take())[:2]

    def test_withdrawn_mark_does_not_hurry(self, reading: EngineRig) -> None:
        """When the awaited change is withdrawn the rows wait on."""
        reading.submit_all(crowd(40), bulk=True)
        reading.engine.withdraw(reading.submit(BOB), reading.now)

        assert not reading.is_ready

    def test_backoff_beside_rows(self, reading: EngineRig) -> None:
        """An awaited item whose backoff ends goes, although the rows beside it would wait."""
        reading.submit(BOB)
        request = reading.take()
        reading.submit_all(crowd(40), bulk=True)
        reading.reply(request, {BOB: 50004})

        assert (0.25, "bob") == (reading.sleep(), names(reading.take())[0])


class TestFairness:
    """Whose turn it is."""

    def test_fullest_first(self, rig: EngineRig) -> None:
        """The lanes with the most to send go first."""
        rig.engine.start_flush(rig.now)
        for account, count in (("one", 1), ("ten", 10), ("full", 100), ("some", 50)):
            rig.submit_all(crowd(count), account, bulk=True)

        assert ["full", "some", "ten", "one"] == [request.account for request in rig.take_all()]

    def test_older_lanes_first(self, rig: EngineRig) -> None:
        """Of lanes that became ready together the one that was there first goes first."""
        for account in ("ann", "bea"):
            rig.submit(BOB, account, bulk=True)
        rows = [each for account in ("cem", "bea", "ann") for each in changes(crowd(100), account)]
        rig.submit_rows(Job(), *rows)

        assert ["ann", "bea", "cem"] == [request.account for request in rig.take_all()]

    def test_small_lane_beside_full_ones(self, rig: EngineRig) -> None:
        """A single mark is not starved by lanes that are always full."""
        for number in range(10):
            rig.submit_all(crowd(100), f"big{number}")
        rig.submit(account="small")
        turns = 1
        while (request := rig.take()).account != "small":
            rig.reply(request)
            rig.submit_all(crowd(100), request.account)
            turns += 1

        assert 4 * 11 >= turns
