import json
from typing import Any

import pytest
from cli_run import Run, write_lines

from chatmark.emulator import EmulatorOptions, EmulatorThread, Refuse

ROWS: list[dict[str, Any]] = [
    {"from_account": "amy", "to_account": "bob", "set_mark": ["favorite", "vip"]},
    {"from_account": "amy", "to_account": "bob", "clear_mark": ["favorite"], "custom_mark": "x"},
    {"from_account": "amy", "to_group_id": "g", "custom_mark": ""},
    {"from_account": "eve", "to_account": "bob", "set_mark": [33]},
]


@pytest.fixture
def chatmark_emulator_options() -> EmulatorOptions:
    """Import some users, and limit their marks."""
    return {"calls_per_second": None, "users": ["amy", "bob", "eve"], "max_marked": 1}


@pytest.fixture(autouse=True)
def place(emulator: EmulatorThread, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a file of four changes, and name a bit."""
    del emulator
    write_lines("marks.jsonl", *ROWS)
    monkeypatch.setenv("CHATMARK_NAMES", "vip=40")


def test_table(emulator: EmulatorThread, run: Run) -> None:
    """A plan prints the effect and the cost of the file, and changes nothing."""
    emulator.state.seed_mark("eve", (1, "bob"), 1 << 33)
    before = emulator.state.snapshot()
    status, out, _ = run("plan marks.jsonl")

    assert 0 == status
    assert before == emulator.state.snapshot()
    for text in (
        "4 changes in 4 rows",
        "2 users",
        "3 conversations",
        "1 change names a conversation that an earlier row named",
        "line 1: amy c2c_bob, 2 rows",
        "2 calls, at 190 a second",
        "2 conversations are as the file wants them already",
        "3 calls with --skip-unchanged (2 to read, 1 to send), 1 more",
    ):
        assert text in out
    rows = [line.split() for line in out.splitlines()]
    assert ["favorite", "0", "0", "1"] in rows
    assert ["vip", "40", "1", "0"] in rows
    assert ["custom", "mark", "1", "1"] in rows


def test_json(run: Run) -> None:
    """The JSON is one document, alone on standard output."""
    status, out, _ = run("plan marks.jsonl --json --rate 0 --round-trip 80")
    document = json.loads(out)
    names = ("ok", "calls", "round_trip_seconds", "calls_per_second")

    assert 0 == status
    assert (True, 2, 0.08, None) == tuple(document[name] for name in names)
    assert 2 == document["server"]["calls_read"]


def test_offline(emulator: EmulatorThread, run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    """An offline plan needs neither a server nor credentials; bad rows can be set aside."""
    monkeypatch.delenv("CHATMARK_SECRET_KEY")
    write_lines("marks.jsonl", *ROWS, {})
    refused = run("plan marks.jsonl --offline")
    status, out, _ = run("plan marks.jsonl --offline --max-errors 1")

    assert (2, 0) == (refused.status, status)
    assert "marks.jsonl:5: from_account: is missing" in refused.err
    assert "1 row cannot be applied and would be set aside" in out
    assert "with a round trip of 50 ms" in out
    assert "server" not in out
    assert not emulator.counts


def test_trouble_ahead(emulator: EmulatorThread, run: Run) -> None:
    """Predicted refusals are printed, with status 1; that of the application ends the plan."""
    more = {"to_group_id": "h", "set_mark": [0]}
    users = ("nobody", "eve", "bob")
    write_lines("marks.jsonl", *ROWS, *({"from_account": user, **more} for user in users))
    emulator.script.always(Refuse(51007), account="bob")
    status, out, _ = run("plan marks.jsonl --max-marked 1")
    emulator.script.always(Refuse(60006))
    refused = run("plan marks.jsonl")

    assert (3, True) == (refused.status, "error: 60006" in refused.err)
    assert 1 == status
    assert "1 user is not known to the server (50001)" in out
    assert "1 user would pass the limit of 1 marked conversation: 1 conversation" in out
    assert "            eve: 0 marked now, 1 refused\n" in out
    assert "1 user could not be read" in out
    assert "bob: 51007" in out
