import json

import pytest
from cli_run import Run

from chatmark.emulator import EmulatorThread

pytestmark = pytest.mark.usefixtures("emulator_environment")


def groups(emulator: EmulatorThread) -> dict[str, set[str]]:
    """Return the groups of amy and who is in them."""
    found = emulator.state.contact_groups().items()
    return {name: {id_ for _, id_ in keys} for (user, name), keys in found if user == "amy"}


def test_life_of_a_group(run: Run, chatmark_emulator: EmulatorThread) -> None:
    """A group is created, filled, renamed, listed, emptied and deleted."""
    assert 0 == run(["group", "create", "amy", "work", "bob", "c2c_eve", "group_team"]).status
    assert 0 == run(["group", "add", "amy", "work", "c2c_zoe"]).status
    assert 0 == run(["group", "rename", "amy", "work", "Büro"]).status
    assert 0 == run(["group", "create", "amy", "empty"]).status
    status, out, _ = run(["group", "list", "amy", "zoe"])
    rows = [line.split() for line in out.splitlines()]

    assert 0 == status
    assert ["Büro", "1", "4", "c2c_bob,", "c2c_eve,", "group_team,", "c2c_zoe"] in rows
    assert ["empty", "2", "0"] in rows
    assert "zoe has no conversation groups" in out
    assert 0 == run(["group", "remove", "amy", "Büro", "bob", "eve", "zoe"]).status
    assert 0 == run(["group", "delete", "amy", "empty"]).status
    assert {"Büro": {"team"}} == groups(chatmark_emulator)


def test_json(run: Run, chatmark_emulator: EmulatorThread) -> None:
    """Each command prints an object a line."""
    chatmark_emulator.script.item((1, "eve"), 51007, times=2)
    created = run(["group", "create", "amy", "work", "bob", "eve", "--json"])
    listed = run(["group", "list", "amy", "--json"])
    (failed,) = json.loads(created.out).pop("failed")

    assert (1, 0) == (created.status, listed.status)
    assert {"schema": 1, "from_account": "amy", "name": "work", "id": 1, "succeeded": 1} == {
        key: value for key, value in json.loads(created.out).items() if key != "failed"
    }
    assert ("eve", 51007) == (failed["to_account"], failed["code"])
    assert {
        "schema": 1,
        "from_account": "amy",
        "name": "work",
        "id": 1,
        "conversations": [{"to_account": "bob"}],
    } == json.loads(listed.out)


@pytest.mark.parametrize(
    ("arguments", "status", "said"),
    [
        (["delete", "amy", "gone"], 1, "amy, group 'gone': 51009: "),
        (["create", "amy", "x" * 65], 2, "name: has 65 bytes"),
        (["add", "amy", "work", "group_"], 2, "to_group_id: is empty"),
        (["add", "amy", "work"], 2, "CONVERSATION"),
        (["add", "amy", "work", "eve"], 1, "amy, group 'work', c2c_eve: 51008"),
    ],
)
def test_failures(
    run: Run,
    chatmark_emulator: EmulatorThread,
    arguments: list[str],
    status: int,
    said: str,
) -> None:
    """A failure is told, and the exit status is of its kind."""
    chatmark_emulator.state.seed_contact_group("amy", 1, "work")
    chatmark_emulator.script.item((1, "eve"), 51008)
    ended = run(["group", *arguments])

    assert status == ended.status
    assert said in ended.err
