"""The calls of conversation groups, over HTTP."""

from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest
from emulator_client import Client

from chatmark.emulator import Emulator, EmulatorOptions, ResetAfter

BOB = {"Type": 1, "To_Account": "bob"}
RED = {"Type": 2, "ToGroupId": "@TGS#red"}
OK = {"ActionStatus": "OK", "ErrorCode": 0, "ErrorInfo": "", "ErrorDisplay": ""}
GOOD = {"ResultCode": 0, "ResultInfo": ""}


class Groups(Client):
    """Makes requests about the conversation groups of alice."""

    async def create(self, name: object = "work", *contacts: object, **fields: object) -> Any:
        """Call create_contact_group."""
        group = {"GroupName": name, "ContactItem": contacts, **fields}
        body = {"From_Account": "alice", "GroupContactItem": [group]}
        return await self.ask("create_contact_group", body)

    async def update(self, name: object = "work", **fields: object) -> Any:
        """Call update_contact_group."""
        group = {"UpdateGroupType": 2, "OldGroupName": name, **fields}
        body = {"From_Account": "alice", "UpdateType": 1, "UpdateGroup": group}
        return await self.ask("update_contact_group", body)

    async def rename(self, old: str, new: object) -> Any:
        """Rename a group."""
        return await self.update(old, UpdateGroupType=1, NewGroupName=new)

    async def members(self, name: str, *items: tuple[int, object]) -> Any:
        """Add (1) and remove (2) conversations."""
        rows = [{"ContactOptType": opt, "ContactItem": contact} for opt, contact in items]
        return await self.update(name, ContactUpdateItem=rows)

    async def delete(self, *names: object) -> Any:
        """Call del_contact_group."""
        return await self.ask("del_contact_group", {"From_Account": "alice", "GroupName": names})

    async def page(self) -> Any:
        """Call get_contact_group."""
        return await self.ask("get_contact_group", {"From_Account": "alice", "StartIndex": 0})


@pytest.fixture
def options() -> EmulatorOptions:
    """Return the options of the emulator."""
    return {}


@pytest.fixture
async def groups(options: EmulatorOptions, now: list[float]) -> AsyncIterator[Groups]:
    """Run an emulator and a client of it."""
    settings = EmulatorOptions(clock=lambda: now[0]) | options
    async with Emulator(**settings) as emulator, aiohttp.ClientSession() as http:
        yield Groups(emulator, http)


@pytest.fixture
def now() -> list[float]:
    """Hold the time."""
    return [1_700_000_000.0]


class TestAnswers:
    async def test_create(self, groups: Groups) -> None:
        """A new group has the next id; a line says what became of each conversation."""
        first = await groups.create("test1", BOB, RED)
        second = await groups.create("test2")

        assert first == {
            "GroupResultItem": [
                {
                    "GroupItem": {"GroupName": "test1", "GroupId": 1},
                    "ResultItem": [{"ContactItem": BOB, **GOOD}, {"ContactItem": RED, **GOOD}],
                }
            ],
            **OK,
        }
        assert second["GroupResultItem"][0] == {
            "GroupItem": {"GroupName": "test2", "GroupId": 2}, "ResultItem": []
        }  # fmt: skip

    async def test_rename(self, groups: Groups) -> None:
        """A rename keeps id and conversations."""
        await groups.create("old", BOB)
        answer = await groups.rename("old", "new")

        assert answer == {
            "UpdateType": 1,
            "UpdateGroupResult": {
                "UpdateGroupType": 1, "GroupName": "new", "GroupId": 1, "OldGroupName": "old",
                "ContactResultItem": [],
            },
            **OK,
        }  # fmt: skip
        assert groups.emulator.state.contact_groups() == {("alice", "new"): {(1, "bob")}}

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
        assert groups.emulator.state.contact_groups() == {("alice", "work"): {(2, "@TGS#red")}}

    async def test_delete(self, groups: Groups) -> None:
        """A deleted group is gone from its conversations, and its id does not come back."""
        await groups.create("work", BOB)
        deleted = await groups.delete("work")
        again = await groups.create("work")

        assert deleted == {"GroupItem": [{"GroupName": "work", "GroupId": 1}], **OK}
        assert (await groups.page())["ContactItem"] == []
        assert again["GroupResultItem"][0]["GroupItem"] == {"GroupName": "work", "GroupId": 2}

    async def test_reading_back(self, groups: Groups, now: list[float]) -> None:
        """Grouped conversations have StandardMark "" and the time of their last change."""
        await groups.create("inner", BOB, RED)
        now[0] += 5
        await groups.create("inner_test", RED)
        page = await groups.page()
        found = await groups.ask(
            "search_contact_group", {"From_Account": "alice", "ContactItem": [RED]}
        )

        red = {**RED, "StandardMark": "", "ContactGroupId": [1, 2], "Timestamp": 1_700_000_005}
        names = [
            {"GroupName": "inner", "GroupId": 1}, {"GroupName": "inner_test", "GroupId": 2}
        ]  # fmt: skip
        assert page == {
            "ContactItem": [
                {**BOB, "StandardMark": "", "ContactGroupId": [1], "Timestamp": 1_700_000_000},
                red,
            ],
            "GroupItem": names,
            "CompleteFlag": 1,
            "CompleteTime": 1_700_000_005,
            **OK,
        }
        assert found == {"ContactResultItem": [red], "GroupItem": names, **OK}


