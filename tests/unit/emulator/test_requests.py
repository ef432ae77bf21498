"""How the body of each call is read: what is refused, with which code, and which field is named."""

import json
from typing import Any

import pytest
from emulator_client import BOB, PATH, RED, Client, item, whole

from chatmark.emulator import EmulatorOptions

MEMBERS = [{"ContactOptType": 1, "ContactItem": BOB}]
VALID: dict[str, dict[str, Any]] = {
    "mark_contact": {"MarkItem": [item()]},
    "get_contact_group": {"StartIndex": 0},
    "search_contact_group": {"ContactItem": [BOB]},
    "create_contact_group": {"GroupContactItem": [{"GroupName": "a"}]},
    "del_contact_group": {"GroupName": ["a"]},
}


def peers(count: int) -> list[dict[str, Any]]:
    """Return as many conversations."""
    return [{"Type": 1, "To_Account": f"u{n}"} for n in range(count)]


async def ask(client: Client, command: str, **fields: Any) -> Any:
    """Make a valid call with *fields* replaced, and return the answer."""
    return await client.ask(command, whole({"From_Account": "alice", **VALID[command], **fields}))


def named(answer: Any) -> tuple[int, str]:
    """Return the code of a refusal and the field that it names."""
    return answer["ErrorCode"], answer["ErrorInfo"].split(":")[0]


class TestBodies:
    @pytest.mark.parametrize(
        ("raw", "code"),
        [
            *[(raw, 60003) for raw in (b"", b"{", b"\xff{}", b'{"a":NaN}', b"[" * 100_000)],
            *[(raw, 60003) for raw in ("{}".encode("utf-16"), b"1" * 5000)],
            *[(raw, 50002) for raw in (b"[]", b"null", b'"x"', b"1")],
        ],
        ids=str,
    )
    async def test_no_object(self, client: Client, raw: bytes, code: int) -> None:
        """A body that is not JSON gives 60003, other JSON than an object 50002."""
        assert (await client.send(f"{PATH}mark_contact", raw))["ErrorCode"] == code

    @pytest.mark.parametrize(
        ("command", "fields", "code", "field"),
        [
            ("mark_contact", {"From_Account": ...}, 50002, "From_Account"),
            ("mark_contact", {"From_Account": 7}, 60015, "From_Account"),
            ("mark_contact", {"From_Account": ""}, 50002, "From_Account"),
            ("mark_contact", {"From_Account": "x" * 33}, 50002, "From_Account"),
            ("mark_contact", {"From_Account": "zoë"}, 50002, "From_Account"),
            ("mark_contact", {"MarkItem": ...}, 50002, "MarkItem"),
            ("mark_contact", {"MarkItem": {}}, 50002, "MarkItem"),
            ("mark_contact", {"MarkItem": [item(), 5]}, 50002, "MarkItem[1]"),
            ("mark_contact", {"Extra": 1}, 50002, "Extra"),
            *[
                ("get_contact_group", {"StartIndex": index}, 50002, "StartIndex")
                for index in (-1, True, "0", 0.0, None, ...)
            ],
            *[
                ("search_contact_group", {"ContactItem": contacts}, 50002, "ContactItem")
                for contacts in ([], [BOB] * 301, 1, ...)
            ],
            ("search_contact_group", {"ContactItem": [BOB, 1]}, 50002, "ContactItem[1]"),
            (
                "search_contact_group",
                {"ContactItem": [BOB, {"Type": 9}]},
                50002,
                "ContactItem[1].Type",
            ),
            *[
                ("create_contact_group", {"GroupContactItem": groups}, 50002, field)
                for groups, field in (
                    ([], "GroupContactItem"),
                    ([{"GroupName": "a"}, {"GroupName": "b"}], "GroupContactItem"),
                    (["a"], "GroupContactItem[0]"),
                    ([{"GroupName": ""}], "GroupContactItem[0].GroupName"),
                    ([{"GroupName": "\ud800"}], "GroupContactItem[0].GroupName"),
                    ([{"GroupName": "a", "Extra": 1}], "GroupContactItem[0].Extra"),
                    (
                        [{"GroupName": "a", "ContactItem": [BOB] * 2}],
                        "GroupContactItem[0].ContactItem[1]",
                    ),
                )
            ],
            ("del_contact_group", {"GroupName": "a"}, 50002, "GroupName"),
            ("del_contact_group", {"GroupName": ["a", "b"]}, 50002, "GroupName"),
            ("del_contact_group", {"GroupName": [1]}, 50002, "GroupName[0]"),
        ],
    )
    async def test_malformed(
        self, client: Client, command: str, fields: dict[str, Any], code: int, field: str
    ) -> None:
        """A malformed body is refused, and the field named."""
        assert named(await ask(client, command, **fields)) == (code, field)

    @pytest.mark.parametrize(
        ("group", "field"),
        [
            ([], ""),
            ({"UpdateGroupType": ...}, ".UpdateGroupType"),
            ({"UpdateGroupType": 3}, ".UpdateGroupType"),
            ({"UpdateGroupType": 1}, ".NewGroupName"),
            ({"OldGroupName": ...}, ".OldGroupName"),
            ({"ContactUpdateItem": ...}, ".ContactUpdateItem"),
            ({"ContactUpdateItem": MEMBERS * 2}, ".ContactUpdateItem[1]"),
            (
                {"ContactUpdateItem": [{"ContactOptType": 3, "ContactItem": RED}]},
                ".ContactUpdateItem[0].ContactOptType",
            ),
        ],
    )
    async def test_malformed_update(self, client: Client, group: Any, field: str) -> None:
        """So is a malformed update of a conversation group."""
        if isinstance(group, dict):
            valid = {"UpdateGroupType": 2, "OldGroupName": "a", "ContactUpdateItem": MEMBERS}
            group = whole(valid | group)
        body = {"From_Account": "alice", "UpdateType": 1, "UpdateGroup": group}
        answer = await client.ask("update_contact_group", body)

        assert named(answer) == (50002, f"UpdateGroup{field}")


