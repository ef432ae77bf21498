import datetime as dt
import json
from typing import Any

import attrs
import cattrs
import cattrs.preconf.json
import cattrs.preconf.msgspec
import pytest
from virtual_rig import BOB

import chatmark.cattrs
from chatmark import (
    Conversation,
    ConversationMark,
    InputError,
    ItemRefusedError,
    MarkChange,
    MarkedConversation,
    MarkNames,
    MarkReport,
    MarkResult,
)
from chatmark.wire.messages import MarkContact

MARK = ConversationMark.FAVORITE | ConversationMark.EXTENSION_40
TEAM = Conversation.group("team")
CHANGE = MarkChange("alice", BOB, MARK, custom_mark="x")
REFUSED = MarkResult(CHANGE, 51007, "no", 2, ItemRefusedError(51007, "no"))
MARKED = MarkedConversation(TEAM, MARK, "c", (1, 2), dt.datetime(2026, 1, 1, tzinfo=dt.UTC))
NAMED = attrs.evolve(
    MARKED,
    updated_at=dt.datetime(2026, 1, 1, 1, 2, 3, 456_789, tzinfo=dt.UTC),
    group_names=("work", ""),
)
ALL_BITS = MarkChange(
    " alice", TEAM, ConversationMark(2**64 - 2), MARK & ~MARK, allow_reserved=True
)
RESERVED = MarkChange(
    "alice ", BOB, clear_mark=ConversationMark(1 << 5), custom_mark="", allow_reserved=True
)
VALUES = [
    *(MARK, BOB, TEAM, CHANGE, MARKED, MarkResult(CHANGE, 0), REFUSED, NAMED, MarkNames(vip=40)),
    *(ALL_BITS, RESERVED, MarkResult(RESERVED, 0)),
]
CONVERTERS = [
    cattrs.Converter(),
    cattrs.Converter(forbid_extra_keys=True, omit_if_default=True),
    cattrs.preconf.json.make_converter(),
    cattrs.preconf.msgspec.make_converter(),
]


@pytest.fixture(params=range(len(CONVERTERS)))
def converter(request: pytest.FixtureRequest) -> cattrs.Converter:
    """Return a caller's own converter with the hooks."""
    own: cattrs.Converter = CONVERTERS[request.param].copy()
    chatmark.cattrs.configure(own)
    return own


class TestConfigure:
    @pytest.mark.parametrize("value", VALUES, ids=range(len(VALUES)))
    def test_round_trip(self, converter: cattrs.Converter, value: Any) -> None:
        """A value comes back through JSON as it was."""
        written = json.loads(json.dumps(converter.unstructure(value)))

        again = converter.structure(written, type(value))

        assert again == value
        # Neither is compared.
        for name in ("group_names", "allow_reserved"):
            assert getattr(again, name, None) == getattr(value, name, None)

    def test_report(self, converter: cattrs.Converter) -> None:
        """What a caller's converter makes of a report holds results; failures stay failures."""
        report = MarkReport(1, 1, failures=(REFUSED,), failures_by_code={51007: 1})

        again = converter.structure(converter.unstructure(report), MarkReport)

        assert again == report
        assert not again.failures[0].ok

    def test_reserved(self, converter: cattrs.Converter) -> None:
        """Bits of Chat's are read only where the row allows them."""
        row = {"from_account": "alice", "to_account": "bob", "set_mark": 5, "custom_mark": None}
        change = converter.structure(row | {"allow_reserved": True}, MarkChange)

        assert ((5,), None) == (change.set_mark.bits, change.custom_mark)
        with pytest.raises(InputError, match="belong to Chat"):
            converter.structure(row | {"allow_reserved": False}, MarkChange)

    def test_others_stay(self, converter: cattrs.Converter) -> None:
        """Types that are not of the package are read as before."""
        assert converter.structure("12", int) == CONVERTERS[0].structure("12", int)

    def test_names(self) -> None:
        """A team's names are read and written."""
        converter = cattrs.Converter()
        chatmark.cattrs.configure(converter, names=MarkNames(vip=40))

        assert converter.unstructure(MARK) == ["favorite", "vip"]
        assert converter.structure("VIP|favorite", ConversationMark) == MARK

    def test_request(self) -> None:
        """A request is written by the book."""
        converter = cattrs.Converter()
        chatmark.cattrs.configure(converter)
        written = converter.unstructure(MarkContact("alice", [MarkChange("alice", BOB, MARK)]))

        assert written["MarkItem"][0]["SetMark"] == [0, 40]

    @pytest.mark.parametrize(
        "row",
        [
            {"from_account": "a", "to_account": "b", "custommark": "x"},
            {"from_account": "a", "to_account": "b", "set_mark": "none"},
            {"items": [{"from_account": "a"}]},
        ],
    )
    def test_advice(self, row: Any) -> None:
        """An error of a row has no advice for the command line."""
        converter = cattrs.Converter()
        chatmark.cattrs.configure(converter)

        with pytest.raises(InputError, match=r"^(custommark|set_mark|items): (?!.*(--|jq))"):
            converter.structure(row, MarkChange)

    def test_body_of_two(self) -> None:
        """A request body is a row of several changes, and not one change."""
        converter = cattrs.Converter()
        chatmark.cattrs.configure(converter)
        item = {"OptType": 1, "ContactItem": converter.unstructure(BOB), "SetMark": [0]}

        with pytest.raises(cattrs.BaseValidationError) as caught:
            converter.structure(
                [{"From_Account": "user_0001", "MarkItem": [item, item]}], list[MarkChange]
            )
        (error,) = caught.value.exceptions
        assert isinstance(error, InputError)
        assert error.field == "MarkItem"
