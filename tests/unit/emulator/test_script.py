import json
from random import Random
from typing import Any

import pytest

from chatmark.emulator import (
    CutBody,
    Delay,
    DropLines,
    Envelope,
    ExtraLines,
    Fault,
    FaultScript,
    Garbled,
    Hang,
    Html,
    Refuse,
    ResetAfter,
    ResetBefore,
    Shuffle,
    Status,
    load_faults,
)
from chatmark.emulator.commands import entry_line
from chatmark.emulator.faults import Reply
from chatmark.emulator.state import Entry
from chatmark.emulator.wire import envelope

KEYS = [(1, "u0"), (1, "u1"), (2, "g0")]


def take(script: FaultScript, command: str = "mark_contact", account: str = "alice") -> Any:
    """Return the fault that a request meets."""
    return script.take(command, account)


class TestNext:
    def test_in_order_and_once(self) -> None:
        """Queued faults come in order, one a request, and then no more."""
        script = FaultScript()
        script.next(Status(502), Html())

        assert [Status(502), Html(), None] == [take(script) for _ in range(3)]

    def test_none_lets_one_pass(self) -> None:
        """None in the queue lets one request pass, though others meet a fault."""
        script = FaultScript()
        script.always(Html())
        script.next(None)

        assert [None, Html()] == [take(script) for _ in range(2)]

    def test_waits_for_its_command(self) -> None:
        """A fault for one command waits for it."""
        script = FaultScript()
        script.next(Html(), command="search_contact_group")

        assert take(script) is None
        assert Html() == take(script, "search_contact_group")

    def test_waits_for_its_account(self) -> None:
        """A fault for one user waits for them."""
        script = FaultScript()
        script.next(Html(), account="bob")

        assert [None, Html()] == [take(script, account=name) for name in ("alice", "bob")]

    def test_pending(self) -> None:
        """The script tells how many queued faults are left."""
        script = FaultScript()
        script.next(Html(), Html())
        take(script)

        assert script.pending == 1


class TestAlways:
    def test_for_ever(self) -> None:
        """A standing fault meets every request."""
        script = FaultScript()
        script.always(Html())

        assert [Html()] * 3 == [take(script) for _ in range(3)]

    def test_newest_first(self) -> None:
        """A newer standing order goes before an older one where both match."""
        script = FaultScript()
        script.always(Html())
        script.always(None, account="bob")

        assert [Html(), None] == [take(script, account=name) for name in ("alice", "bob")]


class TestRandomly:
    def draw(self, seed: int, count: int = 1000) -> list[Fault | None]:
        """Return the faults that *count* requests meet."""
        script = FaultScript()
        script.randomly(0.25, [Html(), Status(502)], rng=seed)
        return [take(script) for _ in range(count)]

    def test_probability(self) -> None:
        """About as many requests meet a fault as the probability says."""
        assert 200 < sum(fault is not None for fault in self.draw(1)) < 300

    def test_draws_all_faults(self) -> None:
        """Every fault is drawn."""
        drawn = self.draw(1)

        assert Html() in drawn
        assert Status(502) in drawn

    def test_repeatable(self) -> None:
        """The same seed draws the same faults."""
        assert self.draw(7) == self.draw(7)

    def test_other_seed(self) -> None:
        """Another seed draws other faults."""
        assert self.draw(7) != self.draw(8)

    @pytest.mark.parametrize("probability", [-0.1, 1.1])
    def test_wrong_probability(self, probability: float) -> None:
        """A probability is from 0 to 1."""
        with pytest.raises(ValueError, match="probability"):
            FaultScript().randomly(probability, [Html()])

    def test_nothing_to_draw(self) -> None:
        """A draw needs at least one fault."""
        with pytest.raises(ValueError, match="at least one"):
            FaultScript().items_randomly(0.5, [])


