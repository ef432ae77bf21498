from typing import Any

import pytest

from chatmark.emulator import (
    Delay,
    DropLines,
    Fault,
    FaultScript,
    Garbled,
    Hang,
    Refuse,
    ResetAfter,
    Status,
    load_faults,
)


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
            ({"fault": {"name": "Refuse", "code": "60007"}}, "code of Refuse must be a int"),
            ({"fault": {"name": "Refuse"}}, "code"),
            ({"fault": {"name": "CutBody", "at": 2.0}}, "at"),
            ({"fault": "Hang", "user": "bob"}, "user"),
            ({}, "entry 1: 'fault'"),
            ({"when": "item", "conversation": 5, "code": 1}, "entry 1"),
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
