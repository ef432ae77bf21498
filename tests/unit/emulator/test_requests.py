import json
from typing import Any

import pytest

from chatmark.emulator import ChatState, Settings
from chatmark.emulator.commands import COMMANDS, Request
from chatmark.emulator.wire import Refusal

BOB = {"Type": 1, "To_Account": "bob"}
RED = {"Type": 2, "ToGroupId": "team-red"}


def item(**fields: Any) -> dict[str, Any]:
    """Make an item in order, with *fields* replaced; an ellipsis leaves one out."""
    whole = {"OptType": 1, "ContactItem": BOB, "SetMark": [0], **fields}
    return {name: value for name, value in whole.items() if value is not ...}


def body(*items: Any, **fields: Any) -> bytes:
    """Write a body of mark_contact."""
    return json.dumps({"From_Account": "alice", "MarkItem": list(items), **fields}).encode()


def read(command: str, raw: bytes, **settings: Any) -> Request:
    """Read a body."""
    return COMMANDS[f"/v4/recentcontact/{command}"].read(raw, Settings(**settings))


def read_marks(raw: bytes) -> list[tuple[object, ...]]:
    """Read a body of mark_contact: OptType, conversation, bits, and custom mark of each item."""
    changes: list[tuple[object, ...]] = []

    def attempt(_: object, *change: object) -> tuple[int, str]:
        changes.append(change)
        return 0, ""

    lines, _ = read("mark_contact", raw).apply(ChatState(), attempt)
    return [(line["OptType"], *change) for line, change in zip(lines, changes, strict=True)]


def refused(raw: bytes, max_items: int = 100) -> Refusal:
    """Return the refusal that *raw* meets."""
    with pytest.raises(Refusal) as caught:
        read("mark_contact", raw, max_items=max_items)
    return caught.value


class TestBody:
    @pytest.mark.parametrize(
        "raw",
        [b"", b"{", b"\xff{}", b'{"a":NaN}', b"[" * 100_000, "{}".encode("utf-16"), b"1" * 5000],
    )
    def test_not_json(self, raw: bytes) -> None:
        """A body that is not JSON gives 60003."""
        assert refused(raw).code == 60003

    @pytest.mark.parametrize("raw", [b"[]", b"null", b'"x"', b"1"])
    def test_no_object(self, raw: bytes) -> None:
        """JSON that is not an object gives 50002."""
        assert refused(raw).code == 50002


