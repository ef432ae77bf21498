import json
from collections.abc import Callable
from random import Random
from typing import Any

import pytest

from chatmark.emulator import (
    Delay,
    DropLines,
    Fault,
    FaultScript,
    Garbled,
    Hang,
    Html,
    Refuse,
    ResetAfter,
    Status,
    load_faults,
)

BOB, EVE = (1, "bob"), (1, "eve")
HTML, BUSY = Html(), Refuse(60008)


class TestRequests:
    @pytest.mark.parametrize(
        ("order", "met"),
        [
            # The requests are alice's, alice's search, bob's, and alice's again.
            (lambda it: it.next(HTML, BUSY), [HTML, BUSY, None, None]),
            (lambda it: it.next(HTML, command="search"), [None, HTML, None, None]),
            (lambda it: it.next(HTML, account="bob"), [None, None, HTML, None]),
            (lambda it: (it.always(HTML), it.next(None)), [None, HTML, HTML, HTML]),
            (lambda it: (it.always(HTML), it.always(BUSY)), [BUSY] * 4),
            (
                lambda it: (it.always(HTML), it.always(None, account="bob")),
                [HTML, HTML, None, HTML],
            ),
            (
                lambda it: (it.always(HTML), it.randomly(1.0, [BUSY], command="search")),
                [HTML, BUSY, HTML, HTML],
            ),
            (lambda it: (it.switch("x", HTML), it.next(BUSY)), [BUSY, HTML, HTML, HTML]),
        ],
    )
    def test_order(self, order: Callable[[FaultScript], object], met: list[Fault | None]) -> None:
        """A fault of the queue goes first, then a drawn one, the newest standing one, a switch."""
        script = FaultScript()
        order(script)
        requests = [("mark", "alice"), ("search", "alice"), ("mark", "bob"), ("mark", "alice")]

        assert [script.take(*request) for request in requests] == met

    def test_pending(self) -> None:
        """The script tells how many queued faults are left."""
        script = FaultScript()
        script.next(Html(), Html())
        script.take("mark_contact", "alice")

        assert script.pending == 1

    def draw(self, seed: int) -> list[Fault | None]:
        """Return the faults that 1000 requests meet."""
        script = FaultScript()
        script.randomly(0.25, [HTML, BUSY], rng=seed)
        return [script.take("mark_contact", "alice") for _ in range(1000)]

    def test_randomly(self) -> None:
        """Every fault is drawn about as often as told, and the same ones by the same seed."""
        drawn = self.draw(1)

        assert 200 < sum(fault is not None for fault in drawn) < 300
        assert {HTML, BUSY, None} == set(drawn)
        assert drawn == self.draw(1) != self.draw(2)

    @pytest.mark.parametrize("probability", [-0.1, 1.1, float("nan")])
    def test_wrong(self, probability: float) -> None:
        """A probability is from 0 to 1, and there is something to draw."""
        with pytest.raises(ValueError, match="probability"):
            FaultScript().randomly(probability, [Html()])
        with pytest.raises(ValueError, match="must be >= 1"):
            FaultScript().items_randomly(0.5, [])


class TestItems:
    @pytest.mark.parametrize(
        ("options", "met"),
        [
            ({}, [50004, 0, 0, 0]),
            ({"times": 2}, [50004, 50004, 0, 0]),
            ({"times": None}, [50004] * 4),
            ({"account": "bob"}, [0, 0, 0, 50004]),
        ],
    )
    def test_times(self, options: Any, met: list[int]) -> None:
        """An item meets its code as often as ordered, once by default; others are spared."""
        script = FaultScript()
        script.item(BOB, 50004, **options)
        users = ["alice", "alice", "alice", "bob"]

        assert [script.take_item(user, BOB) for user in users] == met
        assert script.take_item("alice", EVE) == 0

    def test_randomly(self) -> None:
        """Items meet random codes about as often as told, repeatably."""
        script, twin = FaultScript(), FaultScript()
        for each in (script, twin):
            each.items_randomly(0.25, [50004, 50005], rng=Random(3))
        codes = [script.take_item("alice", BOB) for _ in range(1000)]

        assert {0, 50004, 50005} == set(codes)
        assert 200 < sum(code != 0 for code in codes) < 300
        assert [twin.take_item("alice", BOB) for _ in range(1000)] == codes


def test_clear() -> None:
    """Clearing takes back all orders."""
    script = FaultScript()
    script.next(Html())
    script.always(Html())
    script.randomly(1.0, [Html()])
    script.item(BOB, 50004)
    script.items_randomly(1.0, [50004])
    script.switch("x", Html())
    script.shuffle_lines = True
    script.clear()

    assert script.take("mark_contact", "alice") is None
    assert script.take_item("alice", BOB) == 0
    assert not script.shuffle_lines


def load(*orders: Any) -> FaultScript:
    """Load a script of these entries."""
    script = FaultScript()
    load_faults(script, json.loads(json.dumps(orders)))
    return script


