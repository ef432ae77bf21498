import io
import json
import pathlib
import sys
from typing import Any

import pytest
from cli_run import Run

from chatmark.__main__ import main
from chatmark.emulator import EmulatorOptions, EmulatorThread

ROWS: list[dict[str, Any]] = [
    {"from_account": "amy", "to_account": "bob", "set_mark": ["favorite", "hidden"]},
    {"from_account": "amy", "to_group_id": "g", "clear_mark": ["vip"], "custom_mark": "x"},
    {"from_account": "eve", "to_account": "bob", "set_mark": [33]},
]


@pytest.fixture
def chatmark_emulator_options() -> EmulatorOptions:
    """Import some users."""
    return {"calls_per_second": None, "users": ["amy", "bob", "eve"]}


@pytest.fixture(autouse=True)
def environment(emulator_environment: pytest.MonkeyPatch) -> None:
    """Set the emulator as the server, and name a bit."""
    emulator_environment.setenv("CHATMARK_NAMES", "vip=40")


@pytest.fixture
def file(tmp_path: pathlib.Path) -> pathlib.Path:
    """Return a file of three changes."""
    path = tmp_path / "marks.jsonl"
    path.write_text("".join(f"{json.dumps(row)}\n" for row in ROWS))
    return path


class TestVerify:
    def test_as_wanted(self, file: pathlib.Path, capsys: pytest.CaptureFixture[str]) -> None:
        """Applied changes are verified."""
        assert 0 == main(["apply", str(file), "-q"])
        assert 0 == main(["verify", str(file)])
        out = capsys.readouterr().out

        assert "3 conversations read back" in out
        assert "3 of 3 conversations read back are as the file wants them" in out

    def test_standard_input(
        self, file: pathlib.Path, run: Run, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The file may come from a pipe."""
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(file.read_bytes())))

        status, out, _ = run(["verify", "-"])

        assert 1 == status
        assert "<stdin>: 3 conversations read back" in out

    def test_differs(
        self,
        file: pathlib.Path,
        tmp_path: pathlib.Path,
        chatmark_emulator: EmulatorThread,
        run: Run,
    ) -> None:
        """Differences are printed, clients' clearing apart, and written as rows to apply again."""
        chatmark_emulator.state.seed_mark("amy", (1, "bob"), 1)
        chatmark_emulator.state.seed_mark("amy", (2, "g"), 1 << 40, "y")
        chatmark_emulator.state.seed_mark("eve", (1, "bob"), 1 << 33)
        again = tmp_path / "again.jsonl"
        status, out, _ = run(["verify", str(file), "--differing", str(again)])

        assert 1 == status
        assert "1 of 3 conversations read back are as the file wants them" in out
        assert "1 differs" in out
        assert "1 lacks nothing but hidden or unread, which the vendor's own clients clear" in out
        assert "clients clear hidden" in out
        assert "'y', not 'x'" in out
        assert [
            {**ROWS[0], "set_mark": ["favorite", "hidden"]},
            {**ROWS[1], "clear_mark": [40]},
        ] == [
            {key: value for key, value in json.loads(line).items() if not key.startswith("_")}
            for line in again.read_text().splitlines()
        ]
        assert 0 == main(["apply", str(again), "-q"])
        assert 0 == main(["verify", str(file)])

    def test_json(self, file: pathlib.Path, chatmark_emulator: EmulatorThread, run: Run) -> None:
        """The JSON is one document, and counts unreadable users apart."""
        chatmark_emulator.state.seed_mark("amy", (1, "bob"), 1)
        chatmark_emulator.state.users.discard("eve")  # type: ignore[union-attr]
        status, out, _ = run(["verify", str(file), "--json"])
        document = json.loads(out)

        assert 1 == status
        assert (False, 3, 2, 1, 1) == (
            document["ok"],
            document["conversations"],
            document["differing"],
            document["cleared_by_clients"],
            document["unread"],
        )
        assert [3] == document["differences"][0]["cleared_by_clients"]
        assert "eve" == document["errors"][0]["from_account"]

    def test_bad_rows(self, file: pathlib.Path, run: Run) -> None:
        """A file with bad rows cannot be verified."""
        file.write_text("{}")

        status, _, err = run(["verify", str(file)])

        assert 2 == status
        assert "marks.jsonl:1: from_account: is missing" in err


class TestExact:
    @pytest.mark.parametrize(
        ("peer", "bits", "custom", "status"),
        [
            ("bob", 9, "", 0),
            ("bob", 9 | 1 << 7, "", 0),  # A bit of Chat's own.
            ("bob", 9 | 1 << 33, "", 1),
            ("bob", 9, "left", 1),
            ("eve", 1, "", 1),
            ("eve", 0, "left", 1),
            ("eve", 1 << 7, "", 0),
        ],
    )
    def test_everything(
        self,
        peer: str,
        bits: int,
        custom: str,
        status: int,
        file: pathlib.Path,
        tmp_path: pathlib.Path,
        chatmark_emulator: EmulatorThread,
    ) -> None:
        """Marks that no row sets are differences; the rows for them take them away."""
        again = str(tmp_path / "again.jsonl")
        main(["apply", str(file)])
        chatmark_emulator.state.seed_mark("amy", (1, peer), bits, custom)

        assert 0 == main(["verify", str(file)])
        assert status == main(["verify", str(file), "--exact", "--differing", again])
        assert 0 == main(["apply", again])
        assert 0 == main(["verify", str(file), "--exact"])