class TestItems:
    def test_once(self) -> None:
        """An item meets its code as often as ordered, once by default."""
        script = FaultScript()
        script.item(KEYS[0], 50004)

        assert [script.take_item("alice", KEYS[0]) for _ in range(2)] == [50004, 0]

    def test_times(self) -> None:
        """An order for an item can hold several times."""
        script = FaultScript()
        script.item(KEYS[0], 50004, times=2)

        assert [script.take_item("alice", KEYS[0]) for _ in range(3)] == [50004, 50004, 0]

    def test_for_ever(self) -> None:
        """An order for an item can hold for ever."""
        script = FaultScript()
        script.item(KEYS[0], 50004, times=None)

        assert [script.take_item("alice", KEYS[0]) for _ in range(5)] == [50004] * 5

    def test_only_that_item(self) -> None:
        """Other conversations and other users are spared."""
        script = FaultScript()
        script.item(KEYS[0], 50004, account="bob")

        assert [
            script.take_item("bob", KEYS[1]),
            script.take_item("alice", KEYS[0]),
            script.take_item("bob", KEYS[0]),
        ] == [0, 0, 50004]

    def test_randomly(self) -> None:
        """Items meet random codes about as often as told, repeatably."""
        script, twin = FaultScript(), FaultScript()
        for each in (script, twin):
            each.items_randomly(0.25, [50004, 50005], rng=Random(3))
        codes = [script.take_item("alice", KEYS[0]) for _ in range(1000)]

        assert {0, 50004, 50005} == set(codes)
        assert 200 < sum(code != 0 for code in codes) < 300
        assert [twin.take_item("alice", KEYS[0]) for _ in range(1000)] == codes


class TestClear:
    def test_takes_back_everything(self) -> None:
        """Clearing takes back all orders."""
        script = FaultScript()
        script.next(Html())
        script.always(Html())
        script.randomly(1.0, [Html()])
        script.item(KEYS[0], 50004)
        script.items_randomly(1.0, [50004])
        script.shuffle_lines = True
        script.clear()

        assert take(script) is None
        assert script.take_item("alice", KEYS[0]) == 0
        assert not script.shuffle_lines


class TestLines:
    def test_one_line_stays(self) -> None:
        """One line cannot be shuffled."""
        assert Shuffle().lines([{"a": 1}], KEYS[:1], Random(0)) == [{"a": 1}]

    def test_drop_of_reading_call(self) -> None:
        """Lines of a reading call can be dropped, though its request names none."""
        lines = [entry_line(Entry(key, 1)) for key in KEYS]

        assert lines[1:] == DropLines(1).lines(list(lines), (), Random(0))

    def test_extra_of_reading_call(self) -> None:
        """Extra lines of a reading call have its form."""
        lines = ExtraLines(1).lines([entry_line(Entry((2, "g0"), 1))], (), Random(0))

        assert lines[1] == {
            "Type": 1, "To_Account": "stranger_0", "StandardMark": "1", "Timestamp": 0
        }  # fmt: skip


class TestReplies:
    def test_no_fault(self) -> None:
        """Without a fault the answer is sent as it is."""
        answer = {"ResultItem": [], **envelope()}

        assert answer == json.loads(Fault().reply(answer).body)

    @pytest.mark.parametrize(
        ("fault", "applied"),
        [
            (Status(502), False),
            (Status(502, applied=True), True),
            (Refuse(50004), False),
            (ResetBefore(), False),
            (ResetAfter(), True),
            (Hang(), False),
            (CutBody(), True),
        ],
    )
    def test_applied(self, fault: Fault, applied: bool) -> None:
        """Every fault says whether the request takes effect."""
        assert applied == fault.applied

    @pytest.mark.parametrize("at", [0.0, 0.5, 1.0])
    def test_cut_announces_the_whole(self, at: float) -> None:
        """A cut body announces the whole answer and never sends it."""
        whole = len(Fault().reply(None).body)
        reply = CutBody(at).reply(None)

        assert whole == len(reply.body) + reply.missing
        assert reply.missing > 0

    @pytest.mark.parametrize("at", [-0.1, 1.1])
    def test_cut_within_bounds(self, at: float) -> None:
        """A body is cut somewhere from 0 to 1."""
        with pytest.raises(ValueError, match="at"):
            CutBody(at)

    def test_envelope_over_answer(self) -> None:
        """Raw fields replace those of the true answer and omitted ones go."""
        fault = Envelope({"ErrorCode": "0"}, omit=["ErrorInfo"], applied=True)

        assert (json.loads(fault.reply({"ResultItem": [], **envelope()}).body)) == {
            "ResultItem": [],
            "ActionStatus": "OK",
            "ErrorCode": "0",
        }

    def test_code_that_is_no_number(self) -> None:
        """An ErrorCode that must be a number is not recorded as one."""
        assert Reply.of({"ErrorCode": "0"}).code is None

    def test_unknown_code_has_words(self) -> None:
        """A code that the emulator never gives by itself has an ErrorInfo too."""
        assert envelope(99999)["ErrorInfo"]