class TestItems:
    @pytest.mark.parametrize(
        ("fields", "field"),
        [
            *[({"OptType": opt_type}, "OptType") for opt_type in (..., True, "1", 4)],
            *[
                ({"SetMark": bits}, "SetMark")
                for bits in (1, [64], [-1], [True], [1.0], ["1"], None, [], ...)
            ],
            ({"ClearMark": [0]}, "ClearMark"),
            ({"ClearMark": "0"}, "ClearMark"),
            ({"CustomMark": "x"}, "CustomMark"),
            ({"OptType": 2}, "CustomMark"),
            ({"OptType": 2, "CustomMark": "x"}, "SetMark"),
            ({"OptType": 2, "CustomMark": "x", "SetMark": ..., "ClearMark": []}, "ClearMark"),
            ({"OptType": 3, "CustomMark": "x", "SetMark": ...}, "SetMark"),
            *[
                ({"OptType": 3, "CustomMark": text}, "CustomMark")
                for text in (..., 5, None, "x" * 257, "é" * 129, "\ud800")
            ],
            ({"Setmark": [1]}, "Setmark"),
            ({"ContactItem": ...}, "ContactItem"),
            ({"ContactItem": "bob"}, "ContactItem"),
            *[
                ({"ContactItem": contact}, f"ContactItem.{field}")
                for contact, field in (
                    ({"To_Account": "bob"}, "Type"),
                    ({"Type": "1", "To_Account": "bob"}, "Type"),
                    ({"Type": True, "To_Account": "bob"}, "Type"),
                    ({"Type": 3, "To_Account": "bob"}, "Type"),
                    ({"Type": 1}, "To_Account"),
                    ({**BOB, "ToGroupId": "g"}, "ToGroupId"),
                    ({"Type": 1, "To_Account": "x" * 33}, "To_Account"),
                    ({"Type": 1, "To_Account": "a\n"}, "To_Account"),
                    ({"Type": 2}, "ToGroupId"),
                    ({"Type": 2, "ToGroupId": 1}, "ToGroupId"),
                    ({"Type": 2, "ToGroupId": ""}, "ToGroupId"),
                    ({"Type": 2, "ToGroupId": "g" * 97}, "ToGroupId"),
                    ({**RED, "To_Account": "bob"}, "To_Account"),
                    ({**BOB, "GroupId": "g"}, "GroupId"),
                )
            ],
        ],
    )
    async def test_malformed(self, client: Client, fields: dict[str, Any], field: str) -> None:
        """A malformed item refuses the request by index and field, and nothing takes effect."""
        answer = await client.mark(item(ContactItem=RED), item(**fields))

        assert named(answer) == (50002, f"MarkItem[1].{field}")
        assert answer["ActionStatus"] == "FAIL"
        assert client.emulator.state.snapshot() == {}

    async def test_peer_that_is_no_string(self, client: Client) -> None:
        """A user id that is not a string gives 60015."""
        answer = await client.mark(item(ContactItem={"Type": 1, "To_Account": 7}))

        assert answer["ErrorCode"] == 60015

    @pytest.mark.parametrize(
        ("fields", "marks"),
        [
            ({"OptType": 3, "SetMark": [1, 2, 3], "CustomMark": "abcd"}, (0b11110, "abcd")),
            ({"SetMark": [63, 0, 0], "ClearMark": [4]}, (1 << 63 | 1, "old")),
            ({"OptType": 2, "SetMark": ..., "CustomMark": ""}, (0b10000, "")),
            ({"OptType": 2, "SetMark": ..., "CustomMark": "é" * 128}, (0b10000, "é" * 128)),
        ],
    )
    @pytest.mark.parametrize(
        "contact",
        [{"Type": 1, "To_Account": "u" * 32}, {"Type": 2, "ToGroupId": "t" * 96}],
        ids=["user", "topic"],
    )
    async def test_valid(
        self,
        client: Client,
        contact: dict[str, Any],
        fields: dict[str, Any],
        marks: tuple[int, str],
    ) -> None:
        """A valid item changes what it names: the page's sample, longest ids and texts."""
        key = contact["Type"], "u" * 32 if contact["Type"] == 1 else "t" * 96
        client.emulator.state.seed_mark("alice", key, 0b10000, "old")
        answer = await client.mark(item(ContactItem=contact, **fields))

        assert answer["ResultItem"][0]["ResultCode"] == 0
        assert client.emulator.state.snapshot() == {("alice", *key): marks}


