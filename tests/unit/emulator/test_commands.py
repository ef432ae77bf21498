"""The calls over HTTP: what they answer, and what they change."""

import json
from typing import Any

import aiohttp
import pytest
from emulator_client import BOB, DONE, OK, RED, Client, item

from chatmark import Conversation
from chatmark.emulator import DropLines, EmulatorOptions, ResetAfter

ACCOUNTS = "v4/im_open_login_svc/"
GOOD = {"ResultCode": 0, "ResultInfo": ""}
ALICE = {"From_Account": "alice"}


def codes(lines: list[dict[str, Any]]) -> list[int]:
    """Return the codes of the lines of an answer."""
    return [line["ResultCode"] for line in lines]


class TestMarks:
    async def test_mark_contact(self, client: Client) -> None:
        """The answer has the fields of the vendor's sample, and the changes have taken effect."""
        answer = await client.mark(
            item(OptType=3, SetMark=[1, 2, 3], CustomMark="abcd"),
            item(OptType=2, ContactItem=RED, SetMark=..., CustomMark="vip"),
        )

        assert answer == {
            "ResultItem": [
                {"OptType": 3, "ContactItem": BOB, **GOOD},
                {"OptType": 2, "ContactItem": RED, **GOOD},
            ],
            **OK,
        }
        assert client.emulator.state.snapshot() == {
            ("alice", 1, "bob"): (0b1110, "abcd"),
            ("alice", 2, "@TGS#red"): (0, "vip"),
        }

    @pytest.mark.parametrize("options", [{"users": ["alice", "bob"], "groups": {}}])
    async def test_items_fail_alone(self, client: Client) -> None:
        """A failed item leaves the envelope OK and the others alone; a scripted one fails once."""
        client.emulator.script.item(Conversation.one_to_one("bob"), 50004)
        answers = [await client.mark(item(ContactItem=RED), item()) for _ in range(2)]

        assert [codes(answer["ResultItem"]) for answer in answers] == [[51007, 50004], [51007, 0]]
        assert all(answer["ErrorCode"] == 0 for answer in answers)
        assert answers[0]["ResultItem"][0]["ResultInfo"]
        assert client.emulator.state.snapshot() == {("alice", 1, "bob"): (1, "")}

    @pytest.mark.parametrize("options", [{"users": ["bob"]}])
    async def test_unknown_from_account(self, client: Client) -> None:
        """A From_Account that is not imported gives 50001 for the request."""
        assert (await client.mark(item()))["ErrorCode"] == 50001

    async def test_get_contact_group(self, client: Client) -> None:
        """The last page is as captured: CompleteTime, no NextStartIndex, the last changed last."""
        state = client.emulator.state
        state.seed_contact_group("alice", 1, "work", [Conversation.group("@TGS#red")])
        state.seed_mark("alice", (1, "bob"), 1 << 34 | 1, "vip", timestamp=1_600_000_000)
        answer = await client.ask("get_contact_group", {**ALICE, "StartIndex": 0})

        bits = "10000000000000000000000000000000001"
        assert answer == {
            "ContactItem": [
                {**BOB, "StandardMark": bits, "CustomMark": "vip", "Timestamp": 1_600_000_000},
                {**RED, "StandardMark": "", "ContactGroupId": [1], "Timestamp": 1_700_000_000},
            ],
            "GroupItem": [{"GroupName": "work", "GroupId": 1}],
            "CompleteFlag": 1,
            "CompleteTime": 1_700_000_000,
            **DONE,
        }

    async def test_pages(self, client: Client) -> None:
        """A page that is not the last one names the index of the next one."""
        for number in range(150):
            client.emulator.state.seed_mark("alice", (1, f"u{number}"), 1)
        first = await client.ask("get_contact_group", {**ALICE, "StartIndex": 0})
        index = first["NextStartIndex"]
        last = await client.ask("get_contact_group", {**ALICE, "StartIndex": index})

        assert (first["CompleteFlag"], last["CompleteFlag"]) == (0, 1)
        assert (len(first["ContactItem"]), len(last["ContactItem"])) == (100, 50)
        assert "CompleteTime" not in first
        assert "NextStartIndex" not in last

    @pytest.mark.parametrize("options", [{}, {"return_unmarked": True}], ids=["omit", "return"])
    async def test_search_contact_group(self, client: Client, options: EmulatorOptions) -> None:
        """The answer has the fields of the sample, without unmarked contacts and their groups."""
        state = client.emulator.state
        state.seed_mark("alice", (1, "bob"), 0b11111110, "xyz", timestamp=1673500546)
        state.seed_contact_group("alice", 1, "test1x", [(1, "bob")])
        state.seed_contact_group("alice", 2, "other", [(1, "eve")])
        answer = await client.ask("search_contact_group", {**ALICE, "ContactItem": [BOB, RED]})

        bob = {**BOB, "StandardMark": "11111110", "CustomMark": "xyz", "ContactGroupId": [1]}
        unmarked = {**RED, "StandardMark": "", "Timestamp": 0}
        lines = [bob | {"Timestamp": 1673500546}, *([unmarked] if options else [])]
        groups = [{"GroupName": "test1x", "GroupId": 1}]
        assert answer == {"ContactResultItem": lines, "GroupItem": groups, **DONE}


