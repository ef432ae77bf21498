import json

import pytest
from cli_run import Run

from chatmark.emulator import EmulatorThread


def test_life_of_a_group(run: Run, emulator: EmulatorThread) -> None:
    """A group is created, filled, renamed, listed, emptied and deleted."""
    for line in (
        "create amy work bob c2c_eve group_team",
        "add amy work c2c_administrator",
        "rename amy work Büro",
        "create amy empty",
    ):
        assert 0 == run(f"group {line}").status
    status, out, _ = run("group list amy bob")
    rows = [line.split() for line in out.splitlines()]

    assert 0 == status
    assert ["Büro", "1", "4", "c2c_bob,", "c2c_eve,", "group_team,", "c2c_administrator"] in rows
    assert ["empty", "2", "0"] in rows
    assert "bob has no conversation groups" in out
    assert 0 == run("group remove amy Büro bob eve administrator").status
    assert 0 == run("group delete amy empty").status
    assert {("amy", "Büro"): [(2, "team")]} == {
        group: list(members) for group, members in emulator.state.contact_groups().items()
    }


def test_json(run: Run, emulator: EmulatorThread) -> None:
    """Each command prints an object a line."""
    emulator.script.item((1, "eve"), 51007, times=2)
    created = run("group create amy work bob eve --json")
    listed = run("group list amy --json")
    document = json.loads(created.out)
    (failed,) = document.pop("failed")
    group = {"schema": 1, "from_account": "amy", "name": "work", "id": 1}

    assert (1, 0) == (created.status, listed.status)
    assert group | {"succeeded": 1} == document
    assert ("eve", 51007) == (failed["to_account"], failed["code"])
    assert group | {"conversations": [{"to_account": "bob"}]} == json.loads(listed.out)


@pytest.mark.parametrize(
    ("line", "status", "said"),
    [
        ("delete amy gone", 1, "amy, group 'gone': 51009: "),
        (f"create amy {'x' * 65}", 2, "name: has 65 bytes"),
        ("add amy work group_", 2, "to_group_id: is empty"),
        ("add amy work", 2, "CONVERSATION"),
        ("add amy work eve", 1, "amy, group 'work', c2c_eve: 51008"),
    ],
)
def test_failures(run: Run, emulator: EmulatorThread, line: str, status: int, said: str) -> None:
    """A failure is told, and the exit status is of its kind."""
    emulator.state.seed_contact_group("amy", 1, "work")
    emulator.script.item((1, "eve"), 51008)
    ended = run(f"group {line}")

    assert (status, True) == (ended.status, said in ended.err), ended.err