class TestLoadFaults:
    @pytest.mark.parametrize(
        ("written", "fault"),
        [
            ("Hang", Hang()),
            (None, None),
            ({"name": "Refuse", "code": 60007}, Refuse(60007)),
            ({"name": "Status", "status": 502, "html": True}, Status(502, html=True)),
            ({"name": "Status", "status": 429, "retry_after": 2}, Status(429, retry_after=2)),
            ({"name": "Delay", "seconds": 1, "then": "ResetAfter"}, Delay(1, ResetAfter())),
            ({"name": "Garbled", "body": "{"}, Garbled(b"{")),
            (
                {"name": "DropLines", "conversations": [[1, "bob"]], "applied": False},
                DropLines(conversations=[(1, "bob")], applied=False),
            ),
        ],
    )
    def test_faults(self, written: object, fault: Fault | None) -> None:
        """A fault is its name, or an object with its name and its arguments."""
        taken = load({"fault": written}).take("mark_contact", "alice")

        assert taken == fault
        assert repr(taken) == repr(fault).replace("seconds=1,", "seconds=1.0,")

    def test_orders(self) -> None:
        """Each entry names the method of the script that takes it."""
        script = load(
            {"fault": "Hang", "times": 2, "account": "bob"},
            {"when": "always", "fault": {"name": "Refuse", "code": 60008}, "command": "delete"},
            {"when": "item", "conversation": [1, "carol"], "code": 50004, "times": None},
            {
                "when": "randomly",
                "probability": 1.0,
                "faults": ["ResetAfter"],
                "account": "eve",
                "rng": 7,
            },
        )

        assert script.pending == 2
        assert script.take("mark_contact", "bob") == Hang()
        assert script.take("delete", "alice") == Refuse(60008)
        assert script.take("mark_contact", "eve") == ResetAfter()
        assert [script.take_item("alice", (1, "carol")) for _ in range(2)] == [50004] * 2

    @pytest.mark.parametrize(
        ("order", "reason"),
        [
            ("Hang", "Expected `object`, got `str` - at `$[0]`"),
            ({"when": "soon"}, "entry 1: when must be next, always, randomly or item, not 'soon'"),
            ({"fault": "Hung"}, "entry 1: 'Hung' is not a fault; the faults are CloseAfterAnswer"),
            ({"fault": []}, "entry 1: [] is not a fault"),
            (
                {"fault": {"name": "Refuse", "code": "60007"}},
                "entry 1: Refuse: code: Expected `int`",
            ),
            (
                {"fault": "Refuse"},
                "entry 1: Refuse: missing a required argument: 'code'; it takes (",
            ),
            (
                {"fault": {"name": "Delay", "seconds": 1, "then": "Later"}},
                "entry 1: Later: missing a required argument: 'seconds'",
            ),
            (
                {"fault": {"name": "Later", "seconds": 1, "then": None}},
                "entry 1: None is not a fault",
            ),
            (
                {"fault": {"name": "Refuse", "code": 1, "cod": 1}},
                "Refuse: got an unexpected keyword argument 'cod'; it takes (code: int, info: str",
            ),
            ({"fault": {"name": "CutBody", "at": 2.0}}, "entry 1: 'at' must be <= 1.0"),
            (
                {"fault": {"name": "Status", "status": 502, "headers": []}},
                "entry 1: Status: headers: Expected `object`, got `array`",
            ),
            (
                {"fault": {"name": "DropLines", "conversations": 5}},
                "entry 1: DropLines: conversations: Expected `array`, got `int`",
            ),
            (
                {"fault": "Hang", "user": "bob"},
                "entry 1: next: got an unexpected keyword argument 'user'",
            ),
            ({"fault": "Hang", "faults": []}, "got an unexpected keyword argument 'faults'"),
            ({"fault": "Hang", "times": "2"}, "entry 1: times: Expected `int`, got `str`"),
            ({"fault": "Hang", "times": 0}, "entry 1: times: Expected `int` >= 1"),
            ({"fault": "Hang", "account": 5}, "next: account: Expected `str | null`, got `int`"),
            ({}, "entry 1: next: missing a required argument: 'fault'"),
            ({"when": "item", "conversation": 5, "code": 1}, "conversation: Expected `array`"),
            ({"when": "randomly", "probability": 2, "faults": ["Hang"]}, "must be <= 1.0"),
        ],
    )
    def test_refused(self, order: object, reason: str) -> None:
        """A wrong entry is refused by its number, with the reason."""
        with pytest.raises(ValueError) as caught:  # noqa: PT011 - the reason is compared below.
            load(order)

        assert reason in str(caught.value)

    @pytest.mark.parametrize("orders", [{}, None, "Hang"])
    def test_not_an_array(self, orders: object) -> None:
        """A script is an array."""
        with pytest.raises(ValueError, match="array"):
            load_faults(FaultScript(), orders)
