import json
import pathlib
from typing import Any

import pytest
from cli_run import Run, write_lines

from chatmark.emulator import EmulatorThread

ROWS: list[dict[str, Any]] = [
    {"from_account": "amy", "to_account": "bob", "set_mark": ["favorite", "hidden"]},
    {"from_account": "amy", "to_group_id": "g", "clear_mark": ["vip"], "custom_mark": "x"},
    {"from_account": "eve", "to_account": "bob", "set_mark": [33]},
]


@pytest.fixture(autouse=True)
def place(emulator: EmulatorThread, monkeypatch: pytest.MonkeyPatch) -> None:
    """Write a file of three changes, and name a bit."""
    del emulator
    write_lines("marks.jsonl", *ROWS)
    monkeypatch.setenv("CHATMARK_NAMES", "vip=40")


def test_as_wanted(run: Run) -> None:
    """Applied changes are verified; the file may come from a pipe, and has no bad rows."""
    before = run("verify -", pathlib.Path("marks.jsonl").read_bytes())
    applied = run("apply marks.jsonl -q")
    status, out, _ = run("verify marks.jsonl")

    write_lines("marks.jsonl", {})
    bad = run("verify marks.jsonl")

    assert (1, 0, 0, 2) == (before.status, applied.status, status, bad.status)
    assert "marks.jsonl:1: from_account: is missing" in bad.err
    assert "<stdin>: 3 conversations read back" in before.out
    assert "3 of 3 conversations read back are as the file wants them" in out


def test_differs(emulator: EmulatorThread, run: Run) -> None:
    """Differences are printed, clients' clearing apart, and written as rows to apply again."""
    emulator.state.seed_mark("amy", (1, "bob"), 1)
    emulator.state.seed_mark("amy", (2, "g"), 1 << 40, "y")
    emulator.state.seed_mark("eve", (1, "bob"), 1 << 33)
    status, out, _ = run("verify marks.jsonl --differing again.jsonl")
    rows = map(json.loads, pathlib.Path("again.jsonl").read_text().splitlines())

    assert 1 == status
    assert "1 of 3 conversations read back are as the file wants them" in out
    assert "1 differs" in out
    assert "1 lacks nothing but hidden or unread, which the vendor's own clients clear" in out
    assert "clients clear hidden" in out
    assert "'y', not 'x'" in out
    assert [ROWS[0], {**ROWS[1], "clear_mark": [40]}] == [
        {key: value for key, value in row.items() if not key.startswith("_")} for row in rows
    ]
    assert 0 == run("apply again.jsonl -q").status
    assert 0 == run("verify marks.jsonl").status


def test_json(emulator: EmulatorThread, run: Run) -> None:
    """The JSON is one document, and counts unreadable users apart."""
    emulator.state.seed_mark("amy", (1, "bob"), 1)
    emulator.state.users.discard("eve")  # type: ignore[union-attr]
    status, out, _ = run("verify marks.jsonl --json")
    document = json.loads(out)
    names = ("ok", "conversations", "differing", "cleared_by_clients", "unread")

    assert 1 == status
    assert (False, 3, 2, 1, 1) == tuple(document[name] for name in names)
    assert [3] == document["differences"][0]["cleared_by_clients"]
    assert "eve" == document["errors"][0]["from_account"]


@pytest.mark.parametrize(
    ("peer", "bits", "custom", "status"),
    [
        ("bob", 9 | 1 << 7, "", 0),  # A bit of Chat's own.
        ("bob", 9 | 1 << 33, "", 1),
        ("bob", 9, "left", 1),
        ("eve", 1, "", 1),
        ("eve", 0, "left", 1),
        ("eve", 1 << 7, "", 0),
    ],
)
def test_exact(
    peer: str, bits: int, custom: str, status: int, emulator: EmulatorThread, run: Run
) -> None:
    """Marks that no row sets are differences; the rows for them take them away."""
    run("apply marks.jsonl")
    emulator.state.seed_mark("amy", (1, peer), bits, custom)

    assert 0 == run("verify marks.jsonl").status
    assert status == run("verify marks.jsonl --exact --differing again.jsonl").status
    assert 0 == run("apply again.jsonl").status
    assert 0 == run("verify marks.jsonl --exact").status