class TestCounts:
    @pytest.mark.parametrize(
        ("options", "count", "code"),
        [
            ({}, 0, 51006),
            ({}, 1, 0),
            ({}, 100, 0),
            ({}, 101, 51006),
            ({"max_items": 1}, 2, 51006),
        ],
    )
    async def test_items(self, client: Client, count: int, code: int) -> None:
        """1 to 100 items pass, or as many as the settings allow; others give 51006."""
        answer = await client.mark(*[item(ContactItem=peer) for peer in peers(count)])

        assert answer["ErrorCode"] == code
        assert client.emulator.violations == (
            [f"call 1 (mark_contact): {count} items in one request"] if code else []
        )

    @pytest.mark.parametrize(
        ("options", "code", "marks"),
        [({}, 50002, {}), ({"lenient": True}, 0, {("alice", 1, "bob"): (3, "")})],
        ids=["strict", "lenient"],
    )
    async def test_conversation_twice(
        self, client: Client, options: EmulatorOptions, code: int, marks: object
    ) -> None:
        """A conversation twice is refused by index and noted; lenient emulators apply both."""
        answer = await client.mark(item(), item(SetMark=[1]))

        assert answer["ErrorCode"] == code
        assert answer["ErrorInfo"].startswith("" if options else "MarkItem[1]:")
        assert len(client.emulator.violations) == (not options)
        assert client.emulator.state.snapshot() == marks


@pytest.mark.parametrize("options", [{}, {"lenient": True}], ids=["strict", "lenient"])
@pytest.mark.parametrize(
    ("fields", "marked"),
    [
        ({"Extra": 1}, (1, "old")),
        ({"CustomMark": "x"}, (1, "old")),
        ({"OptType": 2, "CustomMark": "x"}, (0, "x")),
        ({"OptType": 3}, (1, "old")),
        ({"SetMark": []}, (0, "old")),
        ({"SetMark": [1], "ClearMark": [1]}, (0, "old")),
        ({"ContactItem": {**BOB, "ToGroupId": "g"}}, (1, "old")),
    ],
)
async def test_own_rules(
    client: Client, options: EmulatorOptions, fields: dict[str, Any], marked: tuple[int, str]
) -> None:
    """An own rule says that it is one, and a lenient emulator has none."""
    client.emulator.state.seed_mark("alice", (1, "bob"), 0, "old")
    answer = await client.mark(item(**fields))

    assert answer["ErrorCode"] == (0 if options else 50002)
    assert ("a rule of the emulator beyond the vendor's" in json.dumps(answer)) == (not options)
    unchanged = (0, "old")
    assert client.emulator.state.snapshot() == {
        ("alice", 1, "bob"): marked if options else unchanged
    }