class TestMarkRequest:
    def test_reads_the_page_sample(self) -> None:
        """The sample of the vendor's page is read."""
        sample = body(
            {"OptType": 3, "ContactItem": BOB, "SetMark": [1, 2, 3], "CustomMark": "abcd"}
        )

        assert [(3, (1, "bob"), 0b1110, 0, "abcd")] == read_marks(sample)

    def test_reads_set_and_clear(self) -> None:
        """Bits to set and to clear become masks; repeated bits are fine."""
        raw = body(item(ContactItem=RED, SetMark=[63, 0, 0], ClearMark=[3]))

        assert [(1, (2, "team-red"), 1 << 63 | 1, 8, None)] == read_marks(raw)

    def test_reads_empty_custom_mark(self) -> None:
        """An empty custom mark clears it and is not the same as none."""
        raw = body(item(OptType=2, SetMark=..., CustomMark=""))

        assert read_marks(raw)[0][-1] == ""

    def test_custom_mark_of_256_bytes(self) -> None:
        """A custom mark of 256 bytes passes, whatever its characters."""
        raw = body(item(OptType=2, SetMark=..., CustomMark="é" * 128))

        assert read_marks(raw)[0][-1] == "é" * 128

    def test_longest_ids(self) -> None:
        """User ids of 32 bytes and topic ids of 96 bytes pass."""
        user, topic = "u" * 32, "t" * 96
        raw = body(
            item(ContactItem={"Type": 1, "To_Account": user}),
            item(ContactItem={"Type": 2, "ToGroupId": topic}),
        )

        assert ((1, user), (2, topic)) == read("mark_contact", raw).conversations

    @pytest.mark.parametrize("count", [1, 99, 100])
    def test_counts_within_limit(self, count: int) -> None:
        """1 to 100 items pass."""
        rows = [item(ContactItem={"Type": 1, "To_Account": f"u{n}"}) for n in range(count)]

        assert count == len(read_marks(body(*rows)))

    @pytest.mark.parametrize("count", [0, 101])
    def test_counts_beyond_limit(self, count: int) -> None:
        """No items or more than 100 give 51006."""
        rows = [item(ContactItem={"Type": 1, "To_Account": f"u{n}"}) for n in range(count)]

        assert refused(body(*rows)).code == 51006

    def test_limit_can_be_lower(self) -> None:
        """The limit of items is a setting."""
        rows = [item(), item(ContactItem=RED)]

        assert refused(body(*rows), max_items=1).code == 51006

    def test_conversation_twice(self) -> None:
        """A conversation twice gives 50002, names the second one and is a violation."""
        refusal = refused(body(item(), item(ContactItem=RED), item(SetMark=[1])))

        assert refusal.code == 50002
        assert refusal.info.startswith("MarkItem[2]:")
        assert refusal.violation is not None

    @pytest.mark.parametrize(
        ("fields", "code", "named"),
        [
            ({"From_Account": 7}, 60015, "From_Account"),
            ({"From_Account": ""}, 50002, "From_Account"),
            ({"From_Account": "x" * 33}, 50002, "From_Account"),
            ({"From_Account": "zoë"}, 50002, "From_Account"),
            ({"MarkItem": {}}, 50002, "MarkItem"),
            ({"Extra": 1}, 50002, "Extra"),
        ],
    )
    def test_malformed_fields(self, fields: dict[str, Any], code: int, named: str) -> None:
        """A malformed field of the body is refused by name."""
        refusal = refused(body(item(), **fields))

        assert (code, named) == (refusal.code, refusal.info.split(":")[0])

    @pytest.mark.parametrize("name", ["From_Account", "MarkItem"])
    def test_missing_fields(self, name: str) -> None:
        """A missing field of the body is refused by name."""
        raw = json.loads(body(item()))
        del raw[name]

        assert f"{name}: missing" == refused(json.dumps(raw).encode()).info

    @pytest.mark.parametrize(
        ("fields", "named"),
        [
            ({"OptType": ...}, "OptType"),
            ({"OptType": True}, "OptType"),
            ({"OptType": "1"}, "OptType"),
            ({"OptType": 4}, "OptType"),
            ({"SetMark": 1}, "SetMark"),
            ({"SetMark": [64]}, "SetMark"),
            ({"SetMark": [-1]}, "SetMark"),
            ({"SetMark": [True]}, "SetMark"),
            ({"SetMark": [1.0]}, "SetMark"),
            ({"SetMark": ["1"]}, "SetMark"),
            ({"SetMark": None}, "SetMark"),
            ({"SetMark": []}, "SetMark"),
            ({"SetMark": ...}, "SetMark"),
            ({"ClearMark": [0]}, "ClearMark"),
            ({"ClearMark": "0"}, "ClearMark"),
            ({"CustomMark": "x"}, "CustomMark"),
            ({"OptType": 2}, "CustomMark"),
            ({"OptType": 2, "CustomMark": "x"}, "SetMark"),
            ({"OptType": 2, "CustomMark": "x", "SetMark": ..., "ClearMark": []}, "ClearMark"),
            ({"OptType": 3}, "CustomMark"),
            ({"OptType": 3, "CustomMark": "x", "SetMark": ...}, "SetMark"),
            ({"OptType": 3, "CustomMark": 5}, "CustomMark"),
            ({"OptType": 3, "CustomMark": None}, "CustomMark"),
            ({"OptType": 3, "CustomMark": "x" * 257}, "CustomMark"),
            ({"OptType": 3, "CustomMark": "é" * 129}, "CustomMark"),
            ({"OptType": 3, "CustomMark": "\ud800"}, "CustomMark"),
            ({"Setmark": [1]}, "Setmark"),
            ({"ContactItem": ...}, "ContactItem"),
            ({"ContactItem": "bob"}, "ContactItem"),
            ({"ContactItem": {"To_Account": "bob"}}, "ContactItem.Type"),
            ({"ContactItem": {"Type": "1", "To_Account": "bob"}}, "ContactItem.Type"),
            ({"ContactItem": {"Type": True, "To_Account": "bob"}}, "ContactItem.Type"),
            ({"ContactItem": {"Type": 3, "To_Account": "bob"}}, "ContactItem.Type"),
            ({"ContactItem": {"Type": 1}}, "ContactItem.To_Account"),
            ({"ContactItem": {**BOB, "ToGroupId": "g"}}, "ContactItem.ToGroupId"),
            ({"ContactItem": {"Type": 1, "To_Account": "x" * 33}}, "ContactItem.To_Account"),
            ({"ContactItem": {"Type": 1, "To_Account": "a\n"}}, "ContactItem.To_Account"),
            ({"ContactItem": {"Type": 2}}, "ContactItem.ToGroupId"),
            ({"ContactItem": {"Type": 2, "ToGroupId": 1}}, "ContactItem.ToGroupId"),
            ({"ContactItem": {"Type": 2, "ToGroupId": ""}}, "ContactItem.ToGroupId"),
            ({"ContactItem": {"Type": 2, "ToGroupId": "g" * 97}}, "ContactItem.ToGroupId"),
            ({"ContactItem": {**RED, "To_Account": "bob"}}, "ContactItem.To_Account"),
            ({"ContactItem": {**BOB, "GroupId": "g"}}, "ContactItem.GroupId"),
        ],
    )
    def test_malformed_items(self, fields: dict[str, Any], named: str) -> None:
        """A malformed item is refused with 50002 by index and field."""
        refusal = refused(body(item(ContactItem=RED | {"ToGroupId": "g"}), item(**fields)))

        assert (50002, f"MarkItem[1].{named}") == (refusal.code, refusal.info.split(":")[0])

    def test_item_that_is_no_object(self) -> None:
        """An item that is not an object is refused by its index."""
        assert refused(body(item(), 5)).info.startswith("MarkItem[1]:")

    def test_peer_that_is_no_string(self) -> None:
        """A user id that is not a string gives 60015."""
        assert refused(body(item(ContactItem={"Type": 1, "To_Account": 7}))).code == 60015


