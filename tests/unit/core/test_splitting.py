"""Requests that are refused for their size, or for one of their items."""

from collections import Counter

import pytest
from engine_rig import BOB, EVE, EngineRig, Said, answer, codes, crowd, names, texts

from chatmark.conversations import Conversation
from chatmark.core.request import Request

TOO_MANY = answer(51006)


@pytest.fixture
def rig() -> EngineRig:
    """An engine that does not linger."""
    return EngineRig()


class TestTooManyItems:
    def test_is_halved(self, rig: EngineRig) -> None:
        """51006 halves the requests until they fit, and loses and doubles nothing."""
        entries = rig.submit_all(crowd(250))
        sent: Counter[Conversation] = Counter()

        def serve(request: Request) -> Said:
            if len(request.changes) > 30:
                return TOO_MANY
            sent.update(each.conversation for each in request.changes)
            return {}

        assert [100, 50, *[25] * 10] == rig.run(serve)
        assert Counter(crowd(250)) == sent
        assert {0} == set(codes(*entries))

    def test_holds_for_all(self, rig: EngineRig) -> None:
        """What one user's lane learned of the size holds for the others."""
        rig.submit_all(crowd(100))
        rig.send(TOO_MANY)
        rig.submit_all(crowd(100), "bea")

        assert {50} == {len(request.changes) for request in rig.take_all()}

    def test_more_is_tried_step_by_step(self, rig: EngineRig) -> None:
        """Each doubling comes after a hundred requests of the size before it."""
        rig.submit_all(crowd(7700))
        for _ in range(2):
            rig.send(TOO_MANY)

        assert [25] * 100 + [50] * 100 + [100] * 2 == rig.run()

    def test_old_news(self, rig: EngineRig) -> None:
        """A refusal that tells what is known already does not begin the hundred requests anew."""
        rig.submit_all(crowd(6000))
        rig.submit_all(crowd(100), "bea")
        first, second = rig.take_all()
        rig.reply(first, TOO_MANY)
        for _ in range(50):
            rig.send()
        rig.reply(second, TOO_MANY)

        assert [50] * 50 + [100] == rig.run()[:51]

    def test_rows_that_fill_a_smaller_request(self, rig: EngineRig) -> None:
        """A bulk job's lane that is full by the new size goes without waiting for more rows."""
        rig.engine.scheduler.readers = 1
        rig.submit_all(crowd(60), "bea", bulk=True)
        rig.submit_all(crowd(100), bulk=True)
        request = rig.take()
        early = rig.take_all()
        rig.reply(request, TOO_MANY)

        assert ([], {"ann", "bea"}) == (early, {each.account for each in rig.take_all()})

    def test_single_item(self, rig: EngineRig) -> None:
        """An item that is refused alone is not sent again."""
        entry = rig.submit()
        rig.send(TOO_MANY)

        assert [51006] == codes(entry)
        assert not rig.is_ready


class TestPoisonousItem:
    def test_is_isolated(self, rig: EngineRig) -> None:
        """50002 isolates the one item at fault; all others succeed, in few requests."""
        entries = rig.submit_all(crowd(100))
        sizes = rig.run(lambda request: answer(50002) if "c37" in names(request) else {})

        assert [0] * 37 + [50002] + [0] * 62 == codes(*entries)
        assert 18 >= len(sizes)

    def test_requests_grow_again(self, rig: EngineRig) -> None:
        """After a poisonous item they double with each answer."""
        rig.submit_all(crowd(1000))
        sizes = rig.run(lambda request: answer(50002) if "c0" in names(request) else {})

        assert [100, 50, 25, 12, 6, 3, 1] == sizes[:7]
        assert [1, 2, 4, 8, 16, 32, 64, 100] == sizes[7:15]

    def test_halves_merge_with_newer(self, rig: EngineRig) -> None:
        """Halves that wait are joined by newer changes as any other item."""
        rig.submit_all([BOB, EVE])
        request = rig.take()
        rig.submit(EVE, text="new")
        rig.reply(request, answer(50002))
        rig.send()

        assert {"eve": "new"} == texts(rig.take())
