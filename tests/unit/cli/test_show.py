import json

import pytest
from cli_run import Run

from chatmark.emulator import EmulatorThread, Refuse


@pytest.fixture(autouse=True)
def marks(emulator: EmulatorThread) -> None:
    """Give marks to the emulator."""
    emulator.state.seed_mark("amy", (2, "team"), 1 | 1 << 33, "重要\x1b[31m", timestamp=1670843110)
    emulator.state.seed_mark("amy", (1, "bob"), 8)
    emulator.state.seed_contact_group("amy", 7, "work", [(1, "bob")])
    emulator.state.seed_mark("eve", (1, "bob"), 8)


def test_table(run: Run) -> None:
    """Users are shown once each; a conversation is a row, in which control characters are shown."""
    status, out, _ = run("show bob amy bob --names vip=33")
    nothing, title, *lines = out.splitlines()
    [team] = [line.split() for line in lines if "group_team" in line]
    [bob] = [line.split() for line in lines if "c2c_bob" in line]

    assert (0, "bob has no marked conversations") == (status, nothing)
    assert "amy: 2 marked conversations" == title
    assert ["group_team", "favorite", "vip", r"重要\x1b[31m"] == team[:4]
    assert ["2022-12-12", "11:05:10"] == team[-2:]
    assert ["c2c_bob", "hidden", "7", "work"] == bob[:4]


def test_json(run: Run) -> None:
    """Each conversation is a line of JSON, which names its user."""
    status, out, _ = run("show amy eve --json")
    rows = [json.loads(line) for line in out.splitlines()]

    assert 0 == status
    assert {
        "schema": 1,
        "from_account": "amy",
        "to_group_id": "team",
        "marks": ["favorite", "extension_33"],
        "bits": [0, 33],
        "custom_mark": "重要\x1b[31m",
        "group_ids": [],
        "updated_at": "2022-12-12T11:05:10+00:00",
    } in rows
    assert ["amy", "amy", "eve"] == [row["from_account"] for row in rows]
    assert [[], [], ["work"]] == sorted(row.get("group_names", []) for row in rows)


@pytest.mark.parametrize(
    ("line", "status", "message"),
    [
        ("show eve amy", 1, "error: eve: 50001"),
        ("show bob", 3, "error: 60020: the plan has expired"),
        ("show é", 2, "error: user: has characters other than"),
        ("show", 2, "Missing argument"),
        ("show amy --local", 2, "No such option"),
    ],
)
def test_failures(emulator: EmulatorThread, run: Run, line: str, status: int, message: str) -> None:
    """A user that cannot be read costs no other; wrong input costs no call."""
    emulator.script.always(Refuse(50001), account="eve")
    emulator.script.always(Refuse(60020), account="bob")
    ended = run(line)

    assert status == ended.status
    assert message in ended.err
    assert ("amy: 2 marked" in ended.out) == (status == 1)