class TestPageRequest:
    def test_reads(self) -> None:
        """A valid body is read."""
        raw = b'{"From_Account":"alice","StartIndex":100}'

        request = read("get_contact_group", raw)

        assert (request.from_account, request.conversations) == ("alice", ())

    @pytest.mark.parametrize("index", ["-1", "true", '"0"', "0.0", "null"])
    def test_malformed_index(self, index: str) -> None:
        """A StartIndex that is not an integer from 0 gives 50002."""
        with pytest.raises(Refusal, match="StartIndex") as caught:
            read(
                "get_contact_group",
                b'{"From_Account":"alice","StartIndex":%b}' % index.encode(),
            )

        assert caught.value.code == 50002

    def test_missing_index(self) -> None:
        """StartIndex is required."""
        with pytest.raises(Refusal, match="StartIndex"):
            read("get_contact_group", b'{"From_Account":"alice"}')


class TestSearchRequest:
    @staticmethod
    def body(*contacts: Any) -> bytes:
        """Write a body of search_contact_group."""
        return json.dumps({"From_Account": "alice", "ContactItem": contacts}).encode()

    def test_reads(self) -> None:
        """A valid body is read."""
        request = read("search_contact_group", self.body(BOB, RED))

        assert request.conversations == ((1, "bob"), (2, "team-red"))

    @pytest.mark.parametrize("count", [0, 301])
    def test_counts_beyond_limit(self, count: int) -> None:
        """No contacts or more than 300 give 50002."""
        with pytest.raises(Refusal, match="ContactItem") as caught:
            read("search_contact_group", self.body(*[BOB] * count))

        assert caught.value.code == 50002

    def test_malformed_contact(self) -> None:
        """A malformed contact is refused by index and field."""
        with pytest.raises(Refusal, match=r"ContactItem\[1\]\.Type"):
            read("search_contact_group", self.body(BOB, {"Type": 9}))

    @pytest.mark.parametrize(
        "raw", [b'{"From_Account":"a"}', b'{"From_Account":"a","ContactItem":1}']
    )
    def test_no_contacts(self, raw: bytes) -> None:
        """ContactItem is required and an array."""
        with pytest.raises(Refusal, match="ContactItem"):
            read("search_contact_group", raw)