class TestRecent:
    async def listed(self, client: Client, flags: int) -> Any:
        """Call get_list from its beginning."""
        cursors = {"TimeStamp": 0, "StartIndex": 0, "TopTimeStamp": 0, "TopStartIndex": 0}
        return await client.ask("get_list", {**ALICE, "AssistFlags": flags, **cursors})

    async def test_get_list(self, client: Client) -> None:
        """Marks are in the answer to the flags of 2026 only; a group is named by GroupId."""
        state = client.emulator.state
        state.seed_mark("alice", (2, "@TGS#red"), 0b111001, "abcd", timestamp=7)
        state.seed_contact_group("alice", 1, "work", [(1, "bob")])
        bob = {**BOB, "MsgTime": 1_700_000_000, "TopFlag": 0}
        red = {"Type": 2, "GroupId": "@TGS#red", "MsgTime": 7, "TopFlag": 0}

        plain, full = [await self.listed(client, flags) for flags in (15, 63)]
        assert plain == {
            "SessionItem": [red, bob], "CompleteFlag": 1, "TimeStamp": 1_700_000_000,
            "StartIndex": 0, "TopTimeStamp": 1_700_000_000, "TopStartIndex": 0, **DONE,
        }  # fmt: skip
        assert full["SessionItem"] == [
            {**red, "StandardMark": "111001", "CustomMark": "abcd"},
            {**bob, "StandardMark": "", "ContactGroupId": [1]},
        ]

    async def test_delete(self, client: Client) -> None:
        """A deleted conversation leaves the recent ones, and its marks stay."""
        client.emulator.state.seed_mark("alice", (2, "g"), 1)
        body = {**ALICE, "Type": 2, "ToGroupid": "g", "ClearRamble": 1}

        assert await client.ask("delete", body) == DONE
        assert (await self.listed(client, 63))["SessionItem"] == []
        assert client.emulator.state.snapshot() == {("alice", 2, "g"): (1, "")}


@pytest.mark.parametrize("options", [{"users": ["alice"]}])
class TestAccounts:
    async def ask(self, client: Client, command: str, body: object) -> Any:
        """Make a call about accounts."""
        return await client.send(ACCOUNTS + command, json.dumps(body).encode())

    @pytest.mark.parametrize(
        ("command", "body", "answer"),
        [
            ("account_import", {"UserID": "bob", "Nick": "Bob", "FaceUrl": ""}, OK),
            ("account_import", {"Identifier": "bob"}, OK),
            *[
                ("multiaccount_import", body, {**OK, "FailAccounts": []})
                for body in ({"Accounts": ["amy", "bob"]}, {"AccountList": [{"UserID": "bob"}]})
            ],
        ],
    )
    async def test_import(self, client: Client, command: str, body: object, answer: object) -> None:
        """An imported account exists, whichever form of the request imports it."""
        assert codes((await client.mark(item()))["ResultItem"]) == [50001]
        assert await self.ask(client, command, body) == answer
        assert codes((await client.mark(item()))["ResultItem"]) == [0]

    async def test_check(self, client: Client) -> None:
        """account_check tells which accounts exist."""
        body = {"CheckItem": [{"UserID": "alice"}, {"UserID": "bob"}]}
        answer = await self.ask(client, "account_check", body)

        assert answer["ResultItem"] == [
            {"UserID": "alice", **GOOD, "AccountStatus": "Imported"},
            {"UserID": "bob", **GOOD, "AccountStatus": "NotImported"},
        ]

    @pytest.mark.parametrize(
        ("body", "code"), [({"Accounts": []}, 70402), ({"Accounts": ["a"] * 101}, 70402),
                           ({"Accounts": [1]}, 60015), ({"CheckItem": []}, 50002)],
    )  # fmt: skip
    async def test_refused(self, client: Client, body: object, code: int) -> None:
        """A request of no accounts or too many is refused."""
        assert (await self.ask(client, "multiaccount_import", body))["ErrorCode"] == code