def load(*orders: Any) -> FaultScript:
    """Load a script of these entries."""
    script = FaultScript()
    load_faults(script, list(orders))
    return script


class TestLoadFaults:
    @pytest.mark.parametrize(
        ("written", "fault"),
        [
            ("Hang", Hang()),
            (None, None),
            ({"name": "Refuse", "code": 60007}, Refuse(60007)),
            ({"name": "Status", "status": 502, "html": True}, Status(502, html=True)),
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
        assert load({"fault": written}).take("mark_contact", "alice") == fault

    def test_orders(self) -> None:
        """Each entry names the method of the script that takes it."""
        script = load(
            {"fault": "Hang", "times": 2, "account": "bob"},
            {"when": "always", "fault": {"name": "Refuse", "code": 60008}, "command": "delete"},
            {"when": "item", "conversation": [1, "carol"], "code": 50004, "times": None},
            {"when": "randomly", "probability": 1.0, "faults": ["ResetAfter"], "account": "eve"},
        )

        assert script.pending == 2
        assert script.take("mark_contact", "bob") == Hang()
        assert script.take("delete", "alice") == Refuse(60008)
        assert script.take("mark_contact", "eve") == ResetAfter()
        assert [script.take_item("alice", (1, "carol")) for _ in range(2)] == [50004] * 2

    @pytest.mark.parametrize(
        ("order", "reason"),
        [
            ("Hang", "entry 1: must be an object"),
            ({"when": "soon"}, "entry 1: when must be next, always, randomly or item, not 'soon'"),
            ({"fault": "Hung"}, "entry 1: 'Hung' is not a fault; the faults are "),
            ({"fault": []}, "is not a fault"),
            (
                {"fault": {"name": "Refuse", "code": "60007"}},
                "entry 1: Refuse: code must be an integer",
            ),
            ({"fault": "Refuse"}, "entry 1: Refuse: field 'code' is missing"),
            (
                {"fault": {"name": "Delay", "seconds": 1, "then": "Later"}},
                "entry 1: Later: field 'seconds' is missing",
            ),
            (
                {"fault": {"name": "Later", "seconds": 1, "then": None}},
                "entry 1: Later: then must be a fault",
            ),
            (
                {"fault": {"name": "Refuse", "cod": 1}},
                "entry 1: Refuse: unknown field 'cod'; the fields are code, info",
            ),
            ({"fault": {"name": "CutBody", "at": 2.0}}, "entry 1: 'at' must be <= 1.0"),
            ({"fault": {"name": "Status", "status": 502, "headers": []}}, "headers must be an obj"),
            ({"fault": {"name": "DropLines", "conversations": 5}}, "conversations must be an arr"),
            (
                {"fault": "Hang", "user": "bob"},
                "entry 1: next: unknown field 'user'; the fields are fault, command, account",
            ),
            ({"fault": "Hang", "faults": []}, "entry 1: next: unknown field 'faults'"),
            ({"fault": "Hang", "times": "2"}, "entry 1: times must be an integer of 1 or more"),
            ({"fault": "Hang", "account": 5}, "entry 1: next: account must be a string or null"),
            ({}, "entry 1: next: field 'fault' is missing"),
            ({"when": "randomly", "faults": []}, "randomly: field 'probability' is missing"),
            ({"when": "item", "conversation": [1, "bob"]}, "item: field 'code' is missing"),
            (
                {"when": "item", "conversation": 5, "code": 1},
                "entry 1: a conversation must be an array of type and id, not 5",
            ),
            ({"when": "randomly", "probability": 2, "faults": ["Hang"]}, "probability"),
        ],
    )
    def test_refused(self, order: object, reason: str) -> None:
        """A wrong entry is refused by its number, with the reason."""
        with pytest.raises(ValueError, match="entry 1") as caught:
            load(order)

        assert reason in str(caught.value)

    @pytest.mark.parametrize("orders", [{}, None, "Hang"])
    def test_not_an_array(self, orders: object) -> None:
        """A script is an array."""
        with pytest.raises(ValueError, match="array"):
            load_faults(FaultScript(), orders)