class TestNames:
    @pytest.mark.parametrize(
        ("options", "most"), [({}, 32), ({"max_group_name": 64}, 64)], ids=["32", "64"]
    )
    async def test_counts_bytes(self, groups: Groups, most: int) -> None:
        """The limit of a name is one of bytes, for a new group and a new name."""
        codes = [
            (await call)["ErrorCode"]
            for call in (
                groups.create("é" * (most // 2)),
                groups.create("é" * (most // 2) + "a"),
                groups.rename("é" * (most // 2), "é" * (most // 2) + "a"),
            )
        ]

        assert codes == [0, 51011, 51011]

    async def test_existing_name(self, groups: Groups) -> None:
        """A second group of a name is the first one; no group takes the name of another."""
        await groups.create("work", BOB)
        again = await groups.create("work", RED)
        await groups.create("fun")

        assert again["GroupResultItem"][0]["GroupItem"]["GroupId"] == 1
        assert (await groups.rename("fun", "fun"))["ErrorCode"] == 0
        assert groups.emulator.state.contact_groups() == {
            ("alice", "work"): {(1, "bob"), (2, "@TGS#red")}, ("alice", "fun"): set()
        }  # fmt: skip

    @pytest.mark.parametrize("options", [{}, {"lenient": True}], ids=["strict", "lenient"])
    async def test_own_rules(self, groups: Groups, options: EmulatorOptions) -> None:
        """The vendor's pages forbid neither a name that is taken nor one of no characters."""
        await groups.create("work")
        await groups.create("fun")
        answers = [await groups.rename("fun", "work"), await groups.create("")]

        for answer in answers:
            assert answer["ErrorCode"] == (0 if options else 50002)
            assert ("a rule of the emulator" in answer["ErrorInfo"]) == (not options)

    async def test_unknown_name(self, groups: Groups) -> None:
        """51009 says that there is no such group."""
        answers = [
            await groups.rename("no", "yes"),
            await groups.members("no", (1, BOB)),
            await groups.delete("no"),
        ]

        assert [answer["ErrorCode"] for answer in answers] == [51009] * 3
        assert groups.emulator.state.contact_groups() == {}


class TestLimits:
    async def test_groups_of_a_user(self, groups: Groups) -> None:
        """The 21st group gives 51010, and a deleted one makes room."""
        codes = [(await groups.create(f"g{n}"))["ErrorCode"] for n in range(21)]
        await groups.delete("g0")
        codes.append((await groups.create("g20"))["ErrorCode"])

        assert codes == [0] * 20 + [51010, 0]

    async def test_conversations_of_a_request(self, groups: Groups) -> None:
        """100 conversations pass, 101 and an update of none give 51006."""
        peers = [{"Type": 1, "To_Account": f"u{n}"} for n in range(101)]
        answers = [
            await groups.create("work", *peers[:100]),
            await groups.create("more", *peers),
            await groups.members("work", *[(2, peer) for peer in peers[:100]]),
            await groups.members("work", *[(2, peer) for peer in peers]),
            await groups.members("work"),
        ]

        assert [answer["ErrorCode"] for answer in answers] == [0, 51006, 0, 51006, 51006]
        assert groups.emulator.state.contact_groups() == {("alice", "work"): set()}

    @pytest.mark.parametrize(
        ("options", "codes"),
        [
            ({"max_marked": 2}, [0, 0, 51008]),
            ({"max_marked": 2, "pool": "shared"}, [0, 51008, 51008]),
        ],
        ids=["marks", "shared"],
    )
    async def test_pools(self, groups: Groups, codes: list[int]) -> None:
        """Marks and groups have room for so many conversations each, or share it."""
        groups.emulator.state.seed_mark("alice", (1, "carol"), 1)
        answer = await groups.create("work", BOB, RED, {"Type": 1, "To_Account": "dave"})
        lines = answer["GroupResultItem"][0]["ResultItem"]
        marked = await groups.mark({"OptType": 1, "ContactItem": BOB, "SetMark": [0]})

        assert [line["ResultCode"] for line in lines] == codes
        assert marked["ResultItem"][0]["ResultCode"] == 0

    @pytest.mark.parametrize("options", [{"users": ["alice"], "groups": {"@TGS#red": ["bob"]}}])
    async def test_conversations_fail_alone(self, groups: Groups) -> None:
        """A peer and a group that the user cannot have are refused by themselves."""
        created = await groups.create("work", BOB, RED)
        lines = created["GroupResultItem"][0]["ResultItem"]

        assert [line["ResultCode"] for line in lines] == [50001, 51007]
        assert groups.emulator.state.contact_groups() == {("alice", "work"): set()}

    @pytest.mark.parametrize("options", [{"standard_marks": False}])
    async def test_edition(self, groups: Groups) -> None:
        """An edition without marks has no groups either."""
        assert (await groups.create("work"))["ErrorCode"] == 51013


class TestBodies:
    @pytest.mark.parametrize(
        ("command", "value", "named"),
        [
            ("create", [], "GroupContactItem"),
            ("create", [{"GroupName": "a"}, {"GroupName": "b"}], "GroupContactItem"),
            ("create", ["a"], "GroupContactItem[0]"),
            ("create", [{"GroupName": ""}], "GroupContactItem[0].GroupName"),
            ("create", [{"GroupName": "\ud800"}], "GroupContactItem[0].GroupName"),
            ("create", [{"GroupName": "a", "Extra": 1}], "GroupContactItem[0].Extra"),
            (
                "create",
                [{"GroupName": "a", "ContactItem": [BOB] * 2}],
                "GroupContactItem[0].ContactItem[1]",
            ),
            ("update", [], "UpdateGroup"),
            ("update", {"OldGroupName": "a"}, "UpdateGroup.UpdateGroupType"),
            ("update", {"UpdateGroupType": 3, "OldGroupName": "a"}, "UpdateGroup.UpdateGroupType"),
            ("update", {"UpdateGroupType": 1, "OldGroupName": "a"}, "UpdateGroup.NewGroupName"),
            ("update", {"UpdateGroupType": 2, "ContactUpdateItem": []}, "UpdateGroup.OldGroupName"),
            (
                "update",
                {"UpdateGroupType": 2, "OldGroupName": "a"},
                "UpdateGroup.ContactUpdateItem",
            ),
            ("del", "a", "GroupName"),
            ("del", ["a", "b"], "GroupName"),
            ("del", [1], "GroupName[0]"),
        ],
    )
    async def test_malformed(self, groups: Groups, command: str, value: object, named: str) -> None:
        """A malformed body gives 50002 and names the field."""
        fields = {"create": "GroupContactItem", "update": "UpdateGroup", "del": "GroupName"}
        body = {"From_Account": "alice", fields[command]: value}
        body |= {"UpdateType": 1} if command == "update" else {}
        answer = await groups.ask(f"{command}_contact_group", body)

        assert (50002, named) == (answer["ErrorCode"], answer["ErrorInfo"].split(":")[0])

    async def test_malformed_members(self, groups: Groups) -> None:
        """A conversation is neither added nor removed with another ContactOptType."""
        answer = await groups.members("work", (1, BOB), (3, RED))

        assert answer["ErrorInfo"].startswith("UpdateGroup.ContactUpdateItem[1].ContactOptType:")
        assert (await groups.members("a", (1, BOB), (2, BOB)))["ErrorCode"] == 50002

    async def test_faults(self, groups: Groups) -> None:
        """A request whose answer is lost takes effect; a scripted conversation fails alone."""
        groups.emulator.script.next(ResetAfter(), command="create_contact_group")
        groups.emulator.script.item((2, "@TGS#red"), 50004)
        with pytest.raises(aiohttp.ClientConnectionError):
            await groups.create("work", BOB, RED)

        assert groups.emulator.state.contact_groups() == {("alice", "work"): {(1, "bob")}}