class Groups:
    """Makes requests about the conversation groups of alice."""

    def __init__(self, client: Client) -> None:
        self.ask = client.ask
        self.state = client.emulator.state

    async def create(self, name: object = "work", *contacts: object) -> Any:
        """Call create_contact_group."""
        group = {"GroupName": name, "ContactItem": contacts}
        return await self.ask("create_contact_group", {**ALICE, "GroupContactItem": [group]})

    async def update(self, name: object, **fields: object) -> Any:
        """Call update_contact_group."""
        group = {"OldGroupName": name, **fields}
        return await self.ask(
            "update_contact_group", {**ALICE, "UpdateType": 1, "UpdateGroup": group}
        )

    async def rename(self, old: str, new: object) -> Any:
        """Rename a group."""
        return await self.update(old, UpdateGroupType=1, NewGroupName=new)

    async def members(self, name: str, *items: tuple[int, object]) -> Any:
        """Add (1) and remove (2) conversations."""
        rows = [{"ContactOptType": opt, "ContactItem": contact} for opt, contact in items]
        return await self.update(name, UpdateGroupType=2, ContactUpdateItem=rows)

    async def delete(self, name: str) -> Any:
        """Call del_contact_group."""
        return await self.ask("del_contact_group", {**ALICE, "GroupName": [name]})

    async def codes(self, *steps: tuple[Any, ...]) -> list[int]:
        """Make several calls by the names of these methods, and return their codes."""
        return [(await getattr(self, name)(*rest))["ErrorCode"] for name, *rest in steps]


@pytest.fixture
def groups(client: Client) -> Groups:
    """Make requests about conversation groups."""
    return Groups(client)


