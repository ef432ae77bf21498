import json
from random import Random
from typing import Any

import pytest

from chatmark.emulator import (
    CutBody,
    DropLines,
    DuplicateLines,
    Envelope,
    ExtraLines,
    Fault,
    FaultScript,
    Hang,
    Html,
    NamelessLines,
    Refuse,
    ResetAfter,
    ResetBefore,
    Shuffle,
    Status,
)
from chatmark.emulator.commands import entry_line
from chatmark.emulator.faults import Reply
from chatmark.emulator.state import Entry
from chatmark.emulator.wire import Line, contact, envelope

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
    def lines(self, fault: Fault) -> list[Line]:
        """Return three lines as *fault* leaves them."""
        lines: list[Line] = [{"ContactItem": contact(key)} for key in KEYS]
        return fault.lines(lines, KEYS, Random(0))

    def ids(self, fault: Fault) -> list[object]:
        """Return the ids that are left in three lines."""
        contacts: list[Any] = [line["ContactItem"] for line in self.lines(fault)]
        return [each.get("To_Account", each.get("ToGroupId")) for each in contacts]

    def test_shuffle(self) -> None:
        """Shuffled lines are the same lines in another order."""
        ids = self.ids(Shuffle())

        assert ids != ["u0", "u1", "g0"]
        assert {"u0", "u1", "g0"} == set(ids)

    def test_one_line_stays(self) -> None:
        """One line cannot be shuffled."""
        assert Shuffle().lines([{"a": 1}], KEYS[:1], Random(0)) == [{"a": 1}]

    def test_drop_first(self) -> None:
        """The first lines can be dropped."""
        assert self.ids(DropLines(2)) == ["g0"]

    def test_drop_named(self) -> None:
        """Named lines can be dropped."""
        assert self.ids(DropLines(conversations=[(1, "u1")])) == ["u0", "g0"]

    def test_dropped_are_applied(self) -> None:
        """Items of dropped lines are applied by default."""
        assert frozenset() == DropLines(2).skipped(KEYS)

    def test_dropped_are_not_applied(self) -> None:
        """Items of dropped lines can be left out of the effect."""
        assert {(1, "u0")} == DropLines(1, applied=False).skipped(KEYS)

    def test_drop_of_reading_call(self) -> None:
        """Lines of a reading call can be dropped, though its request names none."""
        lines = [entry_line(Entry(key, 1)) for key in KEYS]

        assert lines[1:] == DropLines(1).lines(list(lines), (), Random(0))

    def test_extra(self) -> None:
        """Extra lines name conversations that the request does not name."""
        assert self.ids(ExtraLines(1)) == ["u0", "u1", "g0", "stranger_0"]

    def test_extra_of_reading_call(self) -> None:
        """Extra lines of a reading call have its form."""
        lines = ExtraLines(1).lines([entry_line(Entry((2, "g0"), 1))], (), Random(0))

        assert lines[1] == {
            "Type": 1, "To_Account": "stranger_0", "StandardMark": "1", "Timestamp": 0
        }  # fmt: skip

    def test_duplicate(self) -> None:
        """Duplicate lines repeat the first ones."""
        assert self.ids(DuplicateLines(2)) == ["u0", "u1", "g0", "u0", "u1"]

    def test_nameless(self) -> None:
        """Nameless lines lack their id."""
        assert self.ids(NamelessLines(1)) == [None, "u1", "g0"]


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