class TestGroups:
    async def test_create(self, groups: Groups) -> None:
        """A new group has the next id; a line says what became of each conversation."""
        first, second = await groups.create("test1", BOB, RED), await groups.create("test2")

        lines = [{"ContactItem": BOB, **GOOD}, {"ContactItem": RED, **GOOD}]
        group = {"GroupItem": {"GroupName": "test1", "GroupId": 1}, "ResultItem": lines}
        assert first == {"GroupResultItem": [group], **DONE}
        group = {"GroupItem": {"GroupName": "test2", "GroupId": 2}, "ResultItem": []}
        assert second == {"GroupResultItem": [group], **DONE}

    async def test_rename(self, groups: Groups) -> None:
        """A rename keeps id and conversations."""
        await groups.create("old", BOB)
        answer = await groups.rename("old", "new")

        result = {
            "UpdateGroupType": 1, "GroupName": "new", "GroupId": 1, "OldGroupName": "old",
            "ContactResultItem": [],
        }  # fmt: skip
        assert answer == {"UpdateType": 1, "UpdateGroupResult": result, **DONE}
        assert groups.state.contact_groups() == {("alice", "new"): {(1, "bob")}}

    async def test_members(self, groups: Groups) -> None:
        """Conversations are added and removed in one request; both may be so already."""
        await groups.create("work", BOB)
        for _ in range(2):
            answer = await groups.members("work", (1, RED), (2, BOB))

        assert answer["UpdateGroupResult"] == {
            "UpdateGroupType": 2, "GroupName": "work", "GroupId": 1, "OldGroupName": "work",
            "ContactResultItem": [
                {"ContactOptType": 1, "ContactItem": RED, **GOOD},
                {"ContactOptType": 2, "ContactItem": BOB, **GOOD},
            ],
        }  # fmt: skip
        assert groups.state.contact_groups() == {("alice", "work"): {(2, "@TGS#red")}}

    async def test_delete(self, groups: Groups) -> None:
        """A deleted group is gone from its conversations, and its id does not come back."""
        await groups.create("work", BOB)
        deleted, again = await groups.delete("work"), await groups.create("work")

        assert deleted == {"GroupItem": [{"GroupName": "work", "GroupId": 1}], **DONE}
        assert again["GroupResultItem"][0]["GroupItem"] == {"GroupName": "work", "GroupId": 2}
        assert groups.state.contact_groups() == {("alice", "work"): set()}
        page = await groups.ask("get_contact_group", {**ALICE, "StartIndex": 0})
        assert page["ContactItem"] == []

    async def test_reading_back(self, groups: Groups, now: list[float]) -> None:
        """A conversation has the ids of its groups, and the time at which it joined the last."""
        await groups.create("inner", BOB, RED)
        now[0] += 5
        await groups.create("inner_test", RED)
        page = await groups.ask("get_contact_group", {**ALICE, "StartIndex": 0})

        assert [
            (line["StandardMark"], line["ContactGroupId"], line["Timestamp"])
            for line in page["ContactItem"]
        ] == [("", [1], 1_700_000_000), ("", [1, 2], 1_700_000_005)]

    @pytest.mark.parametrize("options", [{}, {"lenient": True}], ids=["strict", "lenient"])
    async def test_names(self, groups: Groups, options: EmulatorOptions) -> None:
        """A second group of a name is the first one; names taken and empty break own rules."""
        await groups.create("work", BOB)
        again = await groups.create("work", RED)
        await groups.create("fun")
        members = groups.state.contact_groups()
        same = await groups.rename("fun", "fun")
        answers = [await groups.rename("fun", "work"), await groups.create("")]

        assert again["GroupResultItem"][0]["GroupItem"]["GroupId"] == 1
        assert members == {
            ("alice", "work"): {(1, "bob"), (2, "@TGS#red")},
            ("alice", "fun"): set(),
        }
        assert same["ErrorCode"] == 0
        for answer in answers:
            assert answer["ErrorCode"] == (0 if options else 50002)
            assert ("a rule of the emulator" in answer["ErrorInfo"]) == (not options)

    @pytest.mark.parametrize(
        ("options", "steps"),
        [
            ({}, [("create", "é" * 16), ("create", "é" * 17), ("rename", "é" * 16, "é" * 17)]),
            (
                {"max_group_name": 64},
                [("create", "é" * 32), ("create", "é" * 33), ("rename", "é" * 32, "é" * 33)],
            ),
        ],
        ids=["32", "64"],
    )
    async def test_long_names(self, groups: Groups, steps: list[tuple[Any, ...]]) -> None:
        """51011 counts bytes, for a new group and a new name."""
        assert await groups.codes(*steps) == [0, 51011, 51011]

    async def test_codes(self, groups: Groups) -> None:
        """51009 is for an unknown group, 51010 for the 21st, 51006 for 0 or 101 members."""
        peers = [{"Type": 1, "To_Account": f"u{n}"} for n in range(101)]
        leaving = [(2, peer) for peer in peers]
        unknown = ("rename", "no", "yes"), ("members", "no", (1, BOB)), ("delete", "no")
        assert await groups.codes(*unknown) == [51009] * 3
        many = [("create", f"g{n}") for n in range(21)]
        assert await groups.codes(*many, ("delete", "g0"), many[20]) == [0] * 20 + [51010, 0, 0]
        create = ("create", "g1", *peers[:100]), ("create", "g2", *peers)
        update = ("members", "g1", *leaving[:100]), ("members", "g1", *leaving), ("members", "g1")
        assert await groups.codes(*create, *update) == [0, 51006, 0, 51006, 51006]
        assert set(groups.state.contact_groups().values()) == {frozenset()}

    @pytest.mark.parametrize("options", [{"standard_marks": False}])
    async def test_edition(self, groups: Groups) -> None:
        """An edition without marks has no groups either."""
        assert await groups.codes(("create", "work")) == [51013]

    @pytest.mark.parametrize(
        ("options", "expected"),
        [
            ({"max_marked": 2}, [0, 0, 51008]),
            ({"max_marked": 2, "pool": "shared"}, [0, 51008, 51008]),
            ({"users": ["alice", "dave"], "groups": {"@TGS#red": ["bob"]}}, [50001, 51007, 0]),
        ],
        ids=["marks", "shared", "unknown"],
    )
    async def test_conversations_fail_alone(
        self, client: Client, groups: Groups, expected: list[int]
    ) -> None:
        """Each conversation may be one too many for its pool, or one that the user cannot have."""
        groups.state.seed_mark("alice", (1, "carol"), 1)
        created = await groups.create("work", BOB, RED, {"Type": 1, "To_Account": "dave"})
        marked = await client.mark(item())

        assert codes(created["GroupResultItem"][0]["ResultItem"]) == expected
        assert codes(marked["ResultItem"]) == [expected[0]]

    async def test_faults(self, client: Client, groups: Groups) -> None:
        """A request whose answer is lost takes effect; a scripted conversation fails alone."""
        client.emulator.script.next(ResetAfter(), command="create_contact_group")
        client.emulator.script.item((2, "@TGS#red"), 50004)
        with pytest.raises(aiohttp.ClientConnectionError):
            await groups.create("work", BOB, RED)

        assert groups.state.contact_groups() == {("alice", "work"): {(1, "bob")}}


async def test_conversations(client: Client) -> None:
    """A Conversation names a conversation wherever a key does."""
    red = Conversation.group("@TGS#red")
    client.emulator.script.next(DropLines(conversations=[red]))
    answer = await client.mark(item(), item(ContactItem=RED))

    assert [line["ContactItem"] for line in answer["ResultItem"]] == [BOB]
    with pytest.raises(TypeError, match="a Conversation or a tuple of type and id"):
        client.emulator.state.seed_mark("alice", "bob", 1)  # type: ignore[arg-type]
